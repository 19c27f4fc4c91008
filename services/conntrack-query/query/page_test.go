package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// shelf is a Lister over plain lists, in the order that data planes use: a hash of the tuple, then birth.
type shelf struct {
	byNode map[string][]*dpdv1.Session
	dead   map[string]bool
	once   sync.Once
	sorted map[string][]shelved
}

func place(s *dpdv1.Session) []byte {
	h := fnv.New64a()
	h.Write([]byte(Name(s.GetOriginal())))
	return binary.BigEndian.AppendUint64(h.Sum(nil), s.GetBirth())
}

func (f *shelf) List(_ context.Context, n *Node, _ *dpdv1.SessionFilter, after []byte, limit int) ([]*dpdv1.Session, []byte, error) {
	if f.dead[n.Name] {
		return nil, nil, errors.New("connection refused")
	}
	f.once.Do(f.sort)
	var out []*dpdv1.Session
	for _, x := range f.sorted[n.Name] {
		if bytes.Compare(x.at, after) > 0 {
			if out = append(out, x.s); len(out) == limit {
				return out, x.at, nil
			}
		}
	}
	return out, nil, nil
}

type shelved struct {
	at []byte
	s  *dpdv1.Session
}

func (f *shelf) sort() {
	f.sorted = map[string][]shelved{}
	for name, list := range f.byNode {
		for _, s := range list {
			f.sorted[name] = append(f.sorted[name], shelved{place(s), s})
		}
		slices.SortFunc(f.sorted[name], func(a, b shelved) int { return bytes.Compare(a.at, b.at) })
	}
}

func session(port int) *dpdv1.Session {
	return &dpdv1.Session{
		Original: &dpdv1.Tuple{
			Protocol: dpdv1.Protocol_PROTOCOL_TCP, Source: &dpdv1.Endpoint{Address: "192.0.2.1", Port: uint32(port)},
			Destination: &dpdv1.Endpoint{Address: "198.51.100.10", Port: 80},
		},
		Reply: &dpdv1.Tuple{
			Protocol: dpdv1.Protocol_PROTOCOL_TCP, Source: &dpdv1.Endpoint{Address: "10.0.0.9", Port: 8080},
			Destination: &dpdv1.Endpoint{Address: "10.0.7.1", Port: uint32(port)},
		},
		Birth: 1000 << 16, Owner: &dpdv1.NodeLife{Id: 1, Incarnation: 10}, Term: 1, Version: 1,
		State: dpdv1.SessionState_SESSION_STATE_TCP_ESTABLISHED, TimeoutSeconds: 3600,
	}
}

func cluster(n int) *Directory {
	d := &Directory{Services: map[uint32]string{}, Servers: map[uint32]string{}}
	for i := range n {
		d.Nodes = append(d.Nodes, Node{ID: uint32(i + 1), Inc: uint64(10 * (i + 1)), Name: fmt.Sprintf("lb-%c", 'a'+i)})
	}
	return d
}

func forever() bool { return true }

// collect reads all pages and fails when one is too long or a session comes twice.
func collect(t interface {
	Fatalf(string, ...any)
}, w *walk, size int) map[string]*conntrackv1.Session {
	got := map[string]*conntrackv1.Session{}
	var after []byte
	for pages := 0; ; pages++ {
		list, next := w.page(context.Background(), after, size, forever)
		if len(list) > size {
			t.Fatalf("page of %d, at most %d were asked for", len(list), size)
		}
		for _, s := range list {
			if got[s.GetName()] != nil {
				t.Fatalf("%s came twice", s.GetName())
			}
			got[s.GetName()] = s
		}
		if next == nil {
			return got
		}
		if bytes.Compare(next, after) <= 0 || pages > 10_000 {
			t.Fatalf("no progress: %x after %x", next, after)
		}
		after = next
	}
}

