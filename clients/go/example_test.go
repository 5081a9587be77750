package dlconf_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	dlconf "github.com/dlconf/dlconf/clients/go"
	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// A daemon for the examples.
func daemon() *daemontest.Daemon {
	d := daemontest.Start()
	d.Publish(map[string]string{"APP_LOG_LEVEL": "info", "DB_PASSWORD": "correct horse"})
	d.SetKeys("JWT_SECRET", daemontest.Key{KID: "k1", State: "active", Value: "a key of 32 bytes or more, please"})
	return d
}

// A program takes its configuration, then follows it.
func Example() {
	d := daemon()
	defer d.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client := dlconf.New(d.Socket)
	defer client.Close()
	config, err := client.Fetch(ctx, dlconf.UntilReady())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("level", config.Values.Get("APP_LOG_LEVEL"))
	fmt.Println(config.Values) // shows names only

	go d.Publish(map[string]string{"APP_LOG_LEVEL": "warn", "DB_PASSWORD": "correct horse", "JWT_SECRET": config.Values.Get("JWT_SECRET")})
	enough := errors.New("enough")
	err = client.Watch(ctx, func(change dlconf.Change) error {
		fmt.Println("changed", change.Changed)
		config, err := client.Fetch(ctx)
		if err != nil {
			return err
		}
		fmt.Println("level", config.Values.Get("APP_LOG_LEVEL"))
		return enough
	}, dlconf.Since(config.Version))
	fmt.Println(err)
	// Output:
	// level info
	// dlconf.Values[APP_LOG_LEVEL DB_PASSWORD JWT_SECRET]
	// changed [APP_LOG_LEVEL]
	// level warn
	// enough
}

func ExampleKeyRing() {
	d := daemon()
	defer d.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := dlconf.New(d.Socket)
	defer client.Close()

	ring, err := client.KeyRing(ctx, "JWT_SECRET")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()

	type claims struct {
		Subject string `json:"sub"`
		Expires int64  `json:"exp"`
	}
	token, err := ring.Sign(claims{"someone", time.Now().Add(15 * time.Minute).Unix()})
	if err != nil {
		fmt.Println(err)
		return
	}
	var got claims
	fmt.Println(ring.Verify(token, &got), got.Subject)
	fmt.Println(errors.Is(ring.Verify(token[:len(token)-1], nil), dlconf.ErrTokenMalformed))
	fmt.Println(ring.Status().Run)
	// Output:
	// <nil> someone
	// true
	// {[k1] k1}
}

// The shapes of github.com/golang-jwt/jwt/v5, which this package does not import.
type (
	jwtToken              struct{ Header map[string]any }
	jwtVerificationKey    any
	jwtVerificationKeySet struct{ Keys []jwtVerificationKey }
)

func ExampleKeyfunc() {
	d := daemon()
	defer d.Close()
	client := dlconf.New(d.Socket)
	defer client.Close()
	ring, err := client.KeyRing(context.Background(), "JWT_SECRET")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()

	keyfunc := dlconf.Keyfunc(ring,
		func(t *jwtToken) map[string]any { return t.Header },
		func(keys []jwtVerificationKey) any { return jwtVerificationKeySet{Keys: keys} })

	// The library calls it:
	set, err := keyfunc(&jwtToken{Header: map[string]any{"alg": "HS256", "kid": "k1"}})
	fmt.Println(len(set.(jwtVerificationKeySet).Keys), err)
	_, err = keyfunc(&jwtToken{Header: map[string]any{"alg": "none"}})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// dlconf: the token is malformed: it is not HS256
}

func ExampleClient_KeepAcknowledged() {
	d := daemon()
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := dlconf.New(d.Socket)
	defer client.Close()
	ring, err := client.KeyRing(ctx, "JWT_SECRET")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()

	ended := make(chan error)
	go func() {
		ended <- client.KeepAcknowledged(ctx, "cc", func() dlconf.Ack {
			return dlconf.Ack{Instance: "api-7c9f"}
		}, ring)
	}()
	for len(d.Acks()) == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(d.Acks()[0].Runs)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// map[JWT_SECRET:{[k1] k1}]
	// context canceled
}
