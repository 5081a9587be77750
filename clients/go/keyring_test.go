package dlconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

const jwtKey = "JWT_SECRET"

type testClaims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"`
}

func inAnHour(subject string) testClaims {
	return testClaims{subject, time.Now().Add(time.Hour).Unix()}
}

func testKey(kid, state string) daemontest.Key {
	return daemontest.Key{KID: kid, State: state, Value: "secret-of-" + kid}
}

func openRing(t *testing.T, c *Client, opts ...RingOption) *KeyRing {
	t.Helper()
	ring, err := c.KeyRing(t.Context(), jwtKey, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	return ring
}

func verifies(r *KeyRing) string { return fmt.Sprint(r.Status().Run.Verifies) }

// inside is a ring's own memory of a key, which refreshing an unchanged ring
// exchanges too: only the last one is the one that is dropped.
func inside(r *KeyRing, i int) []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[i].Secret()
}

// The laws of a rotation, seen by two instances that hear of it at different
// times: whatever either signs at any moment, both accept at every moment until
// the key is gone.
func TestRotationFailsNoToken(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{jwtKey: "secret-of-initial"})
	rings := []*KeyRing{openRing(t, c), openRing(t, c)}

	// Tokens of both, verified by both, for as long as the rotation goes.
	var tokens sync.Map
	var signed, verified atomic.Int64
	var workers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for i := range rings {
		workers.Add(2)
		go func() {
			defer workers.Done()
			for n := 0; ctx.Err() == nil; n++ {
				token, err := rings[i].Sign(inAnHour("someone"))
				if err != nil {
					t.Error(err)
					return
				}
				tokens.Store(fmt.Sprint(i, n%64), token)
				signed.Add(1)
			}
		}()
		go func() {
			defer workers.Done()
			for ctx.Err() == nil {
				tokens.Range(func(_, token any) bool {
					if err := rings[i].Verify(token.(string), nil); err != nil {
						t.Error(err)
					}
					verified.Add(1)
					return !t.Failed()
				})
			}
		}()
	}
	first, err := rings[0].Sign(inAnHour("of the first key"))
	if err != nil {
		t.Fatal(err)
	}

	step := func(want string, signs string, keys ...daemontest.Key) {
		t.Helper()
		before := verified.Load()
		d.SetKeys(jwtKey, keys...)
		for i, ring := range rings {
			eventually(t, fmt.Sprintf("ring %d has %s", i, want), func() bool {
				run := ring.Status().Run
				return fmt.Sprint(run.Verifies) == want && run.Signs == signs
			})
		}
		eventually(t, "tokens are verified after the step", func() bool { return verified.Load() > before+100 || t.Failed() })
	}
	step("[initial k2]", "initial", testKey("initial", "active"), testKey("k2", "next"))
	step("[k2 initial]", "k2", testKey("initial", "previous"), testKey("k2", "active"))
	if err := rings[1].Verify(first, nil); err != nil {
		t.Errorf("a token of the previous key: %v", err)
	}
	// The tokens of the first key run out before it goes.
	tokens.Clear()
	eventually(t, "new tokens are there", func() bool {
		n := 0
		tokens.Range(func(_, _ any) bool { n++; return true })
		return n > 2
	})
	dropped := inside(rings[0], 1)
	if string(dropped) != "secret-of-initial" {
		t.Fatalf("the previous key is not where it was expected")
	}
	step("[k2]", "k2", testKey("k2", "active"))
	stop()
	workers.Wait()
	for i, ring := range rings {
		if err := ring.Verify(first, nil); !errors.Is(err, ErrTokenSignature) {
			t.Errorf("ring %d still takes a token of a key that is gone: %v", i, err)
		}
	}
	if !bytes.Equal(dropped, make([]byte, len(dropped))) {
		t.Errorf("the key that is gone was not overwritten")
	}
	t.Logf("%d signed, %d verified", signed.Load(), verified.Load())
}

func TestRingTakesTokensOfTheNextKey(t *testing.T) {
	d, c := start(t)
	d.SetKeys(jwtKey, testKey("k1", "active"), testKey("k2", "next"))
	slow := openRing(t, c)
	fast := newKeyRing(c, jwtKey)
	if err := fast.apply([]Key{{ID: "k2", State: KeyActive, secret: seal([]byte("secret-of-k2"))}}); err != nil {
		t.Fatal(err)
	}
	token, err := fast.Sign(inAnHour("someone"))
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Verify(token, nil); err != nil {
		t.Error(err)
	}
}

