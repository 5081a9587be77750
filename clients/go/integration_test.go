package dlconf

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

const (
	oneKey     = "JWT_SECRET=Zk3vX9pQ7tL2mN8wR4yU6sB1hJ5cD0gFaEiOxTqVnKzMbWrPlYu"
	anotherKey = "JWT_SECRET=q8RtY2uI5oP7aS4dF6gH1jK3lZ9xC0vBnMwEeQqTtUuIiOoPpAs"
	info       = "APP_LOG_LEVEL=info"
	warn       = "APP_LOG_LEVEL=warn"
	hidden     = "APP_SECRET_KEY=M4nBvCxZ7aSdFgHjK1lPoIuYtReWq2345678QwErTyUiOpAsDf"
)

func value(line string) string {
	_, v, _ := strings.Cut(line, "=")
	return v
}

// All of it, against the real daemon: one daemon, one story.
func TestWithTheDaemon(t *testing.T) {
	d := daemontest.StartReal(t, oneKey, info, hidden)
	c := New(d.Socket, WithBackoff(5*time.Millisecond, 100*time.Millisecond))
	defer c.Close()
	defer func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", d.Log())
		}
	}()

	config, err := c.Fetch(t.Context(), UntilReady())
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Values.Get("JWT_SECRET"); got != value(oneKey) {
		t.Errorf("the key did not come")
	}
	if got := config.Values.Get("APP_LOG_LEVEL"); got != "info" {
		t.Errorf("APP_LOG_LEVEL=%s", got)
	}
	if _, ok := config.Values.Lookup("APP_SECRET_KEY"); ok {
		t.Errorf("what the policy does not name was given")
	}
	t.Run("Fetch", func(t *testing.T) { fetchFromTheDaemon(t, c, config) })
	t.Run("Watch", func(t *testing.T) { watchTheDaemon(t, d, c, config) })
	t.Run("KeyRing", func(t *testing.T) { ringOfTheDaemon(t, d, c) })
	t.Run("Acknowledge", func(t *testing.T) { acknowledgeToTheDaemon(t, c) })
}

func fetchFromTheDaemon(t *testing.T, c *Client, config Config) {
	if _, err := c.Fetch(t.Context(), IfNoneMatch(config.ETag)); !errors.Is(err, ErrNotModified) {
		t.Errorf("the same again: %v", err)
	}
	if _, err := c.Fetch(t.Context(), IfNoneMatch(config.ETag), Wait(time.Second)); !errors.Is(err, ErrNotModified) {
		t.Errorf("the same after a wait: %v", err)
	}
	narrow, err := c.Fetch(t.Context(), Vars("JWT_SECRET"))
	if err != nil || narrow.Values.Len() != 1 {
		t.Errorf("narrowed: %v %v", narrow, err)
	}
	if _, err := c.Fetch(t.Context(), Vars("JWT_SECRET", "APP_SECRET_KEY")); !errors.Is(err, ErrForbidden) {
		t.Errorf("narrowed to what is forbidden: %v", err)
	}
	variable, err := c.Get(t.Context(), "APP_LOG_LEVEL")
	if err != nil || variable.Value() != "info" || variable.Version != config.Version || !strings.Contains(variable.Origin, ".env") {
		t.Errorf("one: %+v %v", variable, err)
	}
	if _, err := c.Get(t.Context(), "APP_SECRET_KEY"); !errors.Is(err, ErrForbidden) {
		t.Errorf("a forbidden one: %v", err)
	}
	if _, err := c.Get(t.Context(), "NOBODY_KNOWS"); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrForbidden) {
		t.Errorf("an unknown one: %v", err)
	}
}

