package coordinator

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// inboxDepth is the number of events that may wait for the term's goroutine before their senders wait too.
const inboxDepth = 256

// longAgo is when a key counts as made that is to be changed, unix milliseconds; 0 would mean not known.
const longAgo = 1

// term is one time of leading. Its fields belong to its goroutine, except where said.
type term struct {
	c      *Coordinator
	store  *store
	m      *membership.Machine
	stored membership.State // what the bucket holds
	links  map[uint32]*link
	status map[uint32]*dpdv1.SyncStatus // last of each node's present life; values are never changed
	ops    []operation
	opsNew bool
	token  uint64
	relays membership.Relays // as the metrics have them

	inbox chan event    // any goroutine may send
	ended chan struct{} // closed when the goroutine is gone
	wg    sync.WaitGroup
}

// event is something to apply, and where to say that it is stored; done may be nil.
type event struct {
	apply func(t *term, now int64) error
	done  chan<- error
}

// newTerm reads what is stored and asks the members which view they run, so that this term begins above all of them.
func newTerm(ctx context.Context, c *Coordinator, st *store) (*term, error) {
	stored, how, err := st.load(ctx)
	if err != nil {
		return nil, err
	}
	if how == laidClear {
		// Sealing it now takes it out of no backup and no block of the store that is not overwritten yet, so the cluster key
		// counts as old and is changed at once, in the three steps that lose nothing.
		stored.Keys.Since = longAgo
	}
	ops, err := st.loadOperations(ctx)
	if err != nil {
		return nil, err
	}
	var keys membership.Secrets
	for _, b := range [][]byte{keys.Cluster[:], keys.RSS[:], keys.Digest[:]} {
		_, _ = rand.Read(b) // never fails
	}
	t := &term{
		c: c, store: st, ops: ops,
		links:  map[uint32]*link{},
		status: map[uint32]*dpdv1.SyncStatus{},
		inbox:  make(chan event, inboxDepth),
		ended:  make(chan struct{}),
	}
	t.m = membership.New(c.cfg.Rules, stored, c.highestView(ctx, &stored), keys)
	// A term always begins with a write, so whatever lay otherwise is sealed under the first key from here on.
	if err := t.commit(ctx); err != nil {
		return nil, err
	}
	switch how {
	case laidClear:
		c.log.Warn("keys lay in clear in the store; they are sealed now", "key", c.deps.Keys.ID(), "cluster_key_is_changed", c.cfg.KeyLifetime > 0)
	case laidStale:
		c.log.Info("keys are sealed under the first key of the file now; the second is not needed any more", "key", c.deps.Keys.ID())
	}
	return t, nil
}

// highestView asks every node of the view at once and waits no longer than one answer may take.
func (c *Coordinator) highestView(ctx context.Context, s *membership.State) uint64 {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Answer)
	defer cancel()
	var wg sync.WaitGroup
	views := make([]uint64, len(s.Nodes))
	for i := range s.Nodes {
		n := s.Nodes[i]
		if !n.Member() {
			continue
		}
		wg.Go(func() {
			conn, err := c.deps.Dial(n.Name, n.ControlAddress)
			if err != nil {
				return
			}
			defer conn.Close()
			if info, err := dpdv1.NewDataplaneServiceClient(conn).GetInfo(ctx, &dpdv1.GetInfoRequest{}); err == nil {
				views[i] = info.GetSync().GetView()
			}
		})
	}
	wg.Wait()
	return slices.Max(append(views, 0))
}

