package coordinator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// Bounds on what one status of a data plane may hold, so that a broken one costs no memory.
const (
	maxPeers   = 4 * membership.MaxMembers
	maxBlocks  = 2 * membership.MaxBlocks
	maxFenced  = membership.MaxNodes
	maxRelayed = 4096
)

func life(id uint32, inc uint64) *dpdv1.NodeLife {
	return &dpdv1.NodeLife{Id: id, Incarnation: inc}
}

func memberState(n *membership.Node) dpdv1.MemberState {
	switch {
	case n.Phase == membership.Draining:
		return dpdv1.MemberState_MEMBER_STATE_DRAINING
	case n.Phase == membership.Admitted && n.Degraded != membership.CauseNone:
		return dpdv1.MemberState_MEMBER_STATE_DEGRADED
	case n.Phase == membership.Admitted:
		return dpdv1.MemberState_MEMBER_STATE_ADMITTED
	case n.Member():
		return dpdv1.MemberState_MEMBER_STATE_JOINING
	}
	return dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED
}

// membershipFor is the view as one of its members is to see it.
func membershipFor(s *membership.State, self *membership.Node) *dpdv1.Membership {
	m := &dpdv1.Membership{
		View: s.View,
		Self: &dpdv1.SelfAssignment{
			Life:     life(self.ID, self.Inc),
			SipV4:    addrText(self.Sip4),
			SipV6:    addrText(self.Sip6),
			SyncPort: uint32(self.SyncPort),
			State:    memberState(self),

			StockAccepted: self.Phase == membership.Ready || self.Serving(),
		},
		LaddrBlocks: blocksProto(s),
	}
	if !self.Member() {
		m.Self.State = dpdv1.MemberState_MEMBER_STATE_JOINING // it was; `fenced` says that this is over
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Member() {
			m.Members = append(m.Members, &dpdv1.Member{
				Life: life(n.ID, n.Inc), Name: n.Name, SipV4: addrText(n.Sip4), SipV6: addrText(n.Sip6),
				SyncPort: uint32(n.SyncPort), State: memberState(n),
			})
		}
		if n.Fenced > 0 {
			m.Fenced = append(m.Fenced, life(n.ID, n.Fenced))
		}
	}
	return m
}