func watchTheDaemon(t *testing.T, d *daemontest.Real, c *Client, config Config) {
	w := watchInBackground(t, c, Since(config.Version))
	d.WriteEnv(oneKey, warn, hidden)
	change := w.next()
	if change.Resync || !change.Has("APP_LOG_LEVEL") || len(change.Changed) != 1 {
		t.Errorf("a change: %+v", change)
	}
	fresh, err := c.Fetch(t.Context(), IfNoneMatch(config.ETag))
	if err != nil || fresh.Version != change.Version || fresh.Values.Get("APP_LOG_LEVEL") != "warn" {
		t.Errorf("after the change: %v %v", fresh, err)
	}
	w.stop()
	<-w.ended

	// Nobody watches; whoever comes back is told what was missed, and no more.
	d.WriteEnv(oneKey, info, hidden)
	if _, err := c.Fetch(t.Context(), IfNoneMatch(fresh.ETag), Wait(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	w = watchInBackground(t, c, Since(fresh.Version))
	if change = w.next(); change.Resync || len(change.Changed) != 1 || !change.Has("APP_LOG_LEVEL") {
		t.Errorf("resumed: %+v", change)
	}

	d.Restart()
	before, _, _ := strings.Cut(change.Version, ".")
	change = w.next()
	after, _, _ := strings.Cut(change.Version, ".")
	if !change.Resync || before == after || !change.Has("JWT_SECRET") || !change.Has("APP_LOG_LEVEL") || change.Has("APP_SECRET_KEY") {
		t.Errorf("after the restart: %+v, before it %s", change, before)
	}
	// What the policy hides is not even told.
	d.WriteEnv(oneKey, info, "APP_SECRET_KEY=Another1"+value(hidden))
	d.WriteEnv(oneKey, warn, "APP_SECRET_KEY=Another1"+value(hidden))
	if change = w.next(); change.Resync || len(change.Changed) != 1 || !change.Has("APP_LOG_LEVEL") {
		t.Errorf("after the restart, a change: %+v", change)
	}
}

func ringOfTheDaemon(t *testing.T, d *daemontest.Real, c *Client) {
	keys, err := c.Keys(t.Context(), "JWT_SECRET")
	if err != nil || len(keys) != 1 || keys[0].ID != "initial" || keys[0].State != KeyActive || string(keys[0].Secret()) != value(oneKey) {
		t.Fatalf("keys: %v %v", keys, err)
	}
	ring, err := c.KeyRing(t.Context(), "JWT_SECRET")
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	token, err := ring.Sign(inAnHour("someone"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Verify(token, nil); err != nil {
		t.Error(err)
	}

	// Away, and back.
	d.Stop()
	eventually(t, "its absence is noticed", func() bool {
		_ = ring.refresh(t.Context())
		return ring.Status().Err != nil
	})
	if err := ring.Verify(token, nil); err != nil {
		t.Errorf("while the daemon is away: %v", err)
	}
	d.Start()
	eventually(t, "it is back", func() bool { return ring.Status().Err == nil })
	version := ring.Status().Version

	// Exchanged in the file, which is no rotation: the ring is what the daemon says.
	d.WriteEnv(anotherKey, warn, hidden)
	eventually(t, "the other key is there", func() bool {
		_, secret, err := ring.SigningKey()
		return err == nil && string(secret) == value(anotherKey)
	})
	eventually(t, "its version is known", func() bool { return ring.Status().Version != version })
	if err := ring.Verify(token, nil); !errors.Is(err, ErrTokenSignature) {
		t.Errorf("a token of a key that is gone: %v", err)
	}
}

func acknowledgeToTheDaemon(t *testing.T, c *Client) {
	config, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ack := Ack{Instance: "api-7c9f", Version: config.Version, Runs: map[string]Run{"JWT_SECRET": {Verifies: []string{"initial"}, Signs: "initial"}}}
	receipt, err := c.Acknowledge(t.Context(), daemontest.Consumer, ack)
	if err != nil || receipt != (Receipt{daemontest.Consumer, "api-7c9f", 5 * time.Minute}) {
		t.Errorf("%+v %v", receipt, err)
	}
	var e *Error
	if _, err := c.Acknowledge(t.Context(), "nobody", ack); !errors.As(err, &e) || e.Status/100 != 4 {
		t.Errorf("an unknown consumer: %v", err)
	}
	ack.Runs = map[string]Run{"APP_SECRET_KEY": {Verifies: []string{"initial"}}}
	if _, err := c.Acknowledge(t.Context(), daemontest.Consumer, ack); !errors.Is(err, ErrForbidden) {
		t.Errorf("a key that the policy does not name: %v", err)
	}
}