// run applies events until ctx ends or a write fails.
func (t *term) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		close(t.ended)
		for _, l := range t.links {
			l.stop()
		}
		t.wg.Wait()
	}()
	t.wg.Go(func() { t.readPools(ctx) })
	tick := time.NewTicker(t.c.cfg.Tick)
	defer tick.Stop()
	for {
		var waiting []event
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			t.m.Tick(t.c.clock())
			t.renewKeys()
		case e := <-t.inbox:
			waiting = append(waiting, e)
			// Whatever else is there shares the one write.
			for len(waiting) < inboxDepth && len(t.inbox) > 0 {
				waiting = append(waiting, <-t.inbox)
			}
		}
		results := make([]error, len(waiting))
		for i, e := range waiting {
			results[i] = e.apply(t, t.c.clock())
		}
		t.turnOperations()
		err := t.commit(ctx)
		for i, e := range waiting {
			if e.done == nil {
				continue
			}
			if results[i] == nil && err != nil {
				results[i] = fmt.Errorf("%w: %w", errStore, err)
			}
			e.done <- results[i]
		}
		if err != nil {
			return err
		}
	}
}

// renewKeys begins a change of the cluster key when it is old.
func (t *term) renewKeys() {
	now, lifetime := t.c.clock(), t.c.cfg.KeyLifetime
	if lifetime < 0 || !t.m.KeysDue(now, lifetime.Milliseconds()) {
		return
	}
	var secret [membership.SecretLen]byte
	_, _ = rand.Read(secret[:]) // never fails
	if err := t.m.RotateKeys(now, secret); err != nil {
		t.c.log.Warn("cluster key not changed", "error", err)
	}
}

// commit stores what the machine changed, then lets the world know.
func (t *term) commit(ctx context.Context) error {
	o := t.m.Take()
	if o.Changed {
		if err := t.store.save(ctx, &o.State); err != nil {
			return err
		}
		t.stored = o.State
		t.c.metrics.view.Set(float64(t.stored.View))
		t.c.metrics.members.Set(float64(t.stored.Members()))
	}
	if t.opsNew {
		if err := t.store.saveOperations(ctx, t.ops); err != nil {
			return err
		}
		t.opsNew = false
	}
	if o.Changed || len(o.Events) > 0 {
		t.announce(ctx, o.Events, o.Bulk)
	} else if len(o.Bulk) > 0 {
		t.orderBulk(ctx, o.Bulk)
	}
	return nil
}

func (t *term) announce(ctx context.Context, events []membership.Event, bulk []membership.BulkOrder) {
	t.syncLinks(ctx)
	t.orderBulk(ctx, bulk)
	t.publish(events)
	t.token++
	t.c.hub.Publish(t.watchMessage(dpdv1.WatchKind_WATCH_KIND_UPDATE))
}

// do applies fn on the term's goroutine and returns when what it changed is stored.
func (t *term) do(ctx context.Context, fn func(t *term, now int64) error) error {
	done := make(chan error, 1)
	select {
	case t.inbox <- event{apply: fn, done: done}:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.ended:
		return apierr.New(apierr.NotLeader, "this replica stopped leading")
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.ended:
		// The write may stand all the same: the caller asks again.
		return apierr.New(apierr.NotLeader, "this replica stopped leading")
	}
}

// post applies fn on the term's goroutine some time; false when the term is over.
func (t *term) post(ctx context.Context, fn func(t *term, now int64)) bool {
	select {
	case t.inbox <- event{apply: func(t *term, now int64) error { fn(t, now); return nil }}:
		return true
	case <-ctx.Done():
	case <-t.ended:
	}
	return false
}

// syncLinks has one link to every life of the view and tells each what it is to apply. A removed life that is alive
// somewhere learns that it is out from its peers, which answer it FENCED.
func (t *term) syncLinks(ctx context.Context) {
	wanted := map[uint32]bool{}
	for i := range t.stored.Nodes {
		n := &t.stored.Nodes[i]
		// One that was put aside may have no link to any peer: nobody else tells it that its life is over.
		if !n.Member() && n.Cause != membership.CauseAside {
			continue
		}
		wanted[n.ID] = true
		l := t.links[n.ID]
		if l != nil && (l.inc != n.Inc || l.address != n.ControlAddress) {
			l.stop()
			l = nil
			delete(t.status, n.ID)
		}
		if l == nil {
			l = newLink(t, n)
			t.links[n.ID] = l
			l.start(ctx)
		}
		l.set(desired{
			membership: membershipFor(&t.stored, n),
			keys:       keysProto(&t.stored.Keys),
			drain:      n.Phase == membership.Draining,
		})
	}
	for id, l := range maps.Clone(t.links) {
		if !wanted[id] {
			l.stop()
			delete(t.links, id)
			delete(t.status, id)
		}
	}
}