func blocksProto(s *membership.State) []*dpdv1.LaddrBlock {
	var out []*dpdv1.LaddrBlock
	for i := range s.Blocks {
		b := &s.Blocks[i]
		p := &dpdv1.LaddrBlock{Id: b.ID, Epoch: b.Epoch, Allocatable: s.MayAllocate(b)}
		for _, a := range b.Addresses {
			p.Addresses = append(p.Addresses, a.String())
		}
		if n := s.Node(b.Holder); b.Holder != 0 && n != nil && n.Member() && n.Inc == b.HolderInc {
			p.Holder = life(b.Holder, b.HolderInc)
		} else if b.Holder != 0 {
			p.FormerHolder = life(b.Holder, b.HolderInc)
		}
		out = append(out, p)
	}
	return out
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func keysProto(k *membership.Keyring) *dpdv1.KeySet {
	out := &dpdv1.KeySet{Generation: k.Generation, ActiveKeyId: k.Active, RssKey: k.RSS, DigestKey: k.Digest}
	for _, x := range k.Keys {
		out.Keys = append(out.Keys, &dpdv1.ClusterKey{Id: x.ID, Secret: x.Secret})
	}
	return out
}

// reportOf reads a data plane's status as the machine's word for it.
func reportOf(s *dpdv1.SyncStatus) (membership.Report, error) {
	if len(s.GetPeers()) > maxPeers || len(s.GetBulk()) > maxPeers || len(s.GetBlockUsage()) > maxBlocks || len(s.GetFenced()) > maxFenced ||
		len(s.GetRelayedBlockUsage()) > maxRelayed {
		return membership.Report{}, fmt.Errorf("status of node %d is larger than a cluster can be", s.GetSelf().GetId())
	}
	r := membership.Report{
		Node:         s.GetSelf().GetId(),
		Inc:          s.GetSelf().GetIncarnation(),
		View:         s.GetView(),
		DetectorLate: s.GetDetectorLate(),
		Settled:      settled(s),
	}
	r.Met, r.Missing = conditions(s)
	for _, p := range s.GetPeers() {
		r.Peers = append(r.Peers, membership.PeerReport{
			ID: p.GetPeer().GetId(), Inc: p.GetPeer().GetIncarnation(), Suspected: p.GetSuspected(), Greeted: p.GetEstablished(),
			Equal: p.GetDigestEqual(), Unheard: p.GetUnheardMs() >= unheardAfter,
			ClockKnown: p.GetRttUs() > 0, ClockOffset: int64(p.GetClockOffsetMs()),
		})
	}
	for _, b := range s.GetBulk() {
		r.Bulk = append(r.Bulk, membership.BulkReport{
			ID: b.GetFrom().GetId(), Inc: b.GetFrom().GetIncarnation(), Begun: b.GetBegun(), Ended: b.GetEnded(),
			Expected: b.GetExpected(), Received: b.GetReceived(),
		})
	}
	for _, b := range s.GetBlockUsage() {
		r.Blocks = append(r.Blocks, membership.BlockReport{
			ID: b.GetBlockId(), Records: b.GetRecords(), Tombstones: b.GetTombstones(), Age: millis(b.GetAgeMs()),
		})
	}
	for _, f := range s.GetFenced() {
		r.Fenced = append(r.Fenced, membership.FenceReport{ID: f.GetLife().GetId(), Inc: f.GetLife().GetIncarnation(), Age: millis(f.GetAgeMs())})
	}
	for _, b := range s.GetRelayedBlockUsage() {
		r.Relayed = append(r.Relayed, membership.RelayedReport{
			Member: b.GetMember().GetId(), Inc: b.GetMember().GetIncarnation(), Block: b.GetBlockId(), Holder: b.GetHolder().GetId(),
			HolderInc: b.GetHolder().GetIncarnation(), Records: b.GetRecords(), Tombstones: b.GetTombstones(),
			Fenced: millis(b.GetFencedMs()), Age: millis(b.GetAgeMs()),
		})
	}
	return r, nil
}

// millis bounds a duration, so that sums of it can't overflow; nothing is judged by more than minutes.
func millis(v uint64) int64 { return int64(min(v, uint64(time.Hour/time.Millisecond))) }

// unheardAfter is from when on a peer counts as one that hears nothing, milliseconds: five PROBEs.
const unheardAfter = 500

// Bounds on what is kept of a node's own words about its conditions.
const (
	maxConditions = 16
	maxDetail     = 100
)

// conditions counts the ready conditions that hold, and says in words which do not.
func conditions(s *dpdv1.SyncStatus) (met int, missing string) {
	var lacks []string
	list := s.GetReadyConditions()
	for _, c := range list[:min(len(list), maxConditions)] {
		if c.GetMet() {
			met++
			continue
		}
		word := strings.TrimPrefix(c.GetType().String(), "READY_CONDITION_TYPE_")
		if d := c.GetDetail(); d != "" {
			word += " (" + strings.ToValidUTF8(d[:min(len(d), maxDetail)], "") + ")"
		}
		lacks = append(lacks, word)
	}
	if len(lacks) == 0 {
		return met, ""
	}
	return met, "it says that it lacks " + strings.Join(lacks, ", ")
}

// settled says whether the node itself sees nothing in the way of its admission.
func settled(s *dpdv1.SyncStatus) bool {
	if s.GetState() == dpdv1.NodeState_NODE_STATE_READY || s.GetState() == dpdv1.NodeState_NODE_STATE_ADMITTED {
		return true
	}
	routes := false
	for _, c := range s.GetReadyConditions() {
		if !c.GetMet() {
			return false
		}
		routes = routes || c.GetType() == dpdv1.ReadyConditionType_READY_CONDITION_TYPE_ROUTES
	}
	return routes
}

func nodeState(n *membership.Node) syncv1.NodeState {
	switch n.Phase {
	case membership.Admitted:
		if n.Degraded != membership.CauseNone {
			return syncv1.NodeState_NODE_STATE_DEGRADED
		}
		return syncv1.NodeState_NODE_STATE_ADMITTED
	case membership.Draining:
		return syncv1.NodeState_NODE_STATE_DRAINING
	case membership.Removed:
		switch n.Cause {
		case membership.CauseLeft:
			return syncv1.NodeState_NODE_STATE_LEFT
		case membership.CauseAside:
			return syncv1.NodeState_NODE_STATE_ASIDE
		}
		return syncv1.NodeState_NODE_STATE_REMOVED
	}
	return syncv1.NodeState_NODE_STATE_JOINING
}

func nodeProto(n *membership.Node) *syncv1.Node {
	return &syncv1.Node{
		Name:           "nodes/" + n.Name,
		Id:             n.ID,
		Incarnation:    n.Inc,
		State:          nodeState(n),
		ControlAddress: n.ControlAddress,
		SipV4:          addrText(n.Sip4),
		SipV6:          addrText(n.Sip6),
		SyncPort:       uint32(n.SyncPort),
		DataAddresses:  n.DataAddresses,
		Workers:        n.Workers,
		JoinTime:       timestamppb.New(time.UnixMilli(n.JoinedAt)),
		StateTime:      timestamppb.New(time.UnixMilli(n.ChangedAt)),
		Detail:         detail(n),
		Version:        n.Version,
		Setbacks:       n.Setbacks,
	}
}

// detail says in words why a node is in its state.
func detail(n *membership.Node) string {
	switch {
	case n.Phase == membership.Joining:
		return "gets the stock of sessions"
	case n.Phase == membership.Ready:
		return "may allocate; its routes are not seen yet"
	case n.Cause == membership.CauseDead:
		return "its peers hear no PROBE and its control connection is lost"
	case n.Cause == membership.CauseLeft:
		return "it left"
	case n.Cause == membership.CauseAside:
		return n.Reason
	case n.Cause == membership.CauseRestarted:
		return "its process began anew, too often to join again at once"
	case n.Degraded == membership.CauseDeaf:
		return "nothing that its peers send reaches it"
	case n.Degraded == membership.CauseSilent:
		return "its peers hear no PROBE"
	case n.Degraded == membership.CauseClock:
		return "its clock is off the median"
	}
	return ""
}

func sortedNodes(s *membership.State) []*membership.Node {
	out := make([]*membership.Node, len(s.Nodes))
	for i := range s.Nodes {
		out[i] = &s.Nodes[i]
	}
	slices.SortFunc(out, func(a, b *membership.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// eventKinds has the public kinds; what it lacks is for the log alone.
var eventKinds = map[membership.Kind]eventv1.NodeEventKind{
	membership.NodeJoined:      eventv1.NodeEventKind_NODE_EVENT_KIND_JOINED,
	membership.NodeAdmitted:    eventv1.NodeEventKind_NODE_EVENT_KIND_ADMITTED,
	membership.NodeDraining:    eventv1.NodeEventKind_NODE_EVENT_KIND_DRAINING,
	membership.NodeRemoved:     eventv1.NodeEventKind_NODE_EVENT_KIND_REMOVED,
	membership.NodeFenced:      eventv1.NodeEventKind_NODE_EVENT_KIND_FENCED,
	membership.NodeControlLost: eventv1.NodeEventKind_NODE_EVENT_KIND_CONTROL_LOST,
	membership.NodeControlBack: eventv1.NodeEventKind_NODE_EVENT_KIND_CONTROL_RESTORED,
	membership.NodeDegraded:    eventv1.NodeEventKind_NODE_EVENT_KIND_DEGRADED,
	membership.NodeRecovered:   eventv1.NodeEventKind_NODE_EVENT_KIND_RECOVERED,
	membership.NodeAside:       eventv1.NodeEventKind_NODE_EVENT_KIND_ASIDE,
}