func TestPagesHoldEverySessionOnceWhateverTheNodesHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		nodes := rapid.IntRange(1, 5).Draw(rt, "nodes")
		d := cluster(nodes)
		f := &shelf{byNode: map[string][]*dpdv1.Session{}}
		want := map[string][]string{}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		// Mostly replicated everywhere, with holes; or hardly replicated at all.
		hole := rapid.SampledFrom([]int{0, 1, 5, 9}).Draw(rt, "tenths missing")
		for i := range rapid.IntRange(0, 30).Draw(rt, "sessions") {
			for _, n := range d.Nodes {
				if r.IntN(10) < hole {
					continue
				}
				s := session(1000 + i)
				f.byNode[n.Name] = append(f.byNode[n.Name], s)
				want[Name(s.GetOriginal())] = append(want[Name(s.GetOriginal())], "nodes/"+n.Name)
			}
		}
		got := collect(rt, newWalk(f, d, &Filter{}), rapid.IntRange(1, 40).Draw(rt, "size"))
		if len(got) != len(want) {
			rt.Fatalf("%d sessions, want %d", len(got), len(want))
		}
		for name, holders := range want {
			if !slices.Equal(got[name].GetReplicas(), holders) {
				rt.Fatalf("%s is held by %v, shown with %v", name, holders, got[name].GetReplicas())
			}
		}
	})
}

func TestEqualTablesCostOneCallANodeAndPage(t *testing.T) {
	f := &shelf{byNode: map[string][]*dpdv1.Session{}}
	d := cluster(3)
	for i := range 100 {
		for _, n := range d.Nodes {
			f.byNode[n.Name] = append(f.byNode[n.Name], session(1000+i))
		}
	}
	counted := &counting{shelf: f}
	list, next := newWalk(counted, d, &Filter{}).page(t.Context(), nil, 50, forever)
	if len(list) != 50 || next == nil || counted.calls.Load() != 3 {
		t.Fatalf("%d sessions by %d calls", len(list), counted.calls.Load())
	}
}

type counting struct {
	*shelf
	calls atomic.Int32
}

func (c *counting) List(ctx context.Context, n *Node, q *dpdv1.SessionFilter, after []byte, limit int) ([]*dpdv1.Session, []byte, error) {
	c.calls.Add(1)
	return c.shelf.List(ctx, n, q, after, limit)
}

func TestFilteredPagesAreFilledFromFurtherOn(t *testing.T) {
	f := &shelf{byNode: map[string][]*dpdv1.Session{}}
	d := cluster(2)
	for i := range 500 {
		s := session(1000 + i)
		if i%50 == 0 {
			s.State = dpdv1.SessionState_SESSION_STATE_TCP_FIN_WAIT
		}
		f.byNode["lb-a"] = append(f.byNode["lb-a"], s)
		old := session(1000 + i) // the replica is behind
		f.byNode["lb-b"] = append(f.byNode["lb-b"], old)
	}
	filter, err := ParseFilter("state = TCP_FIN_WAIT")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := newWalk(f, d, filter).page(t.Context(), nil, 4, forever)
	if len(list) != 4 {
		t.Fatalf("a page of %d", len(list))
	}
	if got := collect(t, newWalk(f, d, filter), 3); len(got) != 10 {
		t.Fatalf("%d match, want 10", len(got))
	}
	short, next := newWalk(f, d, filter).page(t.Context(), nil, 4, func() bool { return false })
	if len(short) >= 4 || next == nil {
		t.Fatalf("without time for more: %d, %x", len(short), next)
	}
}

