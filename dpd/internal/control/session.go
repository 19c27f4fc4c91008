package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// filter is a checked SessionFilter. The zero filter selects everything but tombstones.
type filter struct {
	protos   []uint8
	prefix   [4]netip.Prefix // client, vip, laddr, server
	port     [4]uint16
	services []uint32
	servers  []uint32
	states   []flow.State
	owners   []uint32
	tombs    bool
	idle     uint32
	empty    bool
}

const maxFilterList = 1024

// filterOf checks and converts; field is the filter's own name in the request.
func filterOf(field string, p *dpdv1.SessionFilter) (*filter, error) {
	var v violations
	f := &filter{tombs: p.GetIncludeTombstones(), idle: p.GetMinIdleMs()}
	for i, q := range p.GetProtocols() {
		f.protos = append(f.protos, v.proto(fmt.Sprintf("%s.protocols[%d]", field, i), q))
	}
	for i, text := range []string{p.GetClientPrefix(), p.GetVipPrefix(), p.GetLaddrPrefix(), p.GetServerPrefix()} {
		if text == "" {
			continue
		}
		at := field + [...]string{".client_prefix", ".vip_prefix", ".laddr_prefix", ".server_prefix"}[i]
		if strings.Contains(text, "/") {
			q, err := netip.ParsePrefix(text)
			if err != nil {
				v.add(at, "%q is no prefix", text)
			}
			f.prefix[i] = q.Masked()
		} else if a := v.anyAddr(at, text); a.IsValid() {
			f.prefix[i] = netip.PrefixFrom(a, a.BitLen())
		}
	}
	for i, n := range []uint32{p.GetClientPort(), p.GetVipPort(), p.GetLaddrPort(), p.GetServerPort()} {
		if n > 65535 {
			v.add(field+[...]string{".client_port", ".vip_port", ".laddr_port", ".server_port"}[i], "%d is no port", n)
		}
		f.port[i] = uint16(n)
	}
	for i, s := range p.GetStates() {
		if s < dpdv1.SessionState_SESSION_STATE_TCP_NONE || s > dpdv1.SessionState_SESSION_STATE_ICMP_NORMAL {
			v.add(fmt.Sprintf("%s.states[%d]", field, i), "%v is no state", s)
			continue
		}
		f.states = append(f.states, flow.State(s-1))
	}
	f.services, f.servers, f.owners = p.GetServiceIds(), p.GetServerIds(), p.GetOwnerIds()
	for i, n := range []int{len(f.services), len(f.servers), len(f.owners), len(f.states), len(f.protos)} {
		if n > maxFilterList {
			v.add(field+[...]string{".service_ids", ".server_ids", ".owner_ids", ".states", ".protocols"}[i], "%d entries, at most %d", n, maxFilterList)
		}
	}
	f.empty = len(f.protos)+len(f.services)+len(f.servers)+len(f.states)+len(f.owners) == 0 &&
		f.prefix == [4]netip.Prefix{} && f.port == [4]uint16{} && f.idle == 0
	return f, v.err()
}

func (v *violations) anyAddr(field, text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		v.add(field, "%q is no address", text)
		return netip.Addr{}
	}
	return a
}

// match says whether the record is selected. It runs on worker threads for a bounded number of records a turn.
func (f *filter) match(s *flow.Session) bool {
	if s.Flags&flow.Tomb != 0 && !f.tombs {
		return false
	}
	if s.Idle < f.idle || !has(f.services, s.Service) || !has(f.servers, s.Server) || !has(f.states, s.State) ||
		!has(f.owners, s.Owner.ID) || !has(f.protos, s.Orig.Proto()) {
		return false
	}
	for i := range f.prefix {
		if f.port[i] == 0 && !f.prefix[i].IsValid() {
			continue
		}
		var a netip.AddrPort
		switch i {
		case 0:
			a = s.Orig.Src()
		case 1:
			a = s.Orig.Dst()
		case 2:
			a = s.Reply.Dst()
		case 3:
			a = s.Reply.Src()
		}
		if f.port[i] != 0 && f.port[i] != a.Port() || f.prefix[i].IsValid() && !f.prefix[i].Contains(a.Addr()) {
			return false
		}
	}
	return true
}

// has takes an empty list for "any".
func has[T comparable](list []T, x T) bool { return len(list) == 0 || slices.Contains(list, x) }

func (v *violations) proto(field string, p dpdv1.Protocol) uint8 {
	switch p {
	case dpdv1.Protocol_PROTOCOL_TCP:
		return flow.ProtoTCP
	case dpdv1.Protocol_PROTOCOL_UDP:
		return flow.ProtoUDP
	case dpdv1.Protocol_PROTOCOL_ICMP:
		return flow.ProtoICMP
	case dpdv1.Protocol_PROTOCOL_ICMPV6:
		return flow.ProtoICMPv6
	}
	v.add(field, "%v is no protocol", p)
	return 0
}

// keyOf checks a tuple.
func keyOf(field string, t *dpdv1.Tuple) (flow.Key, error) {
	var v violations
	proto := v.proto(field+".protocol", t.GetProtocol())
	ends := [2]netip.AddrPort{}
	for i, e := range []*dpdv1.Endpoint{t.GetSource(), t.GetDestination()} {
		at := field + [...]string{".source", ".destination"}[i]
		a := v.anyAddr(at+".address", e.GetAddress())
		if e.GetPort() > 65535 {
			v.add(at+".port", "%d is outside 0..65535", e.GetPort())
		}
		ends[i] = netip.AddrPortFrom(a, uint16(e.GetPort()))
	}
	if err := v.err(); err != nil {
		return flow.Key{}, err
	}
	k, err := flow.MakeKey(proto, ends[0], ends[1])
	if err != nil {
		v.add(field, "source and destination are of different address families")
	}
	return k, v.err()
}
