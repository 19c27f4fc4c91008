package kit

import (
	"context"
	"time"
)

// Again calls fn until ctx ends, with a pause after each call, and says the first of a row of failures.
func Again(ctx context.Context, pause time.Duration, fn func(context.Context) error, say func(error)) {
	failing := false
	for ctx.Err() == nil {
		err := fn(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			say(err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
