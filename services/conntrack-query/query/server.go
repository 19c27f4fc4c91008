// Package query gives one answer from many data planes: it asks all of them, merges what they hold, and names those that
// did not answer.
package query

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/page"
)

// Deps are what the service needs from outside.
type Deps struct {
	// Dial makes a client connection to a node's data plane that connects when it is used.
	Dial func(node, address string) (*grpc.ClientConn, error)
	// Coordinator and Scheduler are connections to those services.
	Coordinator grpc.ClientConnInterface
	Scheduler   grpc.ClientConnInterface
	Log         *slog.Logger
	// NodeTimeout bounds one call to one data plane; 0 means 2 s.
	NodeTimeout time.Duration
}

// pageBudget is how long a page with few matches is searched for before it goes out short.
const pageBudget = 2 * time.Second

// maxCounted bounds the sessions that one count may look at, over all nodes.
const maxCounted = 8_000_000

// Service is the SessionService. It keeps no state but connections.
type Service struct {
	conntrackv1.UnimplementedSessionServiceServer

	deps    Deps
	book    *book
	conns   *pool
	closers []io.Closer // connections that Build made, for the end of Run
}

// New makes the service; it knows no node before Run.
func New(d Deps) (*Service, error) {
	if d.Dial == nil || d.Coordinator == nil || d.Scheduler == nil || d.Log == nil {
		return nil, errors.New("query: Dial, Coordinator, Scheduler and Log are needed")
	}
	if d.NodeTimeout == 0 {
		d.NodeTimeout = 2 * time.Second
	}
	return &Service{
		deps: d,
		book: &book{
			log:      d.Log,
			coord:    syncv1.NewCoordinatorServiceClient(d.Coordinator),
			services: schedulerv1.NewVirtualServiceServiceClient(d.Scheduler),
			servers:  schedulerv1.NewRealServerServiceClient(d.Scheduler),
		},
		conns: &pool{dial: d.Dial, conns: map[string]pooled{}},
	}, nil
}

// Register adds the service to a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { conntrackv1.RegisterSessionServiceServer(r, s) }

// Run keeps the directory of nodes and names until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.book.run(ctx)
	s.conns.close()
	for _, c := range s.closers {
		_ = c.Close()
	}
	return nil
}

// ListSessions lists sessions of all nodes, each once.
func (s *Service) ListSessions(ctx context.Context, r *conntrackv1.ListSessionsRequest) (*conntrackv1.ListSessionsResponse, error) {
	f, err := ParseFilter(r.GetFilter())
	if err != nil {
		return nil, apierr.New(apierr.BadFilter, "filter: %v", err)
	}
	scope := "sessions\x00" + r.GetFilter()
	size, at, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	after, err := base64.RawStdEncoding.DecodeString(at)
	if err != nil {
		return nil, apierr.New(apierr.BadPageToken, "page_token is not from this method")
	}
	dir, err := s.book.directory(f.Named())
	if err != nil {
		return nil, err
	}
	w := newWalk(s, dir, f)
	deadline := time.Now().Add(pageBudget)
	list, next := w.page(ctx, after, size, func() bool { return ctx.Err() == nil && time.Now().Before(deadline) })
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	out := &conntrackv1.ListSessionsResponse{Sessions: list, NodeErrors: nodeErrors(w.failed)}
	if next != nil {
		out.NextPageToken = page.Token(scope, base64.RawStdEncoding.EncodeToString(next))
	}
	return out, nil
}

// GetSession reads one session.
func (s *Service) GetSession(ctx context.Context, r *conntrackv1.GetSessionRequest) (*conntrackv1.Session, error) {
	tuple, err := ParseName(r.GetName())
	if err != nil {
		var v apierr.Violations
		v.Add("name", "%v", err)
		return nil, v.Err()
	}
	d, err := s.book.directory(false)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var copies []Copy
	failed := s.each(ctx, d.Nodes, func(ctx context.Context, n *Node, c dpdv1.DataplaneServiceClient) error {
		res, err := c.GetSession(ctx, &dpdv1.GetSessionRequest{Tuple: tuple})
		if status.Code(err) == codes.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		copies = append(copies, Copy{n, res.GetSession()})
		return nil
	})
	if len(copies) > 0 {
		return Merge(copies, d), nil
	}
	if err := unreachable(failed, d); err != nil {
		return nil, err
	}
	return nil, apierr.New(apierr.SessionNotFound, "no session has the tuple of %s", r.GetName())
}

// CountSessions counts sessions in groups.
func (s *Service) CountSessions(ctx context.Context, r *conntrackv1.CountSessionsRequest) (*conntrackv1.CountSessionsResponse, error) {
	f, err := ParseFilter(r.GetFilter())
	if err != nil {
		return nil, apierr.New(apierr.BadFilter, "filter: %v", err)
	}
	key, ok := groupKeys[r.GetGroupBy()]
	if !ok {
		var v apierr.Violations
		v.Add("group_by", "%d is not known", r.GetGroupBy())
		return nil, v.Err()
	}
	dir, err := s.book.directory(f.Named() || namedGroup(r.GetGroupBy()))
	if err != nil {
		return nil, err
	}
	w := newWalk(s, dir, f)
	groups := map[string]uint64{}
	out := &conntrackv1.CountSessionsResponse{}
	for after, done := []byte(nil), false; !done; {
		list, end := w.step(ctx, after, maxWindow)
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		for _, x := range list {
			groups[key(x)]++
		}
		out.Total += uint64(len(list))
		if out.Total > maxCounted {
			return nil, apierr.New(apierr.LimitReached, "more than %d sessions: narrow the filter", maxCounted)
		}
		after, done = end, end == nil
	}
	for k, n := range groups {
		out.Groups = append(out.Groups, &conntrackv1.SessionCount{Key: k, Count: n})
	}
	slices.SortFunc(out.Groups, func(a, b *conntrackv1.SessionCount) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), strings.Compare(a.GetKey(), b.GetKey()))
	})
	out.NodeErrors = nodeErrors(w.failed)
	return out, nil
}

