package dlconf

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The ring asks again this often, even if no change is told.
const defaultRefresh = time.Minute

// KeyRing keeps the keys of one rotating variable current, in the background,
// and signs and verifies with them. It is safe for use by many goroutines.
//
// No rotation makes a valid token fail: a ring verifies with every live key, and
// a key is known as next before anybody signs with it. While the daemon is away,
// a ring keeps what it has and says how old that is ([KeyRing.Status]); only a
// previous key whose time is over goes all the same.
//
// Keys that a ring drops are overwritten. Go promises nothing beyond: see the
// package's notes on memory.
type KeyRing struct {
	name   string
	client *Client
	every  time.Duration
	now    func() time.Time

	stop context.CancelFunc
	done chan struct{}
	etag string // of the last usable answer; only refresh uses it, one at a time

	// Readers hold the lock while they use a key, so that none is overwritten
	// under them.
	mu        sync.RWMutex
	keys      []Key // in the order of verification
	version   string
	confirmed time.Time
	err       error
	notify    []chan<- struct{}
}

// RingOption changes what [Client.KeyRing] makes.
type RingOption func(*KeyRing)

// RefreshEvery sets how often a ring asks without being told of a change; one
// minute unless set.
func RefreshEvery(d time.Duration) RingOption {
	return func(r *KeyRing) {
		if d > 0 {
			r.every = d
		}
	}
}

// KeyRing makes a ring of a rotating variable's keys. It returns when it has
// keys, and tries until then: the context bounds that first synchronisation, a
// refusal ends it. The ring lives until Close.
func (c *Client) KeyRing(ctx context.Context, name string, opts ...RingOption) (*KeyRing, error) {
	r := newKeyRing(c, name, opts...)
	retry := c.backoff
	for {
		err := r.refresh(ctx)
		if err == nil {
			break
		}
		if permanent(err) || ctx.Err() != nil {
			return nil, err
		}
		c.log.Debug("dlconf: waiting for keys", "key", name, "error", err)
		if pause(ctx, retry.next(err)) != nil {
			return nil, fmt.Errorf("%w, last: %w", context.Cause(ctx), err)
		}
	}
	r.start()
	return r, nil
}

func newKeyRing(c *Client, name string, opts ...RingOption) *KeyRing {
	r := &KeyRing{name: name, client: c, every: defaultRefresh, now: time.Now, done: make(chan struct{})}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

// start lets the ring follow the daemon until Close.
func (r *KeyRing) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	told := make(chan string, 1)
	var tasks sync.WaitGroup
	tasks.Add(2)
	go func() {
		defer tasks.Done()
		r.listen(ctx, told)
	}()
	go func() {
		defer tasks.Done()
		r.follow(ctx, told)
	}()
	go func() {
		tasks.Wait()
		close(r.done)
	}()
}

