package dlconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// KeyState is where a key is in its life.
type KeyState string

// A rotating key is announced as next, signs while it is active, and is verified
// with, as previous, for as long as something that it signed is valid.
const (
	KeyNext     KeyState = "next"
	KeyActive   KeyState = "active"
	KeyPrevious KeyState = "previous"
)

// Key is one key of a rotating variable. Formatting or marshalling it shows
// everything but the secret.
type Key struct {
	// ID is the kid. It is "initial" where a variable was never rotated: tokens
	// from before carry none.
	ID    string
	State KeyState
	// NotBefore is when the key may sign at the earliest; zero if that is not said.
	NotBefore time.Time
	// RetireAfter is when a previous key stops to count; zero if that is not said.
	RetireAfter time.Time

	secret sealed[[]byte]
}

// Secret is the key's value, as the daemon delivers it to everybody: for an HMAC
// key these bytes are the key. Of a key that [Client.Keys] returned it is the
// key's own memory: clear it when you are done.
func (k Key) Secret() []byte { return k.secret.open() }

// String gives the kid and the state.
func (k Key) String() string { return fmt.Sprintf("dlconf.Key[%s %s]", k.ID, k.State) }

// Format gives the kid and the state, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalJSON gives what there is but the secret.
func (k Key) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"kid": k.ID, "state": k.State})
}

// live tells whether the key still counts. Time ends a previous key only: there
// is always something to sign with, and one to come. A state of a later version
// of the API is none that we should trust a key in.
func (k Key) live(now time.Time) bool {
	switch k.State {
	case KeyActive, KeyNext:
		return true
	case KeyPrevious:
		return k.RetireAfter.IsZero() || now.Before(k.RetireAfter)
	default:
		return false
	}
}

// Keys gets the keys of a rotating variable: a program with long-lived keys is
// better served by a [KeyRing].
func (c *Client) Keys(ctx context.Context, name string) ([]Key, error) {
	keys, _, err := c.keys(ctx, name, "")
	return keys, err
}

// keys is conditional: with the ETag of the answer before, it is [ErrNotModified]
// if nothing differs, which releases no value and so leaves no trace in the audit.
func (c *Client) keys(ctx context.Context, name, etag string) (keys []Key, newETag string, err error) {
	var answer []struct {
		ID          string     `json:"kid"`
		State       KeyState   `json:"state"`
		NotBefore   *time.Time `json:"not_before"`
		RetireAfter *time.Time `json:"retire_after"`
		Value       secretText `json:"value"`
	}
	r := request{method: http.MethodGet, path: []string{"keys", name}}
	if etag != "" {
		r.header = http.Header{"If-None-Match": {etag}}
	}
	resp, err := c.call(ctx, 0, r, &answer)
	if err != nil {
		for _, k := range answer {
			clear(k.Value)
		}
		return nil, "", err
	}
	if resp.StatusCode == http.StatusNotModified {
		return nil, etag, ErrNotModified
	}
	for _, k := range answer {
		key := Key{ID: k.ID, State: k.State, secret: seal([]byte(k.Value))}
		if k.NotBefore != nil {
			key.NotBefore = *k.NotBefore
		}
		if k.RetireAfter != nil {
			key.RetireAfter = *k.RetireAfter
		}
		keys = append(keys, key)
	}
	return keys, resp.Header.Get("ETag"), nil
}

// secretText decodes a JSON string into bytes that can be wiped, which a string
// cannot.
type secretText []byte

func (s *secretText) UnmarshalJSON(quoted []byte) error {
	if len(quoted) < 2 || quoted[0] != '"' {
		return errors.New("a secret that is no string")
	}
	inner := quoted[1 : len(quoted)-1]
	if !slices.Contains(inner, '\\') {
		*s = append([]byte(nil), inner...)
		return nil
	}
	// Rare, and then one copy is left to the garbage collector.
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return err
	}
	*s = []byte(text)
	return nil
}

// Ack says what an instance of a consumer runs now.
type Ack struct {
	// Instance names this process among those of its consumer: the pod's name,
	// the host's name.
	Instance string `json:"instance"`
	// Version is the generation that it runs.
	Version string `json:"version,omitempty"`
	// Runs says what it does with each rotating key.
	Runs map[string]Run `json:"runs"`
}

// Run is what a process does with the keys of one variable.
type Run struct {
	// Verifies are the kids that it accepts.
	Verifies []string `json:"verifies"`
	// Signs is the kid that it signs with.
	Signs string `json:"signs,omitempty"`
}

// Receipt is the daemon's answer to an [Ack].
type Receipt struct {
	Consumer string
	Instance string
	// ExpiresIn is how long it counts.
	ExpiresIn time.Duration
}

// Acknowledge tells the daemon what this process runs, in the name of a consumer
// of its settings. A rotation goes on when all consumers said that they are ready
// for it: acknowledge what is in use, never what is merely known. It must be
// repeated before it expires; [Client.KeepAcknowledged] does that.
func (c *Client) Acknowledge(ctx context.Context, consumer string, ack Ack) (Receipt, error) {
	var answer struct {
		Consumer string  `json:"consumer"`
		Instance string  `json:"instance"`
		Expires  float64 `json:"expires_in_seconds"`
	}
	if ack.Runs == nil {
		ack.Runs = map[string]Run{}
	}
	r := request{method: http.MethodPut, path: []string{"consumers", consumer}, body: ack}
	if _, err := c.call(ctx, 0, r, &answer); err != nil {
		return Receipt{}, err
	}
	return Receipt{
		Consumer:  answer.Consumer,
		Instance:  answer.Instance,
		ExpiresIn: time.Duration(answer.Expires * float64(time.Second)),
	}, nil
}

// KeepAcknowledged acknowledges until the context ends: at once, whenever one of
// the rings took something new into use, and in good time before an
// acknowledgement expires. base is asked for the instance and the version each
// time; what the rings run is added to its Runs. An empty version becomes that of
// the last change that a ring followed.
//
// It tries again while the daemon is away, and returns early only when the daemon
// refuses.
func (c *Client) KeepAcknowledged(ctx context.Context, consumer string, base func() Ack, rings ...*KeyRing) error {
	changed := make(chan struct{}, 1)
	for _, ring := range rings {
		ring.Notify(changed)
		defer ring.StopNotify(changed)
	}
	retry := c.backoff
	for {
		ack := base()
		runs := make(map[string]Run, len(ack.Runs)+len(rings))
		for name, run := range ack.Runs {
			runs[name] = run
		}
		for _, ring := range rings {
			status := ring.Status()
			runs[ring.Name()] = status.Run
			if ack.Version == "" {
				ack.Version = status.Version
			}
		}
		ack.Runs = runs

		var receipt Receipt
		var err error
		if ack.Version != "" {
			receipt, err = c.Acknowledge(ctx, consumer, ack)
		}
		var wait time.Duration
		switch {
		case ack.Version == "": // a ring hears of its first version about now
			wait = c.backoff.most
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case permanent(err):
			return err
		case err != nil:
			wait = retry.next(err)
			c.log.Warn("dlconf: not acknowledged yet", "consumer", consumer, "again_in", wait, "error", err)
		default:
			retry.reset()
			// Twice more before it expires, should one be lost.
			wait = max(receipt.ExpiresIn/3, c.backoff.least)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}
