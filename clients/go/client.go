package dlconf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	// DefaultSocket is where a daemon listens when nothing else is said.
	DefaultSocket = "/run/dlconf/dlconf.sock"

	// SocketVariable names the environment variable with the socket's path,
	// the same one that the dlconf commands read.
	SocketVariable = "DLCONF_SOCKET"
)

const (
	defaultTimeout = 10 * time.Second
	dialTimeout    = 5 * time.Second
	// An idle connection keeps buffers that held values: it does not stay long.
	idleTimeout = 5 * time.Second
	// The daemon comments every 15 s: three that did not come are a dead stream.
	defaultSilence = 45 * time.Second

	maxHeader  = 64 << 10
	maxBody    = 8 << 20
	maxProblem = 64 << 10
	// What the kernel's sockaddr_un holds, without its final NUL.
	maxSocketPath = 107
)

// Client talks to one daemon. It is safe for use by many goroutines; make one
// for a process and keep it.
type Client struct {
	socket  string
	http    *http.Client
	close   func()
	log     *slog.Logger
	timeout time.Duration
	silence time.Duration
	backoff backoff
}

// Option changes what [New] makes.
type Option func(*Client)

// WithTimeout bounds one request from dial to last byte; 10 s unless set. The
// wait of a long poll comes on top, and a watch is not bounded by it beyond the
// daemon's first answer.
func WithTimeout(d time.Duration) Option {
	return func(c *Client) { c.timeout = d }
}

// WithBackoff sets the pauses between attempts of everything that retries:
// [Client.Watch], [UntilReady], [KeyRing], [Client.KeepAcknowledged]. A pause
// starts at least, doubles, never exceeds most, and is shortened at random by up
// to a half, so that the programs of a host do not return in step. Unless set:
// 1 s, or what
// the daemon suggests to watches, and 30 s.
func WithBackoff(least, most time.Duration) Option {
	return func(c *Client) { c.backoff = backoff{least: least, most: max(least, most), fixed: true} }
}

// WithLogger makes the client tell of retries and of what it cannot return to a
// caller. It logs names, versions and errors, never a value. Unless set it is
// silent.
func WithLogger(log *slog.Logger) Option {
	return func(c *Client) { c.log = log }
}

// New makes a client of the daemon at a Unix socket. An empty path means
// $DLCONF_SOCKET, or else [DefaultSocket]. New does no I/O: whether somebody
// listens is the first request's matter.
func New(socketPath string, opts ...Option) *Client {
	if socketPath == "" {
		socketPath = os.Getenv(SocketVariable)
	}
	if socketPath == "" {
		socketPath = DefaultSocket
	}
	c := &Client{
		socket:  socketPath,
		log:     slog.New(slog.DiscardHandler),
		timeout: defaultTimeout,
		silence: defaultSilence,
		backoff: backoff{least: time.Second, most: 30 * time.Second},
	}
	for _, opt := range opts {
		opt(c)
	}
	transport := &http.Transport{
		DialContext:            c.dial,
		Proxy:                  nil, // the address is a path: no proxy of the environment applies
		DisableCompression:     true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	c.close = transport.CloseIdleConnections
	c.http = &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the daemon has nowhere to send us
		},
	}
	return c
}

// Close closes idle connections. Watches and rings end with their own context
// or Close; a closed client can be used again.
func (c *Client) Close() { c.close() }

// Socket is the path that the client dials.
func (c *Client) Socket() string { return c.socket }

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if len(c.socket) > maxSocketPath {
		// The kernel would only say "invalid argument".
		return nil, fmt.Errorf("the socket path has %d bytes, the most is %d: %s", len(c.socket), maxSocketPath, c.socket)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	return dialer.DialContext(ctx, "unix", c.socket)
}

// request is one call of the API.
type request struct {
	method string
	path   []string // segments, escaped here
	query  url.Values
	header http.Header
	body   any
}

// send does the request. What it returns has a 2xx or 304 status; everything
// else has become an error.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	address, err := url.Parse("http://dlconf/v1/")
	if err != nil {
		return nil, err
	}
	escaped := make([]string, len(r.path))
	for i, segment := range r.path {
		escaped[i] = url.PathEscape(segment)
		if segment == "" || segment == "." || segment == ".." {
			return nil, fmt.Errorf("dlconf: %q is no name", segment)
		}
	}
	address = address.JoinPath(escaped...)
	address.RawQuery = r.query.Encode()
	// "GET /v1/config": what an error says it was about.
	subject := r.method + " " + address.Path

	var body io.Reader
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("dlconf: %s: %w", subject, err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address.String(), body)
	if err != nil {
		return nil, fmt.Errorf("dlconf: %s: %w", subject, err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "dlconf-go")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		// Every request here may be repeated: this lets the transport do so when
		// the daemon closed a kept connection. An empty one is not sent.
		req.Header["Idempotency-Key"] = []string{}
	}

	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the URL is made up, the socket's path is in what it wraps
		}
		return nil, fmt.Errorf("dlconf: %s: %w", subject, err)
	}
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(subject, resp)
}

// call does the request under the client's timeout, and decodes the answer into
// out. The bytes that were read are wiped.
func (c *Client) call(ctx context.Context, extra time.Duration, r request, out any) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+extra)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return resp, nil
	}
	body, err := readAll(resp, maxBody)
	defer clear(body)
	if err != nil {
		return nil, fmt.Errorf("dlconf: %s %s: %w", r.method, resp.Request.URL.Path, err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		// Not %w: an error of encoding/json can quote what it read.
		return nil, fmt.Errorf("dlconf: %s %s: the answer is not what this client understands", r.method, resp.Request.URL.Path)
	}
	return resp, nil
}

// readAll reads a bounded body. With a length told beforehand it is one
// allocation; without one it grows here, so that what is outgrown can be wiped.
func readAll(resp *http.Response, limit int) ([]byte, error) {
	size := 4 << 10
	if resp.ContentLength > int64(limit) {
		return nil, fmt.Errorf("the answer has %d bytes, the most is %d", resp.ContentLength, limit)
	}
	if resp.ContentLength >= 0 {
		size = int(resp.ContentLength) + 1 // one to read the end in
	}
	buf := make([]byte, 0, size)
	for {
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return buf, fmt.Errorf("the answer exceeds %d bytes", limit)
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return buf, err
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), 2*cap(buf))
			copy(grown, buf)
			clear(buf)
			buf = grown
		}
	}
}
