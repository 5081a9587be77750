package dlconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config is one generation of the configuration, as much of it as the policy
// lets this process see. It is never a mix of two.
type Config struct {
	// Version is which daemon, and its how many-th generation: "7f3a.42".
	Version string
	// Values are the variables.
	Values Values
	// ETag stands for exactly these bytes, for this process, under this policy;
	// see [IfNoneMatch].
	ETag string
}

// Values are variables by name. Formatting, logging and marshalling them gives
// the names only: a value comes out through Get, Lookup and All, and nowhere
// else. The zero Values is empty. They cannot be changed.
type Values struct {
	m sealed[map[string]string]
}

// sealed hides a value from everything that prints by reflection, as fmt does
// with unexported fields, and with any field for a verb that does not fit: it
// never calls the methods below there. Of a function it prints the address.
type sealed[T any] func() T

func seal[T any](value T) sealed[T] { return func() T { return value } }

func (s sealed[T]) open() (value T) {
	if s != nil {
		value = s()
	}
	return value
}

// ValuesOf makes Values of a map, which it copies: for tests and for programs
// that take their configuration from elsewhere too.
func ValuesOf(m map[string]string) Values {
	return Values{seal(maps.Clone(m))}
}

// Get returns the value of a variable, or "" where there is none, as [os.Getenv]
// does.
func (v Values) Get(name string) string {
	value, _ := v.Lookup(name)
	return value
}

// Lookup returns the value of a variable and whether there is one, as
// [os.LookupEnv] does. It can stand in for that function.
func (v Values) Lookup(name string) (string, bool) {
	value, ok := v.m.open()[name]
	return value, ok
}

// Len is how many variables there are.
func (v Values) Len() int { return len(v.m.open()) }

// Names are the variables' names, sorted.
func (v Values) Names() []string { return slices.Sorted(maps.Keys(v.m.open())) }

// All yields names and values, sorted by name.
func (v Values) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range v.Names() {
			if !yield(name, v.Get(name)) {
				return
			}
		}
	}
}

// Changed are the names, sorted, whose value is not the same in other, or which
// only one of the two has.
func (v Values) Changed(other Values) []string {
	var names []string
	for name, value := range v.All() {
		if was, ok := other.Lookup(name); !ok || was != value {
			names = append(names, name)
		}
	}
	for name := range other.All() {
		if _, ok := v.Lookup(name); !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// String gives the names.
func (v Values) String() string { return "dlconf.Values[" + strings.Join(v.Names(), " ") + "]" }

// GoString gives the names.
func (v Values) GoString() string { return v.String() }

// Format gives the names, whatever the verb.
func (v Values) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.String()) }

// LogValue gives the names.
func (v Values) LogValue() slog.Value { return slog.AnyValue(v.Names()) }

// MarshalJSON gives the names, each with the same placeholder as its value.
func (v Values) MarshalJSON() ([]byte, error) {
	shown := make(map[string]string, v.Len())
	for _, name := range v.Names() {
		shown[name] = redacted
	}
	return json.Marshal(shown)
}

const redacted = "[redacted]"

// FetchOption narrows or conditions a [Client.Fetch].
type FetchOption interface{ applyFetch(*fetching) }

// WatchOption narrows a [Client.Watch].
type WatchOption interface{ applyWatch(*watching) }

// ViewOption is an option of both.
type ViewOption interface {
	FetchOption
	WatchOption
}

type fetching struct {
	query  url.Values
	header http.Header
	wait   time.Duration
	ready  bool
}

type fetchOption func(*fetching)

func (o fetchOption) applyFetch(f *fetching) { o(f) }

type varsOption []string

func (o varsOption) applyFetch(f *fetching) { f.query.Set("vars", strings.Join(o, ",")) }
func (o varsOption) applyWatch(w *watching) { w.query.Set("vars", strings.Join(o, ",")) }

// Vars narrows to these variables: names ("JWT_SECRET"), patterns ("DB_*") or
// groups of the schema ("group:jwt"). The policy must permit all of them, or
// there is [ErrForbidden]; one that means nothing is [ErrUnknown]. Without Vars it is whatever the policy permits.
func Vars(selectors ...string) ViewOption { return varsOption(selectors) }

