// Package dlconf is the client of the dlconf daemon: configuration, changes to
// it, and rotating keys, over a Unix socket. It needs nothing but the standard
// library.
//
//	client := dlconf.New("") // $DLCONF_SOCKET, or /run/dlconf/dlconf.sock
//	defer client.Close()
//
// # Configuration
//
// [Client.Fetch] gets everything that the daemon's policy permits, of one
// generation:
//
//	config, err := client.Fetch(ctx, dlconf.UntilReady())
//	port := config.Values.Get("APP_PORT")
//
// [Client.Watch] tells of changes, by name, for as long as the context lives, also
// across restarts of the daemon:
//
//	err := client.Watch(ctx, func(change dlconf.Change) error {
//		if change.Has("APP_LOG_LEVEL") { … }
//		return nil
//	}, dlconf.Since(config.Version))
//
// # Rotating keys
//
// A [KeyRing] holds the keys of one variable and follows their rotation. It signs
// with the active one and verifies with all that count, so that nobody is logged
// out:
//
//	ring, err := client.KeyRing(ctx, "JWT_SECRET")
//	defer ring.Close()
//	token, err := ring.Sign(claims)
//	err = ring.Verify(token, &claims)
//
// [Keyfunc] lends a ring to a JWT library. [Client.KeepAcknowledged] tells the
// daemon which keys this process runs; a rotation waits for that.
//
// # When the daemon is away
//
// What was fetched stays what it is, watches connect again, rings keep their keys
// and say how old they are ([KeyRing.Status]). A program that has started does
// not need the daemon to go on.
//
// # Errors
//
// An answer that is no success is an [*Error]; [errors.Is] tells [ErrForbidden],
// [ErrUnknown], [ErrNotReady] and [ErrUnavailable] apart. No error, log line or printed
// form of this package's types contains a value.
//
// # What Go does not promise about memory
//
// The package wipes what it can: the bytes of an answer once they are decoded,
// and the keys that a ring drops. It cannot wipe strings ([Values] are strings,
// as everything that takes configuration wants them), the buffers of net/http
// until their connection is closed (idle ones close after 5 seconds), the inner
// state of crypto/hmac, copies that a library was given, and whatever the
// runtime left behind when it moved a stack. These live until the garbage
// collector uses their memory for something else. Do not let the program write
// core files, and lock its memory or turn swap off, if that matters.
package dlconf
