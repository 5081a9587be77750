package dlconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Change tells that a new generation differs, for this process, from the one it
// was told of before. It has names, no values: [Client.Fetch] has those.
type Change struct {
	// Version is the generation that is there now.
	Version string `json:"version"`
	// Changed are the names that differ, those that are gone included. Changes
	// that came while nobody read are one Change.
	Changed []string `json:"changed"`
	// Resync says that the daemon cannot tell what differs, and names everything:
	// at the start of a watch, after a restart of the daemon, after a long absence.
	Resync bool `json:"resync,omitempty"`
}

// Has tells whether one of these variables changed.
func (c Change) Has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(c.Changed, name) })
}

type watching struct {
	query url.Values
	since string
}

type watchOption func(*watching)

func (o watchOption) applyWatch(w *watching) { o(w) }

// Since starts a watch after a generation that the caller has already: the
// version of a [Config] from the same daemon, narrowed to the same variables.
// If nothing changed since, there is no first Change.
func Since(version string) WatchOption {
	return watchOption(func(w *watching) { w.since = version })
}

// Watch calls fn for each change, one at a time, until the context ends or fn
// returns an error, which Watch then returns. The first call comes at once, with
// everything (see [Change].Resync), unless [Since] was given.
//
// When the stream ends, for whatever reason, Watch connects again, with pauses
// that grow (see [WithBackoff]), and resumes where fn last returned nil: a change
// is not missed, and may be told twice. A refusal ([ErrForbidden] and everything
// else that a repetition does not change) ends it.
//
// fn may take its time: meanwhile changes gather, and come as one.
func (c *Client) Watch(ctx context.Context, fn func(Change) error, opts ...WatchOption) error {
	w := watching{query: url.Values{}}
	for _, opt := range opts {
		opt.applyWatch(&w)
	}
	s := subscription{client: c, watching: w, fn: fn, retry: c.backoff}
	for {
		err := s.stream(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var stopped *stoppedError
		if errors.As(err, &stopped) {
			return stopped.reason
		}
		if permanent(err) {
			return err
		}
		d := s.retry.next(err)
		c.log.Debug("dlconf: the watch will connect again", "after", d, "error", err)
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
}

// stoppedError carries fn's own error out, so that it cannot be taken for one of
// the stream's.
type stoppedError struct{ reason error }

func (e *stoppedError) Error() string { return e.reason.Error() }

var (
	errSilence = errors.New("the stream was silent for too long")
	errEnded   = errors.New("the daemon ended the stream")
)

// subscription is a watch across its connections.
type subscription struct {
	client *Client
	watching
	fn    func(Change) error
	retry backoff
}

// stream reads one connection to its end.
func (s *subscription) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Runs until the answer begins, and then while a read waits.
	watchdog := time.AfterFunc(s.client.timeout, func() { cancel(errSilence) })
	defer watchdog.Stop()

	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
	if s.since != "" {
		header.Set("Last-Event-ID", s.since)
	}
	r := request{method: http.MethodGet, path: []string{"watch"}, query: s.query, header: header}
	resp, err := s.client.send(ctx, r)
	if err != nil {
		return causeOr(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return malformed("GET /v1/watch", "status %d for a stream", resp.StatusCode)
	}

	events := newEventReader(&attended{in: resp.Body, timer: watchdog, patience: s.client.silence})
	events.id = s.since
	opened := time.Now()
	for {
		event, err := events.next()
		s.retry.suggest(events.retry)
		if err != nil {
			// One that only opens and breaks must not be opened ever faster.
			if time.Since(opened) > s.retry.most {
				s.retry.reset()
			}
			if errors.Is(err, io.EOF) {
				err = errEnded
			}
			return causeOr(ctx, err)
		}
		if event.name != "" && event.name != "message" && event.name != "change" {
			continue // of a later version of the API
		}
		var change Change
		if err := json.Unmarshal(event.data, &change); err != nil || change.Version == "" {
			s.since = "" // whatever it meant to tell: everything is told anew
			return malformed("GET /v1/watch", "%v is not what this client understands", event)
		}
		if err := s.fn(change); err != nil {
			return &stoppedError{err}
		}
		s.since = event.id
		s.retry.reset()
	}
}

// causeOr prefers why we cancelled to what that made of the read.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("dlconf: GET /v1/watch: %w", cause)
	}
	return err
}

// attended runs a timer while a read waits, and only then: what the caller does
// between reads is not the stream's silence.
type attended struct {
	in       io.Reader
	timer    *time.Timer
	patience time.Duration
}

func (a *attended) Read(p []byte) (int, error) {
	a.timer.Reset(a.patience)
	defer a.timer.Stop()
	return a.in.Read(p)
}
