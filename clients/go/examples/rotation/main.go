// Command rotation is an API process that issues tokens and verifies them while
// its key is rotated: what the proof of a rotation runs three times over.
//
//	rotation -socket /run/dlconf/dlconf.sock -consumer cc -instance api-1
//
// issues and verifies with a ring of keys that follows the daemon, and
// acknowledges what it uses. With
//
//	rotation -single JWT_SECRET
//
// it is DataLens's API of today: one key, read from its environment once at its
// start, and tokens without a kid. A rotation logs people out of that.
//
// It prints "listening ADDRESS" and answers there:
//
//	GET /issue           {"token":"…","kid":"…"}; ?life=1h gives one of another life
//	GET /verify          with "Authorization: Bearer …": 200, or 401 with the reason
//	GET /status          {"instance":"…","version":"…","signs":"…","verifies":["…"]}
//
// SIGTERM drains it. With -drive URL,URL,URL it is the other side: it asks such
// processes for tokens, has each verified by another, and counts (drive.go).
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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dlconf/dlconf/clients/go"
)

type options struct {
	socket, consumer, instance, key, single, listen string

	life time.Duration

	drive string
	rate  int
	lasts time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "", "the daemon's socket (default $DLCONF_SOCKET, or "+dlconf.DefaultSocket+")")
	flag.StringVar(&o.consumer, "consumer", "cc", "the consumer that acknowledges rotations, by the daemon's settings")
	flag.StringVar(&o.instance, "instance", "", "this instance of it (default the host's name)")
	flag.StringVar(&o.key, "key", "JWT_SECRET", "the variable whose keys sign the tokens")
	flag.StringVar(&o.single, "single", "", "know one key, that of this environment variable, as DataLens's API of today does")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "where to answer")
	flag.DurationVar(&o.life, "life", 15*time.Minute, "the life of a token: 1500ms")
	flag.StringVar(&o.drive, "drive", "", "ask these processes, URLs separated by commas, instead of being one")
	flag.IntVar(&o.rate, "rate", 200, "with -drive: tokens a second")
	flag.DurationVar(&o.lasts, "for", 0, "with -drive: for so long (default until SIGTERM)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	do := run
	if o.drive != "" {
		do = drive
	}
	if err := do(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rotation:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// tokens is what signs and verifies: a ring, or one key.
type tokens interface {
	// Sign makes a token of claims.
	Sign(claims any) (string, error)
	// Verify checks signature and times.
	Verify(token string, claims any) error
	// Status says what is in use.
	Status() dlconf.RingStatus
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.life <= 0 {
		return errors.New("a token has to live: -life 15m")
	}
	if o.instance == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		o.instance = host
	}
	if o.single != "" {
		key := os.Getenv(o.single)
		if key == "" {
			return fmt.Errorf("%s is not set", o.single)
		}
		return serve(ctx, o, out, oneKey(key), nil)
	}

	client := dlconf.New(o.socket, dlconf.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	defer client.Close()
	// The daemon may start together with us: wait for it, but not for ever.
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ring, err := client.KeyRing(starting, o.key)
	if err != nil {
		return err
	}
	defer ring.Close()
	return serve(ctx, o, out, ring, func(ctx context.Context) error {
		return client.KeepAcknowledged(ctx, o.consumer, func() dlconf.Ack {
			// The version is the ring's: it holds all that this program has of it.
			return dlconf.Ack{Instance: o.instance}
		}, ring)
	})
}

// serve answers until the context ends or a part of it fails, then drains.
func serve(ctx context.Context, o options, out io.Writer, keys tokens, acknowledge func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes(o, keys), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
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
	task("http", func() error { return server.Serve(listener) })
	if acknowledge != nil {
		task("acknowledgement", func() error { return acknowledge(ctx) })
	}
	fmt.Fprintln(out, "listening", listener.Addr())

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

// claims have times in fractions of seconds (RFC 7519 allows them): tokens of a
// test live for less than one.
type claims struct {
	Subject string  `json:"sub"`
	Issued  float64 `json:"iat"`
	Expires float64 `json:"exp"`
}

func claim(subject string, life time.Duration) claims {
	now := time.Now()
	return claims{subject, seconds(now), seconds(now.Add(life))}
}

func seconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }

func routes(o options, keys tokens) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /issue", func(w http.ResponseWriter, r *http.Request) {
		life := o.life
		if text := r.URL.Query().Get("life"); text != "" {
			other, err := time.ParseDuration(text)
			if err != nil {
				http.Error(w, "life is no duration", http.StatusBadRequest)
				return
			}
			life = other
		}
		token, err := keys.Sign(claim(o.instance, life))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, http.StatusOK, map[string]string{"token": token, "kid": kid(token)})
	})
	mux.HandleFunc("GET /verify", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err := keys.Verify(token, nil); err != nil {
			reply(w, http.StatusUnauthorized, map[string]string{"reason": reason(err)})
			return
		}
		reply(w, http.StatusOK, map[string]string{"reason": ""})
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		status := keys.Status()
		reply(w, http.StatusOK, map[string]any{
			"instance": o.instance,
			"version":  status.Version,
			"signs":    status.Run.Signs,
			"verifies": status.Run.Verifies,
			"error":    fmt.Sprint(cmp.Or(status.Err, errors.New("none"))),
		})
	})
	ready := func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]string{}) }
	mux.HandleFunc("GET /healthz", ready)
	mux.HandleFunc("GET /readyz", ready)
	return mux
}

// Why a token is refused, in a word.
const (
	expired   = "expired"
	signature = "signature"
	other     = "other"
)

func reason(err error) string {
	switch {
	case errors.Is(err, dlconf.ErrTokenExpired):
		return expired
	case errors.Is(err, dlconf.ErrTokenSignature):
		return signature
	default:
		return other
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