// IfNoneMatch makes a Fetch return [ErrNotModified] if nothing differs from the
// Config that had this ETag.
func IfNoneMatch(etag string) FetchOption {
	return fetchOption(func(f *fetching) {
		if etag != "" {
			f.header.Set("If-None-Match", etag)
		}
	})
}

// Wait makes a Fetch with [IfNoneMatch] wait for a difference, at most this long
// in whole seconds and at most the daemon's 60; then it is [ErrNotModified]. To
// follow a configuration, [Client.Watch] is better.
func Wait(d time.Duration) FetchOption {
	return fetchOption(func(f *fetching) { f.wait = min(max(d, 0), time.Minute) })
}

// UntilReady makes a Fetch try again while there is no daemon or it has nothing
// valid yet, until the context ends: for programs that start together with it.
func UntilReady() FetchOption {
	return fetchOption(func(f *fetching) { f.ready = true })
}

// Fetch gets the configuration.
func (c *Client) Fetch(ctx context.Context, opts ...FetchOption) (Config, error) {
	f := fetching{query: url.Values{}, header: http.Header{}}
	for _, opt := range opts {
		opt.applyFetch(&f)
	}
	if f.wait > 0 {
		f.query.Set("wait", fmt.Sprintf("%ds", int64((f.wait+time.Second-1)/time.Second)))
	}
	retry := c.backoff
	for {
		config, err := c.fetch(ctx, f)
		if err == nil || !f.ready || errors.Is(err, ErrNotModified) || permanent(err) || ctx.Err() != nil {
			return config, err
		}
		c.log.Debug("dlconf: waiting for the daemon", "error", err)
		if pause(ctx, retry.next(err)) != nil {
			return Config{}, fmt.Errorf("%w, last: %w", context.Cause(ctx), err)
		}
	}
}

func (c *Client) fetch(ctx context.Context, f fetching) (Config, error) {
	var answer struct {
		Version string            `json:"version"`
		Values  map[string]string `json:"values"`
	}
	r := request{method: http.MethodGet, path: []string{"config"}, query: f.query, header: f.header}
	resp, err := c.call(ctx, f.wait, r, &answer)
	if err != nil {
		return Config{}, err
	}
	if resp.StatusCode == http.StatusNotModified {
		return Config{}, ErrNotModified
	}
	if answer.Version == "" {
		return Config{}, malformed("GET /v1/config", "the answer has no version")
	}
	return Config{Version: answer.Version, Values: Values{seal(answer.Values)}, ETag: resp.Header.Get("ETag")}, nil
}

// Variable is one variable and where it came from.
type Variable struct {
	Name    string
	Version string
	// Origin names the source and the place in it.
	Origin string
	// Age is how long ago the source was last known to say this.
	Age time.Duration
	// FromSnapshot says that the daemon knows the value from its last-known-good
	// snapshot only, since its source cannot be asked. SnapshotAge is how long ago
	// the source confirmed it.
	FromSnapshot bool
	SnapshotAge  time.Duration
	value        sealed[string]
}

// Value is the value. Formatting a Variable does not show it.
func (v Variable) Value() string { return v.value.open() }

// Get gets one variable, with its origin.
func (c *Client) Get(ctx context.Context, name string) (Variable, error) {
	var answer struct {
		Key     string  `json:"key"`
		Value   string  `json:"value"`
		Version string  `json:"version"`
		Origin  string  `json:"origin"`
		Age     float64 `json:"age_seconds"`
		// None where its source was read.
		SnapshotAge *float64 `json:"snapshot_age_seconds"`
	}
	r := request{method: http.MethodGet, path: []string{"config", name}}
	if _, err := c.call(ctx, 0, r, &answer); err != nil {
		return Variable{}, err
	}
	variable := Variable{
		Name:    answer.Key,
		Version: answer.Version,
		Origin:  answer.Origin,
		Age:     time.Duration(answer.Age * float64(time.Second)),
		value:   seal(answer.Value),
	}
	if age := answer.SnapshotAge; age != nil {
		variable.FromSnapshot = true
		variable.SnapshotAge = time.Duration(*age * float64(time.Second))
	}
	return variable, nil
}
