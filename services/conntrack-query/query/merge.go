package query

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// unknownOwner stands for an owner that is out of the view.
const unknownOwner = "nodes/unknown"

// Copy is one node's record of a session.
type Copy struct {
	Node *Node
	S    *dpdv1.Session
}

// Directory is what ids mean at one moment.
type Directory struct {
	Nodes []Node // of the view, by name
	// Services and Servers have resource names by id.
	Services map[uint32]string
	Servers  map[uint32]string
}

// Node is one data plane of the view.
type Node struct {
	ID      uint32
	Inc     uint64
	Name    string // without "nodes/"
	Address string
}

// ServiceID finds a virtual service's id.
func (d *Directory) ServiceID(name string) (uint32, bool) { return keyOf(d.Services, name) }

// ServerID finds a real server's id.
func (d *Directory) ServerID(name string) (uint32, bool) { return keyOf(d.Servers, name) }

// NodeID finds a node's id by its resource name.
func (d *Directory) NodeID(name string) (uint32, bool) {
	for _, n := range d.Nodes {
		if "nodes/"+n.Name == name {
			return n.ID, true
		}
	}
	return 0, false
}

func keyOf(m map[uint32]string, name string) (uint32, bool) {
	for id, n := range m {
		if n == name {
			return id, true
		}
	}
	return 0, false
}

func (d *Directory) owner(l *dpdv1.NodeLife) string {
	for _, n := range d.Nodes {
		if n.ID == l.GetId() && n.Inc == l.GetIncarnation() {
			return "nodes/" + n.Name
		}
	}
	return unknownOwner
}

// better says whether a is to be shown rather than b: the owner's own record, else the higher life and version, else
// the node whose name comes first.
func better(a, b Copy) bool {
	own := func(c Copy) int {
		if c.S.GetOwner().GetId() == c.Node.ID && c.S.GetOwner().GetIncarnation() == c.Node.Inc {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.S.GetBirth(), b.S.GetBirth()),
		cmp.Compare(own(a), own(b)),
		cmp.Compare(a.S.GetTerm(), b.S.GetTerm()),
		cmp.Compare(a.S.GetOwner().GetIncarnation(), b.S.GetOwner().GetIncarnation()),
		cmp.Compare(a.S.GetOwner().GetId(), b.S.GetOwner().GetId()),
		cmp.Compare(a.S.GetVersion(), b.S.GetVersion()),
		strings.Compare(b.Node.Name, a.Node.Name),
	) > 0
}

// Merge makes one session of the copies that nodes hold of it. There is at least one.
func Merge(copies []Copy, d *Directory) *conntrackv1.Session {
	best := copies[0]
	idle := best.S.GetIdleMs()
	var replicas []string
	for _, c := range copies {
		if better(c, best) {
			best = c
		}
		idle = min(idle, c.S.GetIdleMs()) // a packet at any node counts
		replicas = append(replicas, "nodes/"+c.Node.Name)
	}
	slices.Sort(replicas)
	s := best.S
	return &conntrackv1.Session{
		Name:           Name(s.GetOriginal()),
		Protocol:       s.GetOriginal().GetProtocol(),
		Client:         s.GetOriginal().GetSource(),
		Vip:            s.GetOriginal().GetDestination(),
		Laddr:          s.GetReply().GetDestination(),
		Server:         s.GetReply().GetSource(),
		State:          s.GetState(),
		Mode:           s.GetMode(),
		VirtualService: d.Services[s.GetServiceId()],
		RealServer:     d.Servers[s.GetServerId()],
		Owner:          d.owner(s.GetOwner()),
		OwnerLife:      s.GetOwner(),
		Term:           s.GetTerm(),
		CreateTime:     timestamppb.New(time.UnixMilli(int64(s.GetBirth() >> 16))),
		Idle:           durationpb.New(time.Duration(idle) * time.Millisecond),
		Timeout:        durationpb.New(time.Duration(s.GetTimeoutSeconds()) * time.Second),
		Replicas:       slices.Compact(replicas),
		Flags:          s.GetFlags(),
	}
}
