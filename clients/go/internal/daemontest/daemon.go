// Package daemontest answers as the dlconf daemon does, over a Unix socket, with
// the knobs that tests turn: cuts, restarts, absences, refusals. It knows nothing
// of the client.
package daemontest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Daemon is one fake daemon. Its first generation is empty.
type Daemon struct {
	// Socket is where it listens.
	Socket string

	dir string
	// Both are closed: a server that has not begun to serve knows no listener yet.
	server   *http.Server
	listener net.Listener

	mu         sync.Mutex
	instance   string
	starts     int
	generation int
	values     map[string]string
	keys       map[string][]Key
	changed    map[int][]string // what each generation changed
	moved      chan struct{}    // closed by the next change
	overrides  map[string]http.HandlerFunc
	requests   []*http.Request
	acks       []Ack
	expires    int
	standsIn   *float64
}

// Key is one element of /v1/keys.
type Key struct {
	KID         string     `json:"kid"`
	State       string     `json:"state"`
	NotBefore   *time.Time `json:"not_before"`
	RetireAfter *time.Time `json:"retire_after"`
	Value       string     `json:"value"`
}

// Ack is what a consumer put.
type Ack struct {
	Consumer string
	Instance string `json:"instance"`
	Version  string `json:"version"`
	Runs     map[string]struct {
		Verifies []string `json:"verifies"`
		Signs    string   `json:"signs"`
	} `json:"runs"`
}

// Start starts one in a folder of its own, whose path is short enough for a
// socket. It panics when that does not work.
func Start() *Daemon {
	dir, err := os.MkdirTemp("", "dlconf-go-")
	must(err)
	d := &Daemon{
		Socket:    filepath.Join(dir, "dlconf.sock"),
		dir:       dir,
		values:    map[string]string{},
		keys:      map[string][]Key{},
		overrides: map[string]http.HandlerFunc{},
		moved:     make(chan struct{}),
		expires:   300,
	}
	d.Come()
	return d
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Close ends it and removes its folder.
func (d *Daemon) Close() {
	d.Go()
	must(os.RemoveAll(d.dir))
}

// Come makes it listen, as a new instance that remembers no generation.
func (d *Daemon) Come() {
	listener, err := net.Listen("unix", d.Socket)
	must(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts++
	d.instance = fmt.Sprintf("%04x", 0x7f39+d.starts)
	d.generation = 1
	d.changed = map[int][]string{}
	d.listener = listener
	d.server = &http.Server{Handler: http.HandlerFunc(d.serve), ReadHeaderTimeout: time.Minute}
	server := d.server
	go func() { _ = server.Serve(listener) }()
}

// Go cuts every connection and stops listening: the socket's file is gone.
func (d *Daemon) Go() {
	_ = d.listener.Close()
	_ = d.server.Close()
}

// Restart is Go and Come.
func (d *Daemon) Restart() {
	d.Go()
	d.Come()
}

// Version is the generation that is there now.
func (d *Daemon) Version() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version()
}

func (d *Daemon) version() string { return d.instance + "." + strconv.Itoa(d.generation) }

// Publish makes a generation of these values.
func (d *Daemon) Publish(values map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, value := range values {
		if was, ok := d.values[name]; !ok || was != value {
			names = append(names, name)
		}
	}
	for name := range d.values {
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	d.values = maps.Clone(values)
	d.advance(names)
}

// SetKeys makes a generation with these keys of a variable.
func (d *Daemon) SetKeys(name string, keys ...Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[name] = keys
	for _, key := range keys {
		if key.State == "active" {
			d.values[name] = key.Value
		}
	}
	d.advance([]string{name})
}

func (d *Daemon) advance(names []string) {
	d.generation++
	d.changed[d.generation] = names
	close(d.moved)
	d.moved = make(chan struct{})
}

// Override answers a path itself; nil gives it back.
func (d *Daemon) Override(path string, handler http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if handler == nil {
		delete(d.overrides, path)
		return
	}
	d.overrides[path] = handler
}

// Refuse answers a path with a problem.
func (d *Daemon) Refuse(path string, status int, code string) {
	d.Override(path, func(w http.ResponseWriter, _ *http.Request) { Problem(w, status, code) })
}

// StandIn makes it say that its snapshot stands in for the source of every value,
// which was confirmed so many seconds ago.
func (d *Daemon) StandIn(seconds float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.standsIn = &seconds
}

// ExpireAfter sets how long acknowledgements count.
func (d *Daemon) ExpireAfter(seconds int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expires = seconds
}

// Requests are those for a path so far.
func (d *Daemon) Requests(path string) []*http.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	var requests []*http.Request
	for _, r := range d.requests {
		if r.URL.Path == path {
			requests = append(requests, r)
		}
	}
	return requests
}

// Acks are the acknowledgements so far.
func (d *Daemon) Acks() []Ack {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.acks)
}

