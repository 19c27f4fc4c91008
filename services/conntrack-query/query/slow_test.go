package query

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// slow is a Lister whose nodes take their time, each answer within that of a call.
type slow struct {
	shelf
	takes map[string]time.Duration
}

func (l *slow) List(ctx context.Context, n *Node, f *dpdv1.SessionFilter, after []byte, limit int) ([]*dpdv1.Session, []byte, error) {
	time.Sleep(l.takes[n.Name])
	return l.shelf.List(ctx, n, f, after, limit)
}

func TestASlowNodeIsNamedAndLeftOut(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes map[string]time.Duration
		out   []string
		most  time.Duration
	}{
		{"one of three answers each call just in time", map[string]time.Duration{"lb-b": 1900 * time.Millisecond}, []string{"lb-b"}, 8 * time.Second},
		{"all are equally slow", map[string]time.Duration{"lb-a": time.Second, "lb-b": time.Second, "lb-c": time.Second}, nil, 40 * time.Second},
		{"one is a little slower", map[string]time.Duration{"lb-b": 100 * time.Millisecond}, nil, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &slow{shelf: shelf{byNode: map[string][]*dpdv1.Session{}}, takes: c.takes}
				for i := range 150 {
					for _, n := range []string{"lb-a", "lb-b", "lb-c"} {
						l.byNode[n] = append(l.byNode[n], session(1000+i))
					}
				}
				begun := time.Now()
				w := newWalk(l, cluster(3), &Filter{})
				if got := collect(t, w, 5); len(got) != 150 {
					t.Errorf("%d sessions", len(got))
				}
				if len(w.failed) != len(c.out) {
					t.Errorf("left out: %v", w.failed)
				}
				for _, n := range c.out {
					if !errors.Is(w.failed[n], errSlow) {
						t.Errorf("%s: %v", n, w.failed[n])
					}
				}
				if d := time.Since(begun); d > c.most { // of the bubble's clock
					t.Errorf("took %v", d)
				}
			})
		})
	}
	t.Run("one whose windows end elsewhere is asked again and again for their cut", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := &slow{shelf: shelf{byNode: map[string][]*dpdv1.Session{}}, takes: map[string]time.Duration{"lb-b": 1900 * time.Millisecond}}
			for i := range 2000 {
				l.byNode["lb-a"] = append(l.byNode["lb-a"], session(1000+i))
				l.byNode["lb-b"] = append(l.byNode["lb-b"], session(10_000+i))
			}
			begun := time.Now()
			w := newWalk(l, cluster(2), &Filter{})
			collect(t, w, 500)
			if d := time.Since(begun); !errors.Is(w.failed["lb-b"], errSlow) || d > 10*time.Second {
				t.Errorf("took %v, left out: %v", d, w.failed)
			}
		})
	})
}