func TestADeadNodeIsNamedAndLeftOut(t *testing.T) {
	d := cluster(3)
	f := &shelf{byNode: map[string][]*dpdv1.Session{}, dead: map[string]bool{"lb-b": true}}
	for i := range 30 {
		f.byNode["lb-a"] = append(f.byNode["lb-a"], session(1000+i))
		f.byNode["lb-c"] = append(f.byNode["lb-c"], session(1010+i))
	}
	w := newWalk(f, d, &Filter{})
	if got := collect(t, w, 7); len(got) != 40 || len(w.failed) != 1 || w.failed["lb-b"] == nil {
		t.Fatalf("%d sessions, failed %v", len(got), w.failed)
	}
	f.dead["lb-a"], f.dead["lb-c"] = true, true
	w = newWalk(f, d, &Filter{})
	if list, next := w.page(t.Context(), nil, 7, forever); len(list) != 0 || next != nil || len(w.failed) != 3 {
		t.Fatalf("all dead: %v %x %v", list, next, w.failed)
	}
}

type liar struct{}

func (l *liar) List(context.Context, *Node, *dpdv1.SessionFilter, []byte, int) ([]*dpdv1.Session, []byte, error) {
	return nil, []byte("place"), nil
}

func TestANodeThatAnswersNonsenseIsLeftOut(t *testing.T) {
	w := newWalk(&liar{}, cluster(1), &Filter{})
	if list, next := w.page(t.Context(), nil, 5, forever); len(list) != 0 || next != nil || !errors.Is(w.failed["lb-a"], errBadList) {
		t.Fatalf("%v %x %v", list, next, w.failed)
	}
}

func TestMergeShowsTheOwnersRecord(t *testing.T) {
	d := cluster(3)
	copyOf := func(node int, edit func(*dpdv1.Session)) Copy {
		s := session(1000)
		edit(s)
		return Copy{&d.Nodes[node], s}
	}
	fin := func(s *dpdv1.Session) { s.State = dpdv1.SessionState_SESSION_STATE_TCP_FIN_WAIT }
	for _, c := range []struct {
		name   string
		copies []Copy
		fin    bool
		owner  string
	}{
		{"one copy", []Copy{copyOf(1, func(*dpdv1.Session) {})}, false, "nodes/lb-a"},
		{"the owner's against a replica's", []Copy{copyOf(1, func(*dpdv1.Session) {}), copyOf(0, fin)}, true, "nodes/lb-a"},
		{"the owner's although a replica claims a higher version", []Copy{copyOf(0, fin), copyOf(1, func(s *dpdv1.Session) { s.Version = 9 })}, true, "nodes/lb-a"},
		{"the higher term when no owner answered", []Copy{copyOf(1, func(*dpdv1.Session) {}), copyOf(2, func(s *dpdv1.Session) { fin(s); s.Term = 2 })}, true, "nodes/lb-a"},
		{"the higher birth first", []Copy{copyOf(0, func(*dpdv1.Session) {}), copyOf(2, func(s *dpdv1.Session) { fin(s); s.Birth++ })}, true, "nodes/lb-a"},
		{"an owner of a former life", []Copy{copyOf(1, func(s *dpdv1.Session) { s.Owner = &dpdv1.NodeLife{Id: 1, Incarnation: 9} })}, false, unknownOwner},
		{"an owner out of the view", []Copy{copyOf(1, func(s *dpdv1.Session) { s.Owner = &dpdv1.NodeLife{Id: 7, Incarnation: 9} })}, false, unknownOwner},
	} {
		for range 2 { // in either order
			got := Merge(c.copies, d)
			if isFin := got.GetState() == dpdv1.SessionState_SESSION_STATE_TCP_FIN_WAIT; isFin != c.fin || got.GetOwner() != c.owner {
				t.Errorf("%s: %v of %s", c.name, got.GetState(), got.GetOwner())
			}
			slices.Reverse(c.copies)
		}
	}
	a, b := copyOf(0, func(s *dpdv1.Session) { s.IdleMs = 900 }), copyOf(1, func(s *dpdv1.Session) { s.IdleMs = 100 })
	if got := Merge([]Copy{a, b}, d); got.GetIdle().AsDuration().Milliseconds() != 100 || cmp.Compare(got.GetCreateTime().AsTime().UnixMilli(), 1000) != 0 {
		t.Errorf("idle %v, created %v", got.GetIdle(), got.GetCreateTime())
	}
}