func (t *term) orderBulk(ctx context.Context, orders []membership.BulkOrder) {
	for _, o := range orders {
		l := t.links[o.From]
		if l == nil || l.err != nil || l.inc != o.FromInc {
			continue
		}
		t.wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			_, err := l.client.StartBulkSync(ctx, &dpdv1.StartBulkSyncRequest{
				Direction: &dpdv1.StartBulkSyncRequest_To{To: life(o.To, o.ToInc)},
			})
			if err != nil && ctx.Err() == nil {
				t.c.log.Warn("bulk sync not started", "from", o.From, "to", o.To, "error", err)
			}
		})
	}
}

// report takes in a status that came over a link.
func (t *term) report(now int64, l *link, s *dpdv1.SyncStatus) {
	if t.links[l.id] != l {
		return
	}
	n, ok := t.m.Node(l.id)
	if !ok || s.GetSelf().GetId() != l.id || s.GetSelf().GetIncarnation() != n.Inc {
		return // a former life, or one that has not taken its identity yet
	}
	r, err := reportOf(s)
	if err != nil {
		if !l.refused {
			l.refused = true
			t.c.log.Warn("status refused", "node", n.Name, "error", err)
		}
		return
	}
	l.refused = false
	t.status[l.id] = s
	t.m.KeysApplied(now, l.id, n.Inc, s.GetKeyGeneration())
	t.m.Report(now, r)
	t.countRelays()
	if n.Phase == membership.Draining && s.GetState() == dpdv1.NodeState_NODE_STATE_DRAINED {
		if err := t.m.Leave(now, l.id, n.Inc); err != nil {
			t.c.log.Warn("drained node not taken out", "node", n.Name, "error", err)
		}
	}
}

func (t *term) countRelays() {
	was, is := t.relays, t.m.Relays()
	t.relays = is
	for outcome, n := range map[string]uint64{
		"used": is.Used - was.Used, "known": is.Known - was.Known, "stale": is.Stale - was.Stale, "unknown": is.Unknown - was.Unknown,
	} {
		t.c.metrics.relayed.WithLabelValues(outcome).Add(float64(n))
	}
}

func (t *term) readPools(ctx context.Context) {
	kit.Again(ctx, t.c.cfg.PoolPoll, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		pools, err := t.c.deps.Pools(limited)
		if err != nil {
			return err
		}
		t.post(ctx, func(t *term, now int64) {
			if err := t.m.SetPools(now, pools); err != nil {
				t.c.log.Warn("pools refused", "error", err)
			}
		})
		return nil
	}, func(err error) { t.c.log.Warn("pools not read; the ones known stay in force", "error", err) })
}

func (t *term) nodeProto(now int64, n *membership.Node) *syncv1.Node {
	p := nodeProto(n)
	p.ControlAlive = n.Member() && t.m.ControlAlive(n.ID)
	p.Suspected = t.m.Suspected(now, n.ID)
	if !n.Member() && n.JoinAfter > now {
		p.JoinAfterTime = timestamppb.New(time.UnixMilli(n.JoinAfter))
	}
	if missing, idle, ok := t.m.Waiting(now, n.ID); ok {
		p.Detail += fmt.Sprintf("; no progress for %d s: %s", idle/1000, missing)
	}
	return p
}

func (t *term) watchMessage(kind dpdv1.WatchKind) *syncv1.WatchMembershipResponse {
	now := t.c.clock()
	msg := &syncv1.WatchMembershipResponse{
		Kind: kind, View: t.stored.View, LaddrBlocks: blocksProto(&t.stored),
		ResumeToken: fmt.Sprintf("%d.%d", t.stored.View, t.token),
	}
	for _, n := range sortedNodes(&t.stored) {
		msg.Nodes = append(msg.Nodes, t.nodeProto(now, n))
	}
	return msg
}
