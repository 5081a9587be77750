package dlconf

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// watched is a watch in the background.
type watched struct {
	t       *testing.T
	changes chan Change
	ended   chan error
	stop    context.CancelFunc
}

func watchInBackground(t *testing.T, c *Client, opts ...WatchOption) *watched {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{t: t, changes: make(chan Change), ended: make(chan error, 1), stop: cancel}
	t.Cleanup(cancel)
	go func() {
		w.ended <- c.Watch(ctx, func(change Change) error {
			select {
			case w.changes <- change:
			case <-ctx.Done():
			}
			return nil
		}, opts...)
	}()
	return w
}

// next is the change that must come now.
func (w *watched) next() Change {
	w.t.Helper()
	select {
	case change := <-w.changes:
		return change
	case err := <-w.ended:
		w.t.Fatalf("the watch ended: %v", err)
	case <-time.After(patience):
		w.t.Fatal("no change came")
	}
	return Change{}
}

func (w *watched) want(want Change) {
	w.t.Helper()
	if got := w.next(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("got %v, want %v", got, want)
	}
}

func lastEventIDs(d *daemontest.Daemon) []string {
	var ids []string
	for _, r := range d.Requests("/v1/watch") {
		ids = append(ids, r.Header.Get("Last-Event-ID"))
	}
	return ids
}

func TestWatch(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1", "B": "1"})
	w := watchInBackground(t, c)
	w.want(Change{d.Version(), []string{"A", "B"}, true})
	d.Publish(map[string]string{"A": "2", "B": "1"})
	w.want(Change{d.Version(), []string{"A"}, false})
	d.Publish(map[string]string{"A": "2"})
	change := w.next()
	if !change.Has("X", "B") || change.Has("A") {
		t.Errorf("%v", change)
	}
	w.stop()
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestWatchSinceAndNarrowed(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1", "B": "1"})
	w := watchInBackground(t, c, Since(d.Version()), Vars("A"))
	eventually(t, "it watches", func() bool { return len(d.Requests("/v1/watch")) == 1 })
	d.Publish(map[string]string{"A": "1", "B": "2"})
	d.Publish(map[string]string{"A": "2", "B": "2"})
	w.want(Change{d.Version(), []string{"A"}, false})
	if got := d.Requests("/v1/watch")[0].URL.Query().Get("vars"); got != "A" {
		t.Errorf("vars=%s", got)
	}
}

// cut answers a watch with this text and then breaks the connection.
func cut(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, text)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestWatchResumesAfterACut(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	first := d.Version()
	d.Override("/v1/watch", cut(fmt.Sprintf("id: %s\ndata: {\"version\":\"%[1]s\",\"changed\":[\"A\"],\"resync\":true}\n\n", first)+
		// A half event: its id must not count, nor its data.
		"id: 7f3a.999\ndata: {\"version\":\"7f3a.999\",\"changed\":[\"HALF\"]}\n"))
	w := watchInBackground(t, c)
	w.want(Change{first, []string{"A"}, true})
	d.Publish(map[string]string{"A": "2"})
	d.Override("/v1/watch", nil)
	w.want(Change{d.Version(), []string{"A"}, false})
	ids := lastEventIDs(d)
	if ids[0] != "" || len(ids) < 2 {
		t.Errorf("ids %q", ids)
	}
	for _, id := range ids[1:] {
		if id != first {
			t.Errorf("resumed after %q instead of %q", id, first)
		}
	}
}

func TestWatchSurvivesARestart(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1", "B": "1"})
	w := watchInBackground(t, c)
	before := w.next().Version
	d.Restart()
	w.want(Change{d.Version(), []string{"A", "B"}, true})
	if d.Version() == before {
		t.Fatal("the fake is no new instance")
	}
	d.Publish(map[string]string{"A": "1", "B": "2"})
	w.want(Change{d.Version(), []string{"B"}, false})
	// And an absence, in which it fails to connect more than once.
	d.Go()
	if _, err := c.Fetch(t.Context()); err == nil {
		t.Fatal("it is still there")
	}
	d.Come()
	w.want(Change{d.Version(), []string{"A", "B"}, true})
}

func TestWatchStartsOverAfterNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":    "id: 7f3a.9\ndata: nonsense\n\n",
		"no version": "id: 7f3a.9\ndata: {}\n\n",
	} {
		d, c := start(t)
		d.Publish(map[string]string{"A": "1"})
		d.Override("/v1/watch", cut(text))
		w := watchInBackground(t, c, Since(d.Version()))
		eventually(t, "it comes again", func() bool { return len(d.Requests("/v1/watch")) > 1 })
		d.Override("/v1/watch", nil)
		if change := w.next(); !change.Resync {
			t.Errorf("%s: %v", name, change)
		}
	}
}

