package dlconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// start starts a fake daemon and a client that retries fast.
func start(t *testing.T) (*daemontest.Daemon, *Client) {
	t.Helper()
	d := daemontest.Start()
	t.Cleanup(d.Close)
	c := New(d.Socket, WithBackoff(time.Millisecond, 20*time.Millisecond))
	t.Cleanup(c.Close)
	return d, c
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func TestFetch(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"APP_PORT": "8080", "DB_PASSWORD": "hush-hush", "EMPTY": ""})
	config, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if config.Version != d.Version() || config.ETag == "" {
		t.Errorf("version %q, etag %q", config.Version, config.ETag)
	}
	if got := fmt.Sprint(config.Values.Names()); got != "[APP_PORT DB_PASSWORD EMPTY]" {
		t.Errorf("names %v", got)
	}
	if got := config.Values.Get("DB_PASSWORD"); got != "hush-hush" {
		t.Errorf("value %q", got)
	}
	if value, ok := config.Values.Lookup("EMPTY"); value != "" || !ok {
		t.Errorf("an empty value: %q %v", value, ok)
	}
	if value, ok := config.Values.Lookup("ABSENT"); value != "" || ok {
		t.Errorf("an absent one: %q %v", value, ok)
	}
	var zero Values
	if zero.Get("A") != "" || zero.Len() != 0 || zero.Names() != nil {
		t.Errorf("the zero Values is not empty")
	}
}

func TestFetchConditionally(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	first, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(t.Context(), IfNoneMatch(first.ETag)); !errors.Is(err, ErrNotModified) {
		t.Fatalf("unchanged: %v", err)
	}
	d.Publish(map[string]string{"A": "2"})
	second, err := c.Fetch(t.Context(), IfNoneMatch(first.ETag))
	if err != nil || second.Values.Get("A") != "2" {
		t.Fatalf("changed: %v %v", second.Version, err)
	}
	if got := fmt.Sprint(second.Values.Changed(first.Values)); got != "[A]" {
		t.Errorf("changed: %v", got)
	}
}

func TestFetchWaits(t *testing.T) {
	d, c := start(t)
	c.timeout = time.Second // the wait comes on top of it
	d.Publish(map[string]string{"A": "1"})
	first, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for len(d.Requests("/v1/config")) < 2 {
			time.Sleep(time.Millisecond)
		}
		d.Publish(map[string]string{"A": "2"})
	}()
	second, err := c.Fetch(t.Context(), IfNoneMatch(first.ETag), Wait(29500*time.Millisecond))
	if err != nil || second.Values.Get("A") != "2" {
		t.Fatalf("%v %v", second.Version, err)
	}
	if got := d.Requests("/v1/config")[1].URL.Query().Get("wait"); got != "30s" {
		t.Errorf("asked to wait %q", got)
	}
	if _, err := c.Fetch(t.Context(), IfNoneMatch(second.ETag), Wait(time.Second)); !errors.Is(err, ErrNotModified) {
		t.Errorf("nothing came: %v", err)
	}
}

func TestFetchNarrowed(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1", "B": "2", "C": "3"})
	config, err := c.Fetch(t.Context(), Vars("A", "C"))
	if err != nil || fmt.Sprint(config.Values.Names()) != "[A C]" {
		t.Fatalf("%v %v", config, err)
	}
	_, err = c.Fetch(t.Context(), Vars("A", "FORBIDDEN"))
	if !errors.Is(err, ErrForbidden) {
		t.Fatalf("%v", err)
	}
}

func TestFetchUntilReady(t *testing.T) {
	d, c := start(t)
	d.Go()
	go func() {
		d.Refuse("/v1/config", http.StatusServiceUnavailable, "not-ready")
		d.Come()
		for len(d.Requests("/v1/config")) < 3 {
			time.Sleep(time.Millisecond)
		}
		d.Publish(map[string]string{"A": "1"})
		d.Override("/v1/config", nil)
	}()
	config, err := c.Fetch(t.Context(), UntilReady())
	if err != nil || config.Values.Get("A") != "1" {
		t.Fatalf("%v %v", config, err)
	}
	// A refusal is no unreadiness.
	d.Refuse("/v1/config", http.StatusForbidden, "forbidden")
	if _, err := c.Fetch(t.Context(), UntilReady()); !errors.Is(err, ErrForbidden) {
		t.Errorf("refused: %v", err)
	}
	d.Refuse("/v1/config", http.StatusServiceUnavailable, "not-ready")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Fetch(ctx, UntilReady()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("never ready: %v", err)
	}
}

func TestGet(t *testing.T) {
	d, c := start(t)
	d.Publish(map[string]string{"A": "1"})
	got, err := c.Get(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "A" || got.Value() != "1" || got.Version != d.Version() || got.Origin != "local .env:1" || got.Age != 1500*time.Millisecond || got.FromSnapshot {
		t.Errorf("got %+v", got)
	}
	d.StandIn(7200)
	if got, err := c.Get(t.Context(), "A"); err != nil || !got.FromSnapshot || got.SnapshotAge != 2*time.Hour {
		t.Errorf("from the snapshot: %+v, %v", got, err)
	}
	if _, err := c.Get(t.Context(), "B"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown one: %v", err)
	}
	// A name is one segment, whatever is in it.
	if _, err := c.Get(t.Context(), "../watch?a=b#c"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a strange one: %v", err)
	}
	if got := len(d.Requests("/v1/config/../watch?a=b#c")); got != 1 {
		t.Errorf("the strange one was asked for %d times", got)
	}
	for _, name := range []string{"", ".", ".."} {
		if _, err := c.Get(t.Context(), name); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("%q went out: %v", name, err)
		}
	}
}

