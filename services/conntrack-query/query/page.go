package query

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// maxWindow is the number of sessions that one step asks of each node.
const maxWindow = 10_000

// lagBudget is how much longer than the others one node may take in all, over the steps of one walk. One that takes longer
// is named and left out: each of its answers may come in time, and hundreds of them still be too late.
const lagBudget = 4 * time.Second

var errSlow = status.Error(codes.DeadlineExceeded, "it answers much slower than the others")

// Lister lists sessions of one node. Every node lists in the same order, and a cursor names a place of that order, so
// cursors of different nodes can be compared byte by byte.
type Lister interface {
	// List returns at most limit sessions after the cursor. end is the place of the last; nil only when there were fewer
	// than limit.
	List(ctx context.Context, n *Node, f *dpdv1.SessionFilter, after []byte, limit int) (sessions []*dpdv1.Session, end []byte, err error)
}

// errBadList says that a node's answer breaks Lister's contract.
var errBadList = errors.New("query: a list that is longer than asked for, or whose end is not told")

// window is what one node has after the cursor: sessions in order, up to the place end.
type window struct {
	node *Node
	list []*dpdv1.Session
	end  []byte // nil: the node has no more
}

// walk goes through the sessions of all nodes in their common order.
type walk struct {
	lister Lister
	dir    *Directory
	filter *Filter
	push   *dpdv1.SessionFilter
	nodes  []Node
	failed map[string]error // by node name; such a node is left out from then on
	lags   map[string]time.Duration
}

func newWalk(l Lister, d *Directory, f *Filter) *walk {
	return &walk{lister: l, dir: d, filter: f, push: f.Tuple(), nodes: slices.Clone(d.Nodes), failed: map[string]error{}, lags: map[string]time.Duration{}}
}

// page returns at most size sessions after a place, each once, and the place where it ended; nil when nothing follows.
// more says whether another step may be taken; when it says no the page may be short.
func (w *walk) page(ctx context.Context, after []byte, size int, more func() bool) (out []*conntrackv1.Session, next []byte) {
	width := size
	for {
		found, end := w.step(ctx, after, width)
		if room := size - len(out); len(found) > room {
			if width > 1 {
				width = (width + 1) / 2 // more than fit: a shorter step
				continue
			}
			found = found[:room] // several sessions at one place: two hashes met
		}
		out = append(out, found...)
		if end == nil || len(out) == size {
			return out, end
		}
		if after = end; !more() {
			return out, end
		}
		if len(found) < width/4 {
			width = min(2*width, maxWindow)
		}
	}
}

// step reads a window of each node and returns the matching sessions up to the place where all windows are known.
//
// A window that ends later than another one is cut there: what lies beyond may be in the shorter window's next part.
func (w *walk) step(ctx context.Context, after []byte, width int) ([]*conntrackv1.Session, []byte) {
	wins := w.windows(ctx, after, width)
	if len(wins) == 0 {
		return nil, nil
	}
	var end []byte
	var last *dpdv1.Session
	for _, x := range wins {
		if x.end != nil && (end == nil || bytes.Compare(x.end, end) < 0) {
			end, last = x.end, x.list[len(x.list)-1]
		}
	}
	byName := map[string][]Copy{}
	for i := range wins {
		x := &wins[i]
		if end != nil && !bytes.Equal(x.end, end) {
			var err error
			if x.list, err = w.upTo(ctx, x, after, end, last); err != nil {
				w.fail(x.node, err)
				continue
			}
		}
		for _, s := range x.list {
			name := Name(s.GetOriginal())
			byName[name] = append(byName[name], Copy{x.node, s})
		}
	}
	var out []*conntrackv1.Session
	for _, copies := range byName {
		if s := Merge(copies, w.dir); w.filter.Match(s) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *conntrackv1.Session) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, end
}

// upTo cuts a window at a place. The session at that place tells where when the node has it too, which is the rule; else
// the cut is searched by asking for shorter windows.
func (w *walk) upTo(ctx context.Context, x *window, after, end []byte, last *dpdv1.Session) ([]*dpdv1.Session, error) {
	for i, s := range x.list {
		if s.GetBirth() == last.GetBirth() && Name(s.GetOriginal()) == Name(last.GetOriginal()) {
			return x.list[:i+1], nil
		}
	}
	var within []*dpdv1.Session
	lo, hi := 0, len(x.list)
	begun := time.Now()
	for lo < hi {
		if w.lags[x.node.Name]+time.Since(begun) > lagBudget {
			return nil, errSlow // nobody else is asked meanwhile
		}
		mid := (lo + hi + 1) / 2
		list, at, err := w.lister.List(ctx, x.node, w.push, after, mid)
		switch {
		case err != nil:
			return nil, err
		case len(list) < mid:
			hi = len(list) // sessions went meanwhile
		case bytes.Compare(at, end) <= 0:
			lo, within = mid, list
		default:
			hi = mid - 1
		}
	}
	w.lags[x.node.Name] += time.Since(begun)
	return within, nil
}

func (w *walk) windows(ctx context.Context, after []byte, width int) []window {
	wins := make([]window, len(w.nodes))
	errs := make([]error, len(w.nodes))
	took := make([]time.Duration, len(w.nodes))
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range w.nodes {
		wg.Go(func() {
			n := &w.nodes[i]
			list, end, err := w.lister.List(ctx, n, w.push, after, width)
			if err == nil && (len(list) > width || (end != nil) != (len(list) == width)) {
				err = errBadList
			}
			wins[i], errs[i], took[i] = window{n, list, end}, err, time.Since(begun)
		})
	}
	wg.Wait()
	usual := slices.Sorted(slices.Values(took))[(len(took)-1)/2:]
	kept := wins[:0]
	for i, x := range wins {
		if w.lags[x.node.Name] += max(took[i]-usual[0], 0); errs[i] == nil && w.lags[x.node.Name] > lagBudget {
			errs[i] = errSlow
		}
		if errs[i] != nil {
			w.fail(x.node, errs[i])
			continue
		}
		kept = append(kept, x)
	}
	return kept
}

func (w *walk) fail(n *Node, err error) {
	w.failed[n.Name] = err
	name := n.Name
	nodes := make([]Node, 0, len(w.nodes)) // windows may still point into the old one
	for _, x := range w.nodes {
		if x.Name != name {
			nodes = append(nodes, x)
		}
	}
	w.nodes = nodes
}