// listen passes on the versions in which anything changed: the keys of a ring can
// come from more variables than the one that names it, and whether they did is
// cheap to ask (see keys).
func (r *KeyRing) listen(ctx context.Context, told chan string) {
	retry := r.client.backoff
	for {
		err := r.client.Watch(ctx, func(change Change) error {
			retry.reset()
			select {
			case <-told: // nobody took that one: this one is newer
			default:
			}
			told <- change.Version // one sender, and room for one
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		// Refused: a policy can be mended while we live, and we have keys.
		r.client.log.Warn("dlconf: the ring's watch was refused", "key", r.name, "error", err)
		r.failed(err)
		if pause(ctx, max(retry.next(err), r.client.backoff.most/2)) != nil {
			return
		}
	}
}

// follow refreshes when told, when a key's time is over, and now and then.
func (r *KeyRing) follow(ctx context.Context, told <-chan string) {
	retry := r.client.backoff
	wait := r.every
	version := ""
	for {
		timer := time.NewTimer(min(wait, r.untilRetirement()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case version = <-told:
		case <-timer.C:
		}
		timer.Stop()
		r.retire()
		err := r.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(retry.next(err), r.every)
			r.client.log.Warn("dlconf: the ring keeps what it has", "key", r.name, "again_in", wait, "error", err)
		default:
			retry.reset()
			wait = r.every
			r.ran(version)
		}
	}
}

// refresh asks for the keys and takes them into use.
func (r *KeyRing) refresh(ctx context.Context) error {
	keys, etag, err := r.client.keys(ctx, r.name, r.etag)
	switch {
	case errors.Is(err, ErrNotModified):
		r.confirm()
		return nil
	case err == nil:
		if err = r.apply(keys); err == nil {
			r.etag = etag
		}
	}
	if err != nil && ctx.Err() == nil {
		r.failed(err)
	}
	return err
}

// apply exchanges the keys, if what came is a ring at all, and overwrites those
// that are gone.
func (r *KeyRing) apply(keys []Key) error {
	now := r.now()
	if err := usable(r.name, keys); err != nil {
		wipe(keys)
		return err
	}
	keys, over := split(keys, now)
	wipe(over)
	slices.SortStableFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), b.NotBefore.Compare(a.NotBefore))
	})
	r.mu.Lock()
	old := r.keys
	r.keys = keys
	r.confirmed, r.err = now, nil
	changed := !sameKeys(old, keys)
	listeners := slices.Clone(r.notify)
	wipe(old)
	r.mu.Unlock()
	if changed {
		tell(listeners)
	}
	return nil
}

// split parts the keys that count from those whose time is over.
func split(keys []Key, now time.Time) (live, over []Key) {
	for _, k := range keys {
		if k.live(now) {
			live = append(live, k)
		} else {
			over = append(over, k)
		}
	}
	return live, over
}

// usable refuses what would leave the program without a key: an answer is then
// as good as none.
func usable(name string, keys []Key) error {
	subject := "GET /v1/keys/" + name
	active := false
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if len(k.Secret()) == 0 {
			return malformed(subject, "the key %q is empty", k.ID)
		}
		if k.ID == "" || seen[k.ID] {
			return malformed(subject, "a kid is empty or there twice")
		}
		seen[k.ID] = true
		active = active || k.State == KeyActive
	}
	if !active {
		return malformed(subject, "none of %d keys is active", len(keys))
	}
	return nil
}

// order is that of verification: most tokens were signed by the active key.
func order(k Key) int {
	switch k.State {
	case KeyActive:
		return 0
	case KeyPrevious:
		return 1
	default:
		return 2
	}
}

func sameKeys(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(a, b Key) bool {
		return a.ID == b.ID && a.State == b.State && a.NotBefore.Equal(b.NotBefore) &&
			a.RetireAfter.Equal(b.RetireAfter) && subtle.ConstantTimeCompare(a.Secret(), b.Secret()) == 1
	})
}

func wipe(keys []Key) {
	for _, k := range keys {
		clear(k.Secret())
	}
}

// retire drops keys whose time is over.
func (r *KeyRing) retire() {
	r.mu.Lock()
	live, over := split(r.keys, r.now())
	r.keys = live
	wipe(over)
	listeners := slices.Clone(r.notify)
	r.mu.Unlock()
	if len(over) > 0 {
		tell(listeners)
	}
}

// untilRetirement is the time to the next end of a previous key.
func (r *KeyRing) untilRetirement() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.now()
	until := time.Duration(1<<63 - 1)
	for _, k := range r.keys {
		if k.State == KeyPrevious && !k.RetireAfter.IsZero() {
			until = min(until, max(k.RetireAfter.Sub(now), 0))
		}
	}
	return until
}

func (r *KeyRing) confirm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed, r.err = r.now(), nil
}

func (r *KeyRing) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *KeyRing) ran(version string) {
	if version == "" {
		return
	}
	r.mu.Lock()
	changed := r.version != version
	r.version = version
	listeners := slices.Clone(r.notify)
	r.mu.Unlock()
	if changed {
		tell(listeners)
	}
}

