package rollout

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

const (
	applyTimeout = 10 * time.Second
	askTimeout   = 2 * time.Second
	askEvery     = 2 * time.Second // to notice a node that lost its configuration
	retryMin     = 100 * time.Millisecond
	retryMax     = 2 * time.Second
)

// node delivers to one life of one data plane. The fields below cancel are guarded by Rollout.mu.
type node struct {
	Node
	r      *Rollout
	cancel context.CancelFunc

	revision uint64 // that the node said it runs
	applied  time.Time
	err      string
	failures uint32 // of the newest revision
}

func (n *node) run(ctx context.Context) {
	conn, err := n.r.cfg.Dial(n.Address)
	if err != nil {
		// Only an address that can't be parsed comes here; the next life of the node may have a better one.
		n.note(func() { n.err = err.Error() })
		return
	}
	defer conn.Close()
	client := dpdv1.NewDataplaneServiceClient(conn)
	wait := retryMin
	for ctx.Err() == nil {
		snap, moved := n.r.target()
		if snap == nil {
			sleep(ctx, retryMax, moved)
			continue
		}
		if n.has() == snap.Request.GetRevision() {
			if sleep(ctx, askEvery, moved) {
				n.ask(ctx, client)
			}
			continue
		}
		actx, cancel := context.WithTimeout(ctx, applyTimeout)
		resp, err := client.ApplyConfig(actx, snap.Request, grpc.WaitForReady(true))
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil && resp.GetRevision() != snap.Request.GetRevision() {
			err = fmt.Errorf("the node answers revision %d", resp.GetRevision())
		}
		if err != nil {
			n.note(func() { n.err, n.failures = "apply: "+message(err), n.failures+1 })
			n.r.cfg.Log.Warn("a node does not take the configuration", "node", n.Name, "revision", snap.Request.GetRevision(), "error", err, "wait", wait)
			sleep(ctx, wait, moved)
			wait = min(2*wait, retryMax)
			continue
		}
		wait = retryMin
		n.note(func() { n.revision, n.applied, n.err, n.failures = resp.GetRevision(), time.Now(), "", 0 })
	}
}

// ask compares what the node runs with what it was told: a node that came back without it is told again.
func (n *node) ask(ctx context.Context, client dpdv1.DataplaneServiceClient) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := client.GetInfo(ctx, &dpdv1.GetInfoRequest{})
	if err != nil {
		if text := "ask: " + message(err); ctx.Err() == nil || n.has() != 0 {
			n.note(func() { n.err = text })
		}
		return
	}
	if rev := info.GetSync().GetConfigRevision(); rev != n.has() || n.failed() {
		n.note(func() { n.revision, n.err = rev, "" })
	}
}

func (n *node) has() uint64 {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	return n.revision
}

func (n *node) failed() bool {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	return n.err != ""
}

// note changes the node's part of the state and tells the watchers.
func (n *node) note(change func()) {
	n.r.mu.Lock()
	change()
	n.r.mu.Unlock()
	n.r.publish()
}

// sleep waits for d, or less when the target moves or ctx ends; true says that d passed.
func sleep(ctx context.Context, d time.Duration, moved <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-moved:
	case <-t.C:
		return true
	}
	return false
}

func message(err error) string {
	s := status.Convert(err)
	return s.Code().String() + ": " + s.Message()
}
