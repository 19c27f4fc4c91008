package control

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"google.golang.org/grpc"
)

const (
	chunkMax  = 1000      // sessions of one message of a listing
	pageMax   = 20_000    // sessions that one pass over the tables keeps
	limitMax  = 1_000_000 // sessions of one listing
	cursorLen = 16        // order, birth
)

// place is where a session stands in a listing: by cluster hash, then birth. Every node has the same order.
type place struct{ order, birth uint64 }

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.order, o.order), cmp.Compare(p.birth, o.birth))
}

func (p place) cursor() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.order)
	return binary.BigEndian.AppendUint64(b, p.birth)
}

type placed struct {
	at place
	s  flow.Session
	w  int
}

// least keeps the n least sessions after a place: a heap with the greatest on top.
type least struct {
	list []placed
	n    int
}

func (l *least) Len() int           { return len(l.list) }
func (l *least) Less(i, j int) bool { return l.list[i].at.compare(l.list[j].at) > 0 }
func (l *least) Swap(i, j int)      { l.list[i], l.list[j] = l.list[j], l.list[i] }
func (l *least) Push(x any)         { l.list = append(l.list, x.(placed)) }
func (l *least) Pop() any {
	x := l.list[len(l.list)-1]
	l.list = l.list[:len(l.list)-1]
	return x
}

func (l *least) add(p placed) {
	if len(l.list) < l.n {
		heap.Push(l, p)
	} else if p.at.compare(l.list[0].at) < 0 {
		l.list[0] = p
		heap.Fix(l, 0)
	}
}

// page makes one pass over the tables and returns the n least sessions after a place, in order.
func (s *API) page(ctx context.Context, f *filter, after *place, n int) ([]placed, error) {
	l := &least{n: n}
	err := s.plane.Sessions(ctx, f.match, func(x *flow.Session, worker int) bool {
		at := place{s.plane.Order(x), uint64(x.Birth)}
		if after == nil || at.compare(*after) > 0 {
			l.add(placed{at, *x, worker})
		}
		return true
	})
	slices.SortFunc(l.list, func(a, b placed) int { return a.at.compare(b.at) })
	return l.list, err
}

// ListSessions streams matching sessions in cluster-hash order. Each pass over the tables keeps at most pageMax of them,
// so a dump of everything takes several passes and little memory.
func (s *API) ListSessions(q *dpdv1.ListSessionsRequest, out grpc.ServerStreamingServer[dpdv1.ListSessionsResponse]) error {
	f, err := filterOf("filter", q.GetFilter())
	if err != nil {
		return err
	}
	var v violations
	if q.GetLimit() > limitMax {
		v.add("limit", "%d is outside 0..%d", q.GetLimit(), limitMax)
	}
	var after *place
	switch c := q.GetCursor(); len(c) {
	case 0:
	case cursorLen:
		after = &place{binary.BigEndian.Uint64(c), binary.BigEndian.Uint64(c[8:])}
	default:
		v.add("cursor", "has %d bytes, want %d as given by an earlier answer", len(c), cursorLen)
	}
	if err := v.err(); err != nil {
		return err
	}
	left := int(q.GetLimit())
	if left == 0 {
		left = 1 << 62
	}
	for {
		n := min(left, pageMax)
		list, err := s.page(out.Context(), f, after, n)
		if err != nil {
			return fault(err)
		}
		whole := len(list) < n // nothing follows
		left -= len(list)
		if len(list) == 0 {
			return out.Send(&dpdv1.ListSessionsResponse{})
		}
		for chunk := range slices.Chunk(list, chunkMax) {
			r := &dpdv1.ListSessionsResponse{}
			for i := range chunk {
				r.Sessions = append(r.Sessions, apiform.Session(&chunk[i].s, chunk[i].w))
			}
			last := chunk[len(chunk)-1].at
			if after = &last; !whole || last.compare(list[len(list)-1].at) != 0 {
				r.Cursor = last.cursor()
			}
			if err := out.Send(r); err != nil {
				return err
			}
		}
		if whole || left == 0 {
			return nil
		}
	}
}

// GetSession finds one session by a tuple of either direction or of its reverse.
func (s *API) GetSession(ctx context.Context, q *dpdv1.GetSessionRequest) (*dpdv1.GetSessionResponse, error) {
	k, err := keyOf("tuple", q.GetTuple())
	if err != nil {
		return nil, err
	}
	x, w, err := s.plane.Session(ctx, k)
	if err != nil {
		if x, w, err = s.plane.Session(ctx, k.Reverse()); err != nil {
			return nil, fault(err)
		}
	}
	return &dpdv1.GetSessionResponse{Session: apiform.Session(&x, w)}, nil
}

// DeleteSessions closes what this node owns of the matching sessions.
func (s *API) DeleteSessions(ctx context.Context, q *dpdv1.DeleteSessionsRequest) (*dpdv1.DeleteSessionsResponse, error) {
	f, err := filterOf("filter", q.GetFilter())
	if err != nil {
		return nil, err
	}
	if f.empty {
		var v violations
		v.add("filter", "selects every session; name at least one field")
		return nil, v.err()
	}
	f.tombs = false
	if !q.GetValidateOnly() {
		n, err := s.plane.Close(ctx, f.match)
		return &dpdv1.DeleteSessionsResponse{Count: n}, fault(err)
	}
	self := s.plane.Status().Self
	var n uint64
	err = s.plane.Sessions(ctx, func(x *flow.Session) bool { return x.Owner == self && f.match(x) },
		func(*flow.Session, int) bool { n++; return true })
	return &dpdv1.DeleteSessionsResponse{Count: n}, fault(err)
}
