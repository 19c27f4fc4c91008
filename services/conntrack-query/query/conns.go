package query

import (
	"errors"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// pool keeps one connection per node. Safe for concurrent use.
type pool struct {
	dial  func(node, address string) (*grpc.ClientConn, error)
	mu    sync.Mutex
	conns map[string]pooled // by node name; guarded by mu
}

type pooled struct {
	address string
	conn    *grpc.ClientConn
}

func (p *pool) client(n *Node) (dpdv1.DataplaneServiceClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.conns[n.Name]
	if ok && c.address != n.Address {
		_ = c.conn.Close()
		ok = false
	}
	if !ok {
		conn, err := p.dial(n.Name, n.Address)
		if err != nil {
			return nil, err
		}
		c = pooled{n.Address, conn}
		p.conns[n.Name] = c
	}
	return dpdv1.NewDataplaneServiceClient(c.conn), nil
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, c := range p.conns {
		_ = c.conn.Close()
		delete(p.conns, name)
	}
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// nodesOf picks the nodes of the view, by name as they come.
func nodesOf(in []*syncv1.Node) []Node {
	var out []Node
	for _, n := range in {
		switch n.GetState() {
		case syncv1.NodeState_NODE_STATE_JOINING, syncv1.NodeState_NODE_STATE_ADMITTED,
			syncv1.NodeState_NODE_STATE_DRAINING, syncv1.NodeState_NODE_STATE_DEGRADED:
			out = append(out, Node{ID: n.GetId(), Inc: n.GetIncarnation(), Name: strings.TrimPrefix(n.GetName(), "nodes/"), Address: n.GetControlAddress()})
		}
	}
	return out
}

// codeName is a gRPC code in the form of its enum, "DEADLINE_EXCEEDED".
func codeName(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' && c != codes.OK {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
