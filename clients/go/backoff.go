package dlconf

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// backoff counts attempts that failed in a row. It is copied for each use.
type backoff struct {
	least, most time.Duration
	failed      int
	// fixed: the program set it, the daemon's suggestions do not count.
	fixed bool
}

// suggest is a stream's own word on the least pause.
func (b *backoff) suggest(least time.Duration) {
	if least > 0 && !b.fixed {
		b.least = min(least, b.most)
	}
}

// next is the pause before another attempt: doubled each time, capped, and
// between half and all of that. An error that names a pause is heeded, also
// beyond the cap.
func (b *backoff) next(err error) time.Duration {
	pause := b.least
	for range b.failed {
		if pause *= 2; pause >= b.most {
			break
		}
	}
	pause = min(pause, b.most)
	b.failed++
	if pause > 1 {
		pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // spreading load, not guarding anything
	}
	var e *Error
	if errors.As(err, &e) {
		pause = max(pause, e.RetryAfter)
	}
	return pause
}

func (b *backoff) reset() { b.failed = 0 }

// pause waits, or ends early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
