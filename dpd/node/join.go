package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/apiform"
	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
)

const (
	joinTimeout  = 5 * time.Second
	joinRetryMin = 200 * time.Millisecond
	joinRetryMax = 2 * time.Second
)

// assignment is what the coordinator gave this node.
type assignment struct {
	membership control.Membership
	keys       control.Keys
}

// joiner asks the coordinators for a place in the cluster.
type joiner struct {
	cfg     *config.Config
	tls     *tls.Config
	log     *slog.Logger
	stored  *incarnation
	version string
	address string // at which services dial this node
}

// join asks one coordinator after the other until one gives this node a life, or ctx ends. fenced is the life that peers
// refuse, when the node joins again because of that.
func (j *joiner) join(ctx context.Context, fenced flow.Node) (assignment, error) {
	// A process id of its own for each attempt to become somebody, so that a repeated call is no second life.
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return assignment{}, fmt.Errorf("making a process id: %w", err)
	}
	wait, said := joinRetryMin, ""
	for {
		var failed []error
		for _, at := range j.cfg.Control.Coordinators {
			a, err := j.ask(ctx, at, id, fenced)
			if err == nil {
				return a, nil
			}
			failed = append(failed, fmt.Errorf("%s: %w", at, err))
		}
		if ctx.Err() != nil {
			return assignment{}, ctx.Err()
		}
		// A node that is held back asks for minutes: the same answer is said once.
		if text := errors.Join(failed...).Error(); text != said {
			said = text
			j.log.Warn("no coordinator lets this node join; trying again", "wait", wait, "err", text)
		}
		select {
		case <-ctx.Done():
			return assignment{}, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(wait*2, joinRetryMax)
	}
}

func (j *joiner) ask(ctx context.Context, at string, id []byte, fenced flow.Node) (assignment, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	c, err := kit.Dial(at, j.tls)
	if err != nil {
		return assignment{}, err
	}
	defer c.Close()
	q := &syncv1.JoinRequest{
		NodeName: j.cfg.Node.Name, ControlAddress: j.address, StoredIncarnation: j.stored.value, Workers: uint32(j.cfg.Workers),
		ProcessId: id, SyncPort: uint32(j.cfg.Sync.Port), Version: j.version,
	}
	for _, p := range j.cfg.Ports {
		for _, a := range p.Addresses {
			q.DataAddresses = append(q.DataAddresses, a.String())
			q.Ipv4 = q.Ipv4 || a.Addr().Is4()
			q.Ipv6 = q.Ipv6 || a.Addr().Is6()
		}
	}
	if fenced != (flow.Node{}) {
		q.FencedLife = apiform.Life(fenced)
	}
	r, err := syncv1.NewCoordinatorServiceClient(c).Join(ctx, q)
	if err != nil {
		return assignment{}, err
	}
	var a assignment
	if a.membership, err = control.ParseMembership(r.GetMembership()); err != nil {
		return assignment{}, fmt.Errorf("the coordinator's view: %w", err)
	}
	if a.keys, err = control.ParseKeys(r.GetKeys()); err != nil {
		return assignment{}, fmt.Errorf("the coordinator's keys: %w", err)
	}
	if got := apiform.NodeOf(r.GetLife()); got != a.membership.Self.Life {
		return assignment{}, fmt.Errorf("the coordinator gave the life %v and a view for %v", got, a.membership.Self.Life)
	}
	return a, j.stored.set(a.membership.Self.Life.Inc)
}

// incarnation is the number of this node's newest life, kept in a file so that it rises even when the coordinator lost
// everything.
type incarnation struct {
	path  string
	value uint64
}

func openIncarnation(dir string) (*incarnation, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("node.data_dir: %w", err)
	}
	i := &incarnation{path: filepath.Join(dir, "incarnation")}
	b, err := os.ReadFile(i.path)
	if errors.Is(err, os.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the incarnation: %w", err)
	}
	if i.value, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", i.path, err)
	}
	return i, nil
}

// set stores a higher number durably before anyone acts on it.
func (i *incarnation) set(v uint64) error {
	if v < i.value {
		return fmt.Errorf("incarnation %d is below the stored %d", v, i.value)
	}
	tmp := i.path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("storing the incarnation: %w", err)
	}
	_, err = f.WriteString(strconv.FormatUint(v, 10) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, i.path)
	}
	if err != nil {
		return fmt.Errorf("storing the incarnation: %w", err)
	}
	i.value = v
	return nil
}

// dialable is the address that services are told: an unspecified listen address can't be dialled.
func dialable(c *config.Config, listening net.Addr) (string, error) {
	if a := c.Control.Advertise; a.IsValid() {
		return a.String(), nil
	}
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		return "", fmt.Errorf("control.listen %s names no address that services could dial; set control.advertise", listening)
	}
	return net.JoinHostPort(host, port), nil
}
