// Command datalens shows how DataLens's API takes its configuration from a dlconf
// daemon instead of from its environment: the same readers over another lookup,
// a key ring in place of JWT_SECRET, and no restart for what can be reloaded.
//
//	datalens -socket /run/dlconf/dlconf.sock -consumer cc
//	curl -X POST localhost:8080/login       # a token
//	curl -H "Authorization: Bearer …" localhost:8080/me
//
// With -once it fetches, signs, verifies, acknowledges, prints names and ends.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dlconf/dlconf/clients/go"
)

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "", "the daemon's socket (default $DLCONF_SOCKET, or "+dlconf.DefaultSocket+")")
	flag.StringVar(&o.consumer, "consumer", "cc", "the consumer that acknowledges rotations, by the daemon's settings")
	flag.StringVar(&o.instance, "instance", "", "this instance of it (default the host's name)")
	flag.BoolVar(&o.once, "once", false, "fetch, sign, verify, acknowledge, print names, end")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "datalens:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

type options struct {
	socket, consumer, instance string
	once                       bool
}

// app is the running program.
type app struct {
	client *dlconf.Client
	ring   *dlconf.KeyRing
	log    *slog.Logger
	level  slog.LevelVar
	// current is read by every request and exchanged as a whole by a reload.
	current atomic.Pointer[state]
}

type state struct {
	config
	fetched dlconf.Config
}

func run(ctx context.Context, o options, out io.Writer) error {
	a := &app{}
	a.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &a.level}))
	a.client = dlconf.New(o.socket, dlconf.WithLogger(a.log))
	defer a.client.Close()
	if o.instance == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		o.instance = host
	}

	// The daemon may start together with us: wait for it, but not for ever.
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fetched, err := a.client.Fetch(starting, dlconf.UntilReady())
	if err != nil {
		return err
	}
	a.use(fetched)
	a.ring, err = a.client.KeyRing(starting, "JWT_SECRET")
	if err != nil {
		return err
	}
	defer a.ring.Close()

	if o.once {
		return a.once(ctx, o, out)
	}
	return a.serve(ctx, o)
}

// use takes a configuration into use, as far as that goes without a restart.
func (a *app) use(fetched dlconf.Config) {
	c := load(fetched.Values.Lookup)
	if err := a.level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		a.log.Warn("APP_LOG_LEVEL is no level: kept", "level", a.level.Level())
	}
	a.current.Store(&state{config: c, fetched: fetched})
}

// once proves that everything works, and shows no value.
func (a *app) once(ctx context.Context, o options, out io.Writer) error {
	s := a.current.Load()
	token, err := a.ring.Sign(a.claims("once"))
	if err != nil {
		return err
	}
	if err := a.ring.Verify(token, nil); err != nil {
		return err
	}
	status := a.ring.Status()
	receipt, err := a.client.Acknowledge(ctx, o.consumer, dlconf.Ack{
		Instance: o.instance,
		Version:  s.fetched.Version,
		Runs:     map[string]dlconf.Run{a.ring.Name(): status.Run},
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "version", s.fetched.Version)
	for _, name := range s.fetched.Values.Names() {
		fmt.Fprintln(out, "variable", name)
	}
	fmt.Fprintln(out, "signs", status.Run.Signs)
	fmt.Fprintln(out, "verifies", strings.Join(status.Run.Verifies, " "))
	fmt.Fprintln(out, "acknowledged", receipt.Consumer, receipt.Instance)
	return nil
}

// serve runs until the context ends or a part of it fails, then drains.
func (a *app) serve(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks sync.WaitGroup
	task := func(name string, fn func() error) {
		tasks.Add(1)
		go func() {
			defer tasks.Done()
			if err := fn(); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		}()
	}

	s := a.current.Load()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	a.log.Info("listening", "address", listener.Addr().String(), "version", s.fetched.Version)

	task("http", func() error { return server.Serve(listener) })
	task("configuration", func() error { return a.follow(ctx, s.fetched.Version) })
	task("acknowledgement", func() error {
		return a.client.KeepAcknowledged(ctx, o.consumer, func() dlconf.Ack {
			return dlconf.Ack{Instance: o.instance, Version: a.current.Load().fetched.Version}
		}, a.ring)
	})

	<-ctx.Done()
	draining, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	err = server.Shutdown(draining)
	tasks.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// follow reloads what can be reloaded and says what waits for a restart.
func (a *app) follow(ctx context.Context, version string) error {
	return a.client.Watch(ctx, func(dlconf.Change) error {
		before := a.current.Load().fetched
		fetched, err := a.client.Fetch(ctx, dlconf.IfNoneMatch(before.ETag), dlconf.UntilReady())
		if errors.Is(err, dlconf.ErrNotModified) {
			return nil
		}
		if err != nil {
			return err
		}
		// Not what the change named: after a resync that is everything.
		for _, name := range fetched.Values.Changed(before.Values) {
			switch {
			case slices.Contains(reloadable, name):
				a.log.Info("reloaded", "variable", name, "version", fetched.Version)
			case name == a.ring.Name(): // the ring has heard of it
			default:
				a.log.Warn("changed, and takes effect at the next start", "variable", name, "version", fetched.Version)
			}
		}
		a.use(fetched)
		return nil
	}, dlconf.Since(version))
}

type claims struct {
	Subject string `json:"sub"`
	Issued  int64  `json:"iat"`
	Expires int64  `json:"exp"`
}

func (a *app) claims(subject string) claims {
	now := time.Now()
	return claims{Subject: subject, Issued: now.Unix(), Expires: now.Add(a.current.Load().AccessTokenExpiry).Unix()}
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("GET /me", a.me)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		status := a.ring.Status()
		reply(w, http.StatusOK, map[string]any{
			"version":            a.current.Load().fetched.Version,
			"signs":              status.Run.Signs,
			"verifies":           status.Run.Verifies,
			"keys_confirmed_ago": status.Age.Round(time.Second).String(),
			"keys_error":         fmt.Sprint(cmp.Or(status.Err, errors.New("none"))),
		})
	})
	return a.cors(mux)
}

// login gives everybody a token: whom to believe is not this example's matter.
func (a *app) login(w http.ResponseWriter, _ *http.Request) {
	token, err := a.ring.Sign(a.claims("someone"))
	if err != nil {
		a.log.Error("no token", "error", err)
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	reply(w, http.StatusOK, map[string]string{"token": token})
}

func (a *app) me(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var c claims
	if !ok || a.ring.Verify(token, &c) != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "no valid token", http.StatusUnauthorized)
		return
	}
	reply(w, http.StatusOK, map[string]string{"subject": c.Subject})
}

func (a *app) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(a.current.Load().AllowedOrigins, origin) {
			w.Header().Set("Access-Control-Allow-Origin", origin)
		}
		next.ServeHTTP(w, r)
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