func TestRingKeepsWhatItHas(t *testing.T) {
	d, c := start(t)
	d.SetKeys(jwtKey, testKey("k1", "previous"), testKey("k2", "active"))
	ring := openRing(t, c, RefreshEvery(5*time.Millisecond))
	token, err := ring.Sign(inAnHour("someone"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		eventually(t, what+" is noticed", func() bool { return ring.Status().Err != nil })
		if got := verifies(ring); got != "[k2 k1]" {
			t.Errorf("%s: it has %s", what, got)
		}
		if err := ring.Verify(token, nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	recovered := func() {
		t.Helper()
		d.Override("/v1/keys/"+jwtKey, nil)
		eventually(t, "it recovers", func() bool { return ring.Status().Err == nil })
	}
	for what, body := range map[string]string{
		"no keys":        `[]`,
		"no active key":  `[{"kid":"k9","state":"previous","value":"x"}]`,
		"one kid twice":  `[{"kid":"k9","state":"active","value":"x"},{"kid":"k9","state":"next","value":"x"}]`,
		"an empty value": `[{"kid":"k9","state":"active","value":""}]`,
		"nonsense":       `{}`,
	} {
		d.Override("/v1/keys/"+jwtKey, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		check(what)
		recovered()
	}
	for what, status := range map[string]int{"a refusal": 403, "an absence": 404, "a breakdown": 500} {
		d.Refuse("/v1/keys/"+jwtKey, status, "x")
		check(what)
		recovered()
	}
	d.Go()
	check("the daemon's end")
	age := ring.Status().Age
	eventually(t, "its age grows", func() bool { return ring.Status().Age > age+10*time.Millisecond })
	d.Come()
	recovered()
	if got := ring.Status().Age; got > patience {
		t.Errorf("its age is %v after it was confirmed", got)
	}
}

// clock is a time that a test sets.
type clock struct{ now atomic.Int64 }

func (c *clock) set(t time.Time) { c.now.Store(t.UnixNano()) }
func (c *clock) read() time.Time { return time.Unix(0, c.now.Load()) }

func TestRetireAfter(t *testing.T) {
	d, c := start(t)
	var at clock
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at.set(epoch)
	retire := epoch.Add(time.Hour)
	previous := testKey("k1", "previous")
	previous.RetireAfter = &retire
	active := testKey("k2", "active")
	active.RetireAfter = &retire // what ends there is its reign, not its use
	d.SetKeys(jwtKey, active, previous)

	ring := newKeyRing(c, jwtKey, RefreshEvery(5*time.Millisecond))
	ring.now = at.read
	if err := ring.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ring.start()
	defer ring.Close()
	dropped := inside(ring, 1)

	at.set(retire.Add(-time.Nanosecond))
	if got := verifies(ring); got != "[k2 k1]" {
		t.Errorf("before its time: %s", got)
	}
	d.Go() // its time is over, daemon or not
	at.set(retire)
	if got := verifies(ring); got != "[k2]" {
		t.Errorf("at once: %s", got)
	}
	eventually(t, "it is overwritten", func() bool {
		ring.mu.RLock()
		defer ring.mu.RUnlock()
		return len(ring.keys) == 1 && bytes.Equal(dropped, make([]byte, len(dropped)))
	})
	// A daemon that still has it does not bring it back.
	d.Come()
	eventually(t, "it is confirmed", func() bool { return ring.Status().Err == nil })
	if got := verifies(ring); got != "[k2]" {
		t.Errorf("it came back: %s", got)
	}
}

func TestNotBefore(t *testing.T) {
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	key := func(id string, state KeyState, notBefore time.Duration) Key {
		return Key{ID: id, State: state, NotBefore: epoch.Add(notBefore), secret: seal([]byte("x" + id))}
	}
	for name, test := range map[string]struct {
		keys []Key
		want string
	}{
		"its time has come":            {[]Key{key("a", KeyActive, 0), key("p", KeyPrevious, -time.Hour)}, "a"},
		"a clock was set back":         {[]Key{key("a", KeyActive, time.Second), key("p", KeyPrevious, -time.Hour)}, "p"},
		"the newest of two":            {[]Key{key("a", KeyActive, 1), key("p", KeyPrevious, -2), key("q", KeyPrevious, -1)}, "q"},
		"the newest of two active":     {[]Key{key("a", KeyActive, -2), key("b", KeyActive, -1)}, "b"},
		"there is no other":            {[]Key{key("a", KeyActive, time.Second)}, "a"},
		"the next one is not for that": {[]Key{key("a", KeyActive, time.Second), key("n", KeyNext, -time.Hour)}, "a"},
	} {
		ring := newKeyRing(New(""), jwtKey)
		ring.now = func() time.Time { return epoch }
		if err := ring.apply(test.keys); err != nil {
			t.Fatal(err)
		}
		if got := ring.Status().Run.Signs; got != test.want {
			t.Errorf("%s: it signs with %s", name, got)
		}
		kid, secret, err := ring.SigningKey()
		if err != nil || kid != test.want || string(secret) != "x"+test.want {
			t.Errorf("%s: signing key %s, %v", name, kid, err)
		}
	}
}

// What libraries get are copies: a key that goes is not overwritten in their hands.
func TestCopiesOutliveTheRing(t *testing.T) {
	d, c := start(t)
	d.SetKeys(jwtKey, testKey("k1", "active"))
	ring := openRing(t, c)
	_, signing, err := ring.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	verifying, err := ring.VerificationKeys("")
	if err != nil {
		t.Fatal(err)
	}
	own := inside(ring, 0)
	ring.Close()
	if string(signing) != "secret-of-k1" || string(verifying[0]) != "secret-of-k1" {
		t.Errorf("a copy is gone")
	}
	if !bytes.Equal(own, make([]byte, len(own))) {
		t.Errorf("the closed ring still has its key")
	}
	_, _, errSigning := ring.SigningKey()
	_, errVerifying := ring.VerificationKeys("")
	_, errSign := ring.Sign(inAnHour("someone"))
	for _, err := range []error{errSigning, errVerifying, errSign} {
		if !errors.Is(err, ErrRingClosed) {
			t.Errorf("a closed ring says %v", err)
		}
	}
	ring.Close() // again, which does nothing
}

func TestRingWaitsForItsFirstKeys(t *testing.T) {
	d, c := start(t)
	d.Refuse("/v1/keys/"+jwtKey, http.StatusServiceUnavailable, "not-ready")
	go func() {
		for len(d.Requests("/v1/keys/"+jwtKey)) < 3 {
			time.Sleep(time.Millisecond)
		}
		d.SetKeys(jwtKey, testKey("k1", "active"))
		d.Override("/v1/keys/"+jwtKey, nil)
	}()
	if got := verifies(openRing(t, c)); got != "[k1]" {
		t.Errorf("it has %s", got)
	}
	if _, err := c.KeyRing(t.Context(), "ABSENT"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a variable that is not there: %v", err)
	}
	d.Go()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.KeyRing(ctx, jwtKey); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no daemon: %v", err)
	}
}

// Values with characters that JSON escapes are keys as well.
func TestKeysAreTheirBytes(t *testing.T) {
	d, c := start(t)
	for _, value := range []string{"plain", `with "quotes" and \`, "ünï\u2028<&>", "tab\tand\nline"} {
		d.SetKeys(jwtKey, daemontest.Key{KID: "k", State: "active", Value: value})
		keys, err := c.Keys(t.Context(), jwtKey)
		if err != nil || string(keys[0].Secret()) != value {
			t.Errorf("%q: %q, %v", value, keys[0].Secret(), err)
		}
	}
}

func TestAcknowledge(t *testing.T) {
	d, c := start(t)
	receipt, err := c.Acknowledge(t.Context(), "cc", Ack{
		Instance: "api-7c9f", Version: "7f3a.42",
		Runs: map[string]Run{jwtKey: {Verifies: []string{"k1", "k2"}, Signs: "k1"}},
	})
	if err != nil || receipt != (Receipt{"cc", "api-7c9f", 5 * time.Minute}) {
		t.Fatalf("%v %v", receipt, err)
	}
	if got := fmt.Sprint(d.Acks()); got != "[{cc api-7c9f 7f3a.42 map[JWT_SECRET:{[k1 k2] k1}]}]" {
		t.Errorf("put %s", got)
	}
	if _, err := c.Acknowledge(t.Context(), "cc", Ack{}); err == nil {
		t.Error("nothing was acknowledged")
	}
}

func TestKeepAcknowledged(t *testing.T) {
	d, c := start(t)
	d.SetKeys(jwtKey, testKey("k1", "active"))
	ring := openRing(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- c.KeepAcknowledged(ctx, "cc", func() Ack {
			return Ack{Instance: "api", Runs: map[string]Run{"OTHER": {Verifies: []string{"x"}}}}
		}, ring)
	}()
	last := func(want string) func() bool {
		return func() bool {
			acks := d.Acks()
			return len(acks) > 0 && fmt.Sprint(acks[len(acks)-1]) == want
		}
	}
	first := d.Version()
	eventually(t, "the first is there", last("{cc api "+first+" map[JWT_SECRET:{[k1] k1} OTHER:{[x] }]}"))
	// At once, five minutes before it would expire.
	d.SetKeys(jwtKey, testKey("k1", "active"), testKey("k2", "next"))
	eventually(t, "the next key is acknowledged", last("{cc api "+d.Version()+" map[JWT_SECRET:{[k1 k2] k1} OTHER:{[x] }]}"))
	// It tries again while that fails.
	d.Refuse("/v1/consumers/cc", http.StatusServiceUnavailable, "busy")
	d.SetKeys(jwtKey, testKey("k1", "previous"), testKey("k2", "active"))
	eventually(t, "it is refused for now", func() bool { return len(d.Requests("/v1/consumers/cc")) > 4 })
	d.ExpireAfter(0) // and then repeats
	d.Override("/v1/consumers/cc", nil)
	eventually(t, "the change is acknowledged", last("{cc api "+d.Version()+" map[JWT_SECRET:{[k2 k1] k2} OTHER:{[x] }]}"))
	count := len(d.Acks())
	eventually(t, "it is repeated", func() bool { return len(d.Acks()) > count+3 })
	d.Refuse("/v1/consumers/cc", http.StatusForbidden, "forbidden")
	if err := <-ended; !errors.Is(err, ErrForbidden) {
		t.Errorf("refused for good: %v", err)
	}
}