// tell never waits: a listener that was not told because its channel was full is
// about to look anyway.
func tell(listeners []chan<- struct{}) {
	for _, listener := range listeners {
		select {
		case listener <- struct{}{}:
		default:
		}
	}
}

// Close ends the background work, waits for it, and overwrites the keys. Signing
// and verifying fail from then on.
func (r *KeyRing) Close() {
	r.stop()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	wipe(r.keys)
	r.keys = nil
	r.err = ErrRingClosed
}

// ErrRingClosed is what a closed ring says.
var ErrRingClosed = errors.New("dlconf: the key ring is closed")

// Name is the variable whose keys these are.
func (r *KeyRing) Name() string { return r.name }

// Notify makes the ring send to ch, without ever waiting for it, whenever it took
// something new into use: give it room for one, and look at [KeyRing.Status] then.
func (r *KeyRing) Notify(ch chan<- struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify = append(r.notify, ch)
}

// StopNotify undoes Notify.
func (r *KeyRing) StopNotify(ch chan<- struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify = slices.DeleteFunc(r.notify, func(c chan<- struct{}) bool { return c == ch })
}

// RingStatus is what may be told of a ring: no secrets.
type RingStatus struct {
	// Run is what the ring verifies and signs with now.
	Run Run
	// Version is the last generation that the ring heard of and has the keys of;
	// empty before the first.
	Version string
	// Age is how long ago the daemon last confirmed these keys.
	Age time.Duration
	// Err is why they are not confirmed now; nil when they are.
	Err error
}

// Status tells what the ring runs, how old that is, and what is wrong.
func (r *KeyRing) Status() RingStatus {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.now()
	status := RingStatus{Version: r.version, Age: max(now.Sub(r.confirmed), 0), Err: r.err, Run: Run{Verifies: []string{}}}
	for _, k := range r.verifying("", now) {
		status.Run.Verifies = append(status.Run.Verifies, k.ID)
	}
	if k, ok := r.signing(now); ok {
		status.Run.Signs = k.ID
	}
	return status
}

// signing chooses under the lock. It is the (newest) active key; before that key's time
// (a clock was set back) the newest previous one, which everybody verifies; and
// the active one all the same if there is no other, since not signing at all
// helps nobody.
func (r *KeyRing) signing(now time.Time) (Key, bool) {
	if len(r.keys) == 0 {
		return Key{}, false
	}
	active := r.keys[0] // see usable, and the order of apply
	if now.Before(active.NotBefore) {
		for _, k := range r.keys[1:] {
			if k.State == KeyPrevious && k.live(now) && !now.Before(k.NotBefore) {
				return k, true
			}
		}
	}
	return active, true
}

// verifying lists, under the lock, the keys that may have signed: the one with
// the kid first, if there is one. It lists next too, before its time: the first
// instance to hear that it is active signs at once.
func (r *KeyRing) verifying(kid string, now time.Time) []Key {
	keys, _ := split(r.keys, now)
	if kid != "" {
		slices.SortStableFunc(keys, func(a, b Key) int {
			switch {
			case a.ID == kid && b.ID != kid:
				return -1
			case b.ID == kid && a.ID != kid:
				return 1
			default:
				return 0
			}
		})
	}
	return keys
}

// SigningKey returns the kid to put into a token's header and a copy of the key
// to sign with, for libraries that sign themselves. Clear the copy afterwards.
func (r *KeyRing) SigningKey() (kid string, key []byte, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.signing(r.now())
	if !ok {
		return "", nil, ErrRingClosed
	}
	return k.ID, slices.Clone(k.Secret()), nil
}

// VerificationKeys returns copies of all live keys, that of the kid first if
// there is one, for libraries that verify themselves. See [Keyfunc].
func (r *KeyRing) VerificationKeys(kid string) ([][]byte, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.keys) == 0 {
		return nil, ErrRingClosed
	}
	var keys [][]byte
	for _, k := range r.verifying(kid, r.now()) {
		keys = append(keys, slices.Clone(k.Secret()))
	}
	return keys, nil
}