func TestProblems(t *testing.T) {
	d, c := start(t)
	for _, test := range []struct {
		status int
		code   string
		is     error
	}{
		{403, "forbidden", ErrForbidden},
		{404, "unknown-variable", ErrUnknown},
		{503, "not-ready", ErrNotReady},
		{503, "too-many-connections", ErrUnavailable},
		{429, "too-many-requests", ErrUnavailable},
		{500, "internal", nil},
	} {
		d.Override("/v1/config", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			daemontest.Problem(w, test.status, test.code)
		})
		_, err := c.Fetch(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Status != test.status || e.Code != test.code || e.RetryAfter != 7*time.Second || e.Detail != "a detail" {
			t.Fatalf("%d %s: %#v", test.status, test.code, err)
		}
		for _, sentinel := range []error{ErrForbidden, ErrUnknown, ErrNotReady, ErrUnavailable, ErrNotModified} {
			if errors.Is(err, sentinel) != (sentinel == test.is) {
				t.Errorf("%v is %v: %v", err, sentinel, errors.Is(err, sentinel))
			}
		}
		if want := "dlconf: GET /v1/config: "; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q does not begin with %q", err, want)
		}
	}
}

// Whoever answers: what a body says is not repeated, unless it is a problem.
func TestErrorsRepeatNoBody(t *testing.T) {
	d, c := start(t)
	const secret = "hush-hush"
	for name, handler := range map[string]http.HandlerFunc{
		"an error that is no problem": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, secret, http.StatusInternalServerError)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, secret) },
		"another type": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"version":"1.1","values":{"A":["%s"]}}`, secret)
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprintf(w, `{"version":"1.1","values":{"A":"%s"}`, secret)
		},
		"no version": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"values":{"A":"%s"}}`, secret) },
		"a redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/"+secret)
			w.WriteHeader(302)
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(secret, 1<<20)) },
		"as much told": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(maxBody+1))
			fmt.Fprint(w, secret)
		},
	} {
		d.Override("/v1/config", handler)
		config, err := c.Fetch(t.Context())
		if err == nil || config.Values.Len() != 0 {
			t.Errorf("%s: %v %v", name, config, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		} else if name == "too much" && !strings.Contains(err.Error(), "exceeds") {
			t.Errorf("it read on: %v", err)
		}
	}
	if got := len(d.Requests("/" + secret)); got != 0 {
		t.Errorf("a redirect was followed")
	}
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(dir + "/absent.sock").Fetch(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "absent.sock") {
		t.Errorf("%v", err)
	}
	if _, err := New("/" + strings.Repeat("x", 107)).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "108 bytes, the most is 107") {
		t.Errorf("%v", err)
	}
	t.Setenv(SocketVariable, "/from/the/environment")
	if got := New("").Socket(); got != "/from/the/environment" {
		t.Errorf("socket %q", got)
	}
	t.Setenv(SocketVariable, "")
	if got := New("").Socket(); got != DefaultSocket {
		t.Errorf("socket %q", got)
	}
}

func TestTimeout(t *testing.T) {
	d, c := start(t)
	c.timeout = 50 * time.Millisecond
	d.Override("/v1/config", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := c.Fetch(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// A value comes out through its method, and through nothing else.
func TestNothingPrintsAValue(t *testing.T) {
	d, c := start(t)
	const secret = "hush-hush"
	d.Publish(map[string]string{"A": secret})
	config, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	variable, err := c.Get(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := c.Keys(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := c.KeyRing(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if config.Values.Get("A") != secret || variable.Value() != secret || string(keys[0].Secret()) != secret {
		t.Fatal("the values are not there")
	}
	for _, verb := range []string{"%v", "%#v", "%d"} {
		if got := fmt.Sprintf(verb, config.Values); got != "dlconf.Values[A]" {
			t.Errorf("%s gives %s", verb, got)
		}
		if got := fmt.Sprintf(verb, keys[0]); got != "dlconf.Key[initial active]" {
			t.Errorf("%s gives %s", verb, got)
		}
	}
	ring.mu.RLock() // printing looks inside, which no program should do
	defer ring.mu.RUnlock()
	type hidden struct{ v, w, k any }
	type unexported struct {
		config   Config
		variable Variable
		keys     []Key
	}
	for _, printed := range []any{
		config, &config, config.Values, &config.Values, variable, &variable, keys, keys[0], &keys[0],
		map[string]any{"x": config.Values}, hidden{config, variable, keys}, unexported{config, variable, keys},
		&unexported{config, variable, keys}, ring.keys,
	} {
		var texts []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x", "%t"} {
			texts = append(texts, fmt.Sprintf(verb, printed))
		}
		encoded, err := json.Marshal(printed)
		if err != nil {
			t.Errorf("%T: %v", printed, err)
		}
		texts = append(texts, string(encoded))
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "y", printed)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "y", printed)
		texts = append(texts, log.String())
		for _, text := range texts {
			lower := strings.ToLower(text)
			for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("% x", secret), fmt.Sprint([]byte(secret)), "aHVzaC1odXNo"} {
				if strings.Contains(lower, strings.ToLower(form)) {
					t.Errorf("%T shows its value: %s", printed, text)
				}
			}
		}
	}
}