func TestWatchDropsWhatIsTooLarge(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	d.Override("/v1/watch", cut("data: "+strings.Repeat("x", 2*maxEvent)+"\n\n"))
	w := watchInBackground(t, c)
	eventually(t, "it comes again", func() bool { return len(d.Requests("/v1/watch")) > 1 })
	d.Override("/v1/watch", nil)
	w.want(Change{d.Version(), []string{"A"}, true})
}

func TestWatchIgnoresEventsOfALaterAPI(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	d.Override("/v1/watch", cut("event: farewell\ndata: {\"version\":\"x.1\",\"changed\":[]}\n\n"+
		"id: x.2\ndata: {\"version\":\"x.2\",\"changed\":[\"A\"]}\n\n"))
	watchInBackground(t, c).want(Change{"x.2", []string{"A"}, false})
}

// A stream on which nothing comes, not even a comment, is dead.
func TestWatchDoesNotTrustSilence(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"before the answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"after it": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		d, c := start(t)
		c.timeout, c.silence = 100*time.Millisecond, 100*time.Millisecond
		d.Publish(map[string]string{"A": "1"})
		d.Override("/v1/watch", handler)
		w := watchInBackground(t, c)
		eventually(t, name+", it comes again", func() bool { return len(d.Requests("/v1/watch")) > 1 })
		d.Override("/v1/watch", nil)
		w.want(Change{d.Version(), []string{"A"}, true})
	}
}

// The caller's slowness is not the stream's silence.
func TestWatchLetsTheCallerBeSlow(t *testing.T) {
	d, c := start(t)
	c.silence = 200 * time.Millisecond
	d.Publish(map[string]string{"A": "1"})
	taken := make(chan struct{})
	d.Override("/v1/watch", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "id: x.1\ndata: {\"version\":\"x.1\",\"changed\":[]}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-taken:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "id: x.2\ndata: {\"version\":\"x.2\",\"changed\":[]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	w := watchInBackground(t, c)
	time.Sleep(2 * c.silence) // this is the slowness: nobody takes the first change
	w.want(Change{"x.1", []string{}, false})
	close(taken)
	w.want(Change{"x.2", []string{}, false})
	if got := len(d.Requests("/v1/watch")); got != 1 {
		t.Errorf("it connected %d times", got)
	}
}

func TestWatchEnds(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	mine := errors.New("mine")
	if err := c.Watch(t.Context(), func(Change) error { return mine }); err != mine { //nolint:errorlint // itself
		t.Errorf("its own error: %v", err)
	}
	// Also when it looks like one of the stream's.
	passing := &Error{Status: 503}
	if err := c.Watch(t.Context(), func(Change) error { return passing }); err != error(passing) { //nolint:errorlint // itself
		t.Errorf("its own error: %v", err)
	}
	d.Refuse("/v1/watch", http.StatusForbidden, "forbidden")
	if err := c.Watch(t.Context(), func(Change) error { return nil }); !errors.Is(err, ErrForbidden) {
		t.Errorf("refused: %v", err)
	}
}

func TestWatchOutlastsUnreadiness(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	d.Refuse("/v1/watch", http.StatusServiceUnavailable, "not-ready")
	w := watchInBackground(t, c)
	eventually(t, "it tries again", func() bool { return len(d.Requests("/v1/watch")) > 2 })
	d.Override("/v1/watch", nil)
	w.want(Change{d.Version(), []string{"A"}, true})
}

func TestBackoff(t *testing.T) {
	b := backoff{least: time.Second, most: 30 * time.Second}
	for _, most := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		most *= time.Second
		if got := b.next(nil); got < most/2 || got > most {
			t.Errorf("%v is not between half and all of %v", got, most)
		}
	}
	if got := b.next(&Error{RetryAfter: time.Minute}); got != time.Minute {
		t.Errorf("the daemon asked for a minute: %v", got)
	}
	b.reset()
	b.suggest(2 * time.Second)
	if got := b.next(nil); got < time.Second || got > 2*time.Second {
		t.Errorf("after a reset, with 2 s suggested: %v", got)
	}
	b.failed = 1 << 40
	if got := b.next(nil); got > 30*time.Second {
		t.Errorf("very late: %v", got)
	}
	fixed := backoff{least: time.Millisecond, most: time.Second, fixed: true}
	fixed.suggest(time.Second)
	if got := fixed.next(nil); got > time.Millisecond {
		t.Errorf("what the program set was overruled: %v", got)
	}
}