func (d *Daemon) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.requests = append(d.requests, r)
	override := d.overrides[r.URL.Path]
	d.mu.Unlock()
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	switch {
	case override != nil:
		override(w, r)
	case r.Method == http.MethodGet && kind == "config" && name == "":
		d.config(w, r)
	case r.Method == http.MethodGet && kind == "config":
		d.variable(w, name)
	case r.Method == http.MethodGet && kind == "watch":
		d.watch(w, r)
	case r.Method == http.MethodGet && kind == "keys":
		d.ring(w, r, name)
	case r.Method == http.MethodPut && kind == "consumers":
		d.acknowledge(w, r, name)
	default:
		Problem(w, http.StatusNotFound, "unknown-route")
	}
}

// view is what a request may see. Its selectors are names here.
func (d *Daemon) view(r *http.Request) (map[string]string, bool) {
	vars := r.URL.Query().Get("vars")
	if vars == "" {
		return maps.Clone(d.values), true
	}
	view := map[string]string{}
	for name := range strings.SplitSeq(vars, ",") {
		value, ok := d.values[name]
		if !ok {
			return nil, false
		}
		view[name] = value
	}
	return view, true
}

func (d *Daemon) config(w http.ResponseWriter, r *http.Request) {
	deadline := time.After(wait(r))
	for {
		d.mu.Lock()
		view, ok := d.view(r)
		version, moved := d.version(), d.moved
		d.mu.Unlock()
		if !ok {
			Problem(w, http.StatusForbidden, "forbidden")
			return
		}
		etag := `W/"` + version + `"`
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") != etag {
			reply(w, map[string]any{"version": version, "values": view})
			return
		}
		select {
		case <-moved:
		case <-deadline:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func wait(r *http.Request) time.Duration {
	d, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		return 0
	}
	return d
}

func (d *Daemon) variable(w http.ResponseWriter, name string) {
	d.mu.Lock()
	value, ok := d.values[name]
	version := d.version()
	standsIn := d.standsIn
	d.mu.Unlock()
	if !ok {
		Problem(w, http.StatusNotFound, "unknown-variable")
		return
	}
	reply(w, map[string]any{"key": name, "value": value, "version": version, "origin": "local .env:1", "age_seconds": 1.5, "snapshot_age_seconds": standsIn})
}

func (d *Daemon) watch(w http.ResponseWriter, r *http.Request) {
	flusher := w.(http.Flusher)
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 1000\n\n")
	flusher.Flush()
	since := r.Header.Get("Last-Event-ID")
	for {
		d.mu.Lock()
		view, ok := d.view(r)
		version, moved := d.version(), d.moved
		told := slices.Sorted(maps.Keys(view))
		instance, number, _ := strings.Cut(since, ".")
		generation, err := strconv.Atoi(number)
		known := err == nil && instance == d.instance && generation <= d.generation
		if known {
			told = nil
			for g := generation + 1; g <= d.generation; g++ {
				for _, name := range d.changed[g] {
					_, mine := view[name]
					if (mine || r.URL.Query().Get("vars") == "") && !slices.Contains(told, name) {
						told = append(told, name)
					}
				}
			}
		}
		d.mu.Unlock()
		if !ok {
			return
		}
		if !known || len(told) > 0 {
			data, err := json.Marshal(map[string]any{"version": version, "changed": told, "resync": !known})
			must(err)
			fmt.Fprintf(w, "id: %s\ndata: %s\n\n", version, data)
			flusher.Flush()
		}
		since = version
		select {
		case <-moved:
		case <-r.Context().Done():
			return
		}
	}
}

func (d *Daemon) ring(w http.ResponseWriter, r *http.Request, name string) {
	d.mu.Lock()
	etag := `W/"ring-` + d.version() + `"`
	keys := d.keys[name]
	value, ok := d.values[name]
	d.mu.Unlock()
	w.Header().Set("ETag", etag)
	switch {
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	case len(keys) > 0:
		reply(w, keys)
	case ok:
		reply(w, []Key{{KID: "initial", State: "active", Value: value}})
	default:
		Problem(w, http.StatusNotFound, "unknown-variable")
	}
}

func (d *Daemon) acknowledge(w http.ResponseWriter, r *http.Request, name string) {
	ack := Ack{Consumer: name}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&ack); err != nil || ack.Instance == "" || ack.Version == "" {
		Problem(w, http.StatusBadRequest, "bad-request")
		return
	}
	d.mu.Lock()
	d.acks = append(d.acks, ack)
	expires := d.expires
	d.mu.Unlock()
	reply(w, map[string]any{"consumer": name, "instance": ack.Instance, "expires_in_seconds": expires})
}

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// Problem writes a problem document.
func Problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "urn:dlconf:" + code, "title": http.StatusText(status), "status": status, "code": code, "detail": "a detail",
	})
}
