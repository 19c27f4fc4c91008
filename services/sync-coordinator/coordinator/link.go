package coordinator

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// callTimeout bounds one call to a data plane.
const callTimeout = 2 * time.Second

// firstContact is how long a node may take until its first status. Before that, being late says nothing of it: both
// processes have only just begun.
const firstContact = 3 * time.Second

// Times between two tries, from the first failure on.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 500 * time.Millisecond
)

// saidAfter is the number of failures in a row after which a node that does not take its view is a matter for people.
const saidAfter = 5

// reconnect keeps the pause between two connects as short as the one between two tries of a link.
var reconnect = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: retryMin, Multiplier: 2, Jitter: 0.2, MaxDelay: retryMax},
	MinConnectTimeout: callTimeout,
})

// desired is what a node is to have applied.
type desired struct {
	membership *dpdv1.Membership
	keys       *dpdv1.KeySet
	drain      bool
}

// link is the connection to one life of one node: one goroutine follows its status, another brings it what it lacks.
type link struct {
	t       *term
	id      uint32
	inc     uint64
	name    string
	address string
	conn    *grpc.ClientConn
	client  dataplane
	err     error // of dialling; such a link is down for good

	cancel context.CancelFunc
	wake   chan struct{} // capacity 1: desired changed, or the node was seen to lack something

	refused bool // its last status was refused; of the term's goroutine

	mu   sync.Mutex
	want desired // guarded by mu
}

func newLink(t *term, n *membership.Node) *link {
	l := &link{t: t, id: n.ID, inc: n.Inc, name: n.Name, address: n.ControlAddress, wake: make(chan struct{}, 1)}
	l.conn, l.err = t.c.deps.Dial(n.Name, n.ControlAddress, reconnect)
	if l.err == nil {
		l.client = dpdv1.NewDataplaneServiceClient(l.conn)
	}
	return l
}

func (l *link) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	if l.err != nil {
		l.t.c.log.Warn("node not dialled", "node", l.name, "address", l.address, "error", l.err)
		l.t.wg.Go(func() { l.control(ctx, false) })
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.watch(ctx) })
	both.Go(func() { l.apply(ctx) })
	l.t.wg.Go(func() {
		both.Wait()
		_ = l.conn.Close()
	})
}

// stop ends the link's goroutines; it does not wait for them.
func (l *link) stop() { l.cancel() }

func (l *link) set(d desired) {
	l.mu.Lock()
	l.want = d
	l.mu.Unlock()
	l.kick()
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) control(ctx context.Context, up bool) {
	l.t.post(ctx, func(t *term, now int64) {
		if t.links[l.id] == l {
			t.m.Control(now, l.id, l.inc, up)
		}
	})
}

// watch follows the node's status. A stream that breaks is begun again at once; only when that fails too is the control
// connection said to be lost. A process that died refuses the connection within a millisecond, so this costs no time.
func (l *link) watch(ctx context.Context) {
	wait, met, start := retryMin, false, time.Now()
	for ctx.Err() == nil {
		begun := time.Now()
		came := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		met = met || came
		if came {
			if wait = retryMin; time.Since(begun) > retryMin {
				continue
			}
		} else if met || time.Since(start) > firstContact {
			l.control(ctx, false)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMax)
	}
}

// follow reads one stream to its end and says whether anything came.
func (l *link) follow(ctx context.Context) (came bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A hung process keeps its sockets open: silence ends the stream too.
	quiet := time.AfterFunc(l.t.c.cfg.Answer, cancel)
	defer quiet.Stop()
	stream, err := l.client.WatchSync(ctx, &dpdv1.WatchSyncRequest{IntervalMs: uint32(l.t.c.cfg.StatusInterval.Milliseconds())})
	if err != nil {
		return false
	}
	var p pace
	for {
		if d := p.wait(time.Now()); d > 0 {
			quiet.Reset(l.t.c.cfg.Silence)
			select {
			case <-ctx.Done():
				return came
			case <-time.After(d):
			}
		}
		msg, err := stream.Recv()
		if err != nil {
			if came && !errors.Is(err, io.EOF) && ctx.Err() == nil {
				l.t.c.log.Debug("status stream broke", "node", l.name, "error", err)
			}
			return came
		}
		quiet.Reset(l.t.c.cfg.Silence)
		if !came {
			came = true
			l.control(ctx, true)
			l.kick() // what it lacks may have been lost with the stream before
		}
		s := msg.GetStatus()
		if l.lacks(s) {
			l.kick()
		}
		if !l.t.post(ctx, func(t *term, now int64) { t.report(now, l, s) }) {
			return came
		}
	}
}

// lacks says whether the node runs less than it is to.
func (l *link) lacks(s *dpdv1.SyncStatus) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.GetState() == dpdv1.NodeState_NODE_STATE_FENCED {
		return false // its life is over, and it knows
	}
	return s.GetView() < l.want.membership.GetView() || s.GetKeyGeneration() < l.want.keys.GetGeneration()
}

// apply brings the node what is desired, newest first, and again while it fails.
func (l *link) apply(ctx context.Context) {
	var drained bool
	wait, failures := retryMin, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		want := l.want
		l.mu.Unlock()
		err := l.bring(ctx, want, &drained)
		if err == nil {
			wait, failures = retryMin, 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		// The first view often comes before the node has heard the answer to its Join.
		if failures++; failures == saidAfter && status.Code(err) != codes.Unavailable {
			l.t.c.log.Warn("node did not take the view", "node", l.name, "view", want.membership.GetView(), "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMax)
		l.kick()
	}
}

// bring makes the calls that are due. The view goes first: its news are the urgent ones, and a data plane that meets a
// key before the member that uses it, or after, loses nothing.
func (l *link) bring(ctx context.Context, want desired, drained *bool) error {
	call := func(fn func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return fn(ctx)
	}
	if err := call(func(ctx context.Context) error {
		_, err := l.client.ApplyMembership(ctx, &dpdv1.ApplyMembershipRequest{Membership: want.membership})
		return err
	}); err != nil {
		return err
	}
	if err := call(func(ctx context.Context) error {
		_, err := l.client.ApplyKeys(ctx, &dpdv1.ApplyKeysRequest{Keys: want.keys})
		return err
	}); err != nil {
		return err
	}
	if want.drain && !*drained {
		if err := call(func(ctx context.Context) error {
			_, err := l.client.Drain(ctx, &dpdv1.DrainRequest{})
			return err
		}); err != nil {
			return err
		}
		*drained = true
	}
	return nil
}
