package kit

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestTheFirstOfARowOfFailuresIsSaid(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a, b, c, d := errors.New("a"), errors.New("b"), errors.New("c"), errors.New("d")
	outcomes := []error{nil, a, b, nil, nil, c, nil}
	calls := 0
	var said []error
	Again(ctx, 0, func(context.Context) error {
		calls++
		if calls > len(outcomes) {
			stop() // a failure of the end is none
			return d
		}
		return outcomes[calls-1]
	}, func(err error) { said = append(said, err) })
	if calls != len(outcomes)+1 || !slices.Equal(said, []error{a, c}) {
		t.Errorf("%d calls, said %v", calls, said)
	}
}