var groupKeys = map[conntrackv1.GroupBy]func(*conntrackv1.Session) string{
	conntrackv1.GroupBy_GROUP_BY_UNSPECIFIED: func(*conntrackv1.Session) string { return "" },
	conntrackv1.GroupBy_GROUP_BY_OWNER:       (*conntrackv1.Session).GetOwner,
	conntrackv1.GroupBy_GROUP_BY_SERVICE:     (*conntrackv1.Session).GetVirtualService,
	conntrackv1.GroupBy_GROUP_BY_SERVER:      (*conntrackv1.Session).GetRealServer,
	conntrackv1.GroupBy_GROUP_BY_STATE: func(s *conntrackv1.Session) string {
		return strings.TrimPrefix(s.GetState().String(), "SESSION_STATE_")
	},
	conntrackv1.GroupBy_GROUP_BY_PROTOCOL: func(s *conntrackv1.Session) string {
		return strings.TrimPrefix(s.GetProtocol().String(), "PROTOCOL_")
	},
}

// namedGroup says whether groups are told apart by names of the scheduler.
func namedGroup(g conntrackv1.GroupBy) bool {
	return g == conntrackv1.GroupBy_GROUP_BY_SERVICE || g == conntrackv1.GroupBy_GROUP_BY_SERVER
}

// DeleteSessions has every owner close what matches there.
func (s *Service) DeleteSessions(ctx context.Context, r *conntrackv1.DeleteSessionsRequest) (*conntrackv1.DeleteSessionsResponse, error) {
	f, err := ParseFilter(r.GetFilter())
	if err != nil {
		return nil, apierr.New(apierr.BadFilter, "filter: %v", err)
	}
	if f.Empty() {
		return nil, apierr.New(apierr.EmptyFilter, "filter: names no field")
	}
	d, err := s.book.directory(f.Named())
	if err != nil {
		return nil, err
	}
	exact, err := f.Exact(d)
	if err != nil {
		return nil, apierr.New(apierr.BadFilter, "filter: %v", err)
	}
	var mu sync.Mutex
	out := &conntrackv1.DeleteSessionsResponse{}
	failed := s.each(ctx, d.Nodes, func(ctx context.Context, _ *Node, c dpdv1.DataplaneServiceClient) error {
		res, err := c.DeleteSessions(ctx, &dpdv1.DeleteSessionsRequest{Filter: exact, ValidateOnly: r.GetValidateOnly()})
		mu.Lock()
		defer mu.Unlock()
		out.Count += res.GetCount()
		return err
	})
	if err := unreachable(failed, d); err != nil {
		return nil, err
	}
	out.NodeErrors = nodeErrors(failed)
	return out, nil
}

// unreachable refuses when there are nodes and all of them failed.
func unreachable(failed map[string]error, d *Directory) error {
	if len(failed) == 0 || len(failed) < len(d.Nodes) {
		return nil
	}
	return apierr.New(apierr.NodesUnreachable, "none of %d data planes answered", len(d.Nodes))
}

// each calls all nodes at once, each within its time, and returns who failed.
func (s *Service) each(ctx context.Context, nodes []Node, fn func(context.Context, *Node, dpdv1.DataplaneServiceClient) error) map[string]error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i := range nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.deps.NodeTimeout)
			defer cancel()
			c, err := s.conns.client(&nodes[i])
			if err == nil {
				err = fn(ctx, &nodes[i], c)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	failed := map[string]error{}
	for i, err := range errs {
		if err != nil {
			failed[nodes[i].Name] = err
		}
	}
	return failed
}

// List reads a window of one node.
func (s *Service) List(ctx context.Context, n *Node, f *dpdv1.SessionFilter, after []byte, limit int) ([]*dpdv1.Session, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deps.NodeTimeout)
	defer cancel()
	c, err := s.conns.client(n)
	if err != nil {
		return nil, nil, err
	}
	stream, err := c.ListSessions(ctx, &dpdv1.ListSessionsRequest{Filter: f, Limit: uint32(limit), Cursor: after})
	if err != nil {
		return nil, nil, err
	}
	var list []*dpdv1.Session
	var end []byte
	for {
		chunk, err := stream.Recv()
		if err != nil {
			if isEOF(err) {
				break
			}
			return nil, nil, err
		}
		list = append(list, chunk.GetSessions()...)
		if len(list) > limit {
			return nil, nil, errBadList
		}
		end = chunk.GetCursor()
	}
	if len(list) < limit {
		end = nil
	}
	return list, end, nil
}

func nodeErrors(failed map[string]error) []*conntrackv1.NodeError {
	var out []*conntrackv1.NodeError
	for name, err := range failed {
		code := status.Code(err)
		if errors.Is(err, context.DeadlineExceeded) {
			code = codes.DeadlineExceeded
		}
		out = append(out, &conntrackv1.NodeError{Node: "nodes/" + name, Code: codeName(code), Message: status.Convert(err).Message()})
	}
	slices.SortFunc(out, func(a, b *conntrackv1.NodeError) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out
}
