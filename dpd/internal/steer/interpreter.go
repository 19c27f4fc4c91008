package steer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

// Kind is where a packet belongs.
type Kind uint8

const (
	ToHost   Kind = iota // to the host part: ARP, ND, echo, what no service or local address is meant by
	ToWorker             // to Verdict.Worker
	ToSync               // to the sync thread
)

// Verdict is the owner of a packet.
type Verdict struct {
	Kind   Kind
	Worker int
}

// Interpreter applies a rule list in software, in a time that doesn't grow with its length. Immutable; any thread.
//
// TCP and UDP packets go by the list. An ICMP error goes as the packets of the flow that it quotes and that take the
// error's way, so that it reaches the worker of their session; one about our own sync datagrams goes to the host part.
// Everything else goes to the host part.
type Interpreter struct {
	hash   *Hasher
	rules  []Rule     // by precedence; the ranks below are indexes into it
	levels [2][]level // IPv4, IPv6; one for each prefix length that occurs
	any    int        // rank of the first rule for any packet, or len(rules)
}

// level holds the destinations of one prefix length, in an open hash table.
type level struct {
	mask [2]uint64
	key  [][2]uint64
	dest []*destination // nil: the slot is free
	max  uint32         // slots-1, slots being a power of two
}

// destination holds the rules of one prefix by protocol: TCP, UDP.
type destination struct {
	proto [2]portRules
	local bool // a LocalPort rule is among them
}

// portRules holds the ranks of the rules of one destination and protocol.
type portRules struct {
	any   int         // rank of the first rule for any port
	low   *[256]int32 // by the low 8 bits of the port, for masks within them; nil: none
	exact []exactRule // other masks; few
}

type exactRule struct {
	port, mask uint16
	rank       int
}

// NewInterpreter compiles a rule list under the cluster's hash. The list isn't kept, except for its RSS tables.
func NewInterpreter(h *Hasher, rules []Rule) (*Interpreter, error) {
	in := &Interpreter{hash: h, rules: slices.Clone(rules)}
	slices.SortStableFunc(in.rules, func(a, b Rule) int { return int(a.Priority) - int(b.Priority) })
	in.any = len(in.rules)
	for rank := range in.rules {
		r := &in.rules[rank]
		if r.RSS != nil && r.RSS.Key != h.key {
			return nil, fmt.Errorf("%w: rule %v hashes under another key", ErrConfig, r)
		}
		if r.Family == 0 {
			in.any = min(in.any, rank)
			continue
		}
		if !r.Dst.IsValid() || family(r.Dst.Addr()) != r.Family || r.Proto != 0 && r.Proto != flow.ProtoTCP && r.Proto != flow.ProtoUDP {
			return nil, fmt.Errorf("%w: rule %v", ErrConfig, r)
		}
		in.add(rank, r)
	}
	return in, nil
}

func (in *Interpreter) add(rank int, r *Rule) {
	d := in.destination(r)
	d.local = d.local || r.Purpose == LocalPort
	for i, proto := range [...]uint8{flow.ProtoTCP, flow.ProtoUDP} {
		if r.Proto != 0 && r.Proto != proto {
			continue
		}
		p := &d.proto[i]
		switch {
		case r.PortMask == 0:
			p.any = min(p.any, rank)
		case r.PortMask > 0xff:
			p.exact = append(p.exact, exactRule{r.Port, r.PortMask, rank})
		default:
			if p.low == nil {
				p.low = new([256]int32)
				for i := range p.low {
					p.low[i] = int32(len(in.rules))
				}
			}
			for low := range p.low {
				if uint16(low)&r.PortMask == r.Port {
					p.low[low] = min(p.low[low], int32(rank))
				}
			}
		}
	}
}

// destination finds or makes the entry of a rule's prefix.
func (in *Interpreter) destination(r *Rule) *destination {
	addr := words(r.Dst.Addr())
	mask := prefixMask(r.Dst)
	levels := &in.levels[familyIndex(r.Family)]
	var l *level
	for i := range *levels {
		if (*levels)[i].mask == mask {
			l = &(*levels)[i]
		}
	}
	if l == nil {
		*levels = append(*levels, level{mask: mask, key: make([][2]uint64, 2), dest: make([]*destination, 2), max: 1})
		l = &(*levels)[len(*levels)-1]
	}
	addr[0] &= mask[0]
	addr[1] &= mask[1]
	if d := l.find(addr); d != nil {
		return d
	}
	none := len(in.rules)
	d := &destination{proto: [2]portRules{{any: none}, {any: none}}}
	l.put(addr, d)
	return d
}

func (l *level) slot(a [2]uint64) uint32 {
	h := (a[0] ^ a[1]*0x9e3779b97f4a7c15) * 0x9e3779b97f4a7c15
	return uint32(h>>40) & l.max
}

func (l *level) find(a [2]uint64) *destination {
	for i := l.slot(a); ; i = (i + 1) & l.max {
		d := l.dest[i]
		if d == nil || l.key[i] == a {
			return d
		}
	}
}

// put adds an address that isn't there, and keeps at least half of the slots free, so that find ends.
func (l *level) put(a [2]uint64, d *destination) {
	used := 1
	for _, d := range l.dest {
		if d != nil {
			used++
		}
	}
	if 2*used > len(l.dest) {
		old := *l
		n := 2 * len(old.dest)
		l.key, l.dest, l.max = make([][2]uint64, n), make([]*destination, n), uint32(n-1)
		for i, d := range old.dest {
			if d != nil {
				l.insert(old.key[i], d)
			}
		}
	}
	l.insert(a, d)
}

func (l *level) insert(a [2]uint64, d *destination) {
	i := l.slot(a)
	for l.dest[i] != nil {
		i = (i + 1) & l.max
	}
	l.key[i], l.dest[i] = a, d
}

// Steer gives the owner of a parsed packet.
func (in *Interpreter) Steer(info *packet.Info) Verdict {
	addr, meta := info.Addr, info.Meta
	switch info.Class {
	case packet.ClassTCP, packet.ClassUDP:
	case packet.ClassError:
		addr, meta = info.Against()
	default:
		return Verdict{Kind: ToHost}
	}
	rank := in.rank(&addr, meta)
	if rank == len(in.rules) {
		return Verdict{Kind: ToHost}
	}
	r := &in.rules[rank]
	if r.Purpose == Sync && info.Class == packet.ClassError {
		return Verdict{Kind: ToHost}
	}
	return in.verdict(r, &addr, meta)
}

// SteerKey is Steer of a TCP packet with the tuple k.
func (in *Interpreter) SteerKey(k *flow.Key) Verdict {
	rank := in.rank(&k.Addr, k.Meta)
	if rank == len(in.rules) {
		return Verdict{Kind: ToHost}
	}
	return in.verdict(&in.rules[rank], &k.Addr, k.Meta)
}

// verdict is what a rule that matches a tuple says, but for errors about it.
func (in *Interpreter) verdict(r *Rule, addr *[4]uint64, meta uint64) Verdict {
	switch {
	case r.Purpose == CatchAll:
		return Verdict{Kind: ToHost}
	case r.Purpose == Sync:
		return Verdict{Kind: ToSync}
	case r.RSS != nil:
		return Verdict{ToWorker, int(r.RSS.RETA[in.Bucket(*addr, meta)])}
	}
	return Verdict{ToWorker, int(r.Queue)}
}

// rank is the first rule that a TCP or UDP tuple matches, or the number of rules if none does.
func (in *Interpreter) rank(addr *[4]uint64, meta uint64) int {
	best := in.any
	proto := 0
	switch uint8(meta >> 8) {
	case flow.ProtoTCP:
	case flow.ProtoUDP:
		proto = 1
	default: // quoted in an ICMP error
		return len(in.rules)
	}
	dst := [2]uint64{addr[2], addr[3]}
	f := 1
	if uint8(meta) == flow.IPv4 {
		dst, f = [2]uint64{addr[0] << 32, 0}, 0
	}
	port := uint16(meta >> 32)
	for i := range in.levels[f] {
		l := &in.levels[f][i]
		d := l.find([2]uint64{dst[0] & l.mask[0], dst[1] & l.mask[1]})
		if d == nil {
			continue
		}
		p := &d.proto[proto]
		best = min(best, p.any)
		if p.low != nil {
			best = min(best, int(p.low[uint8(port)]))
		}
		for _, e := range p.exact {
			if port&e.mask == e.port {
				best = min(best, e.rank)
			}
		}
	}
	return best
}

// Bucket is the bucket of the client that sends packets of this tuple, in the layout of flow.Key.
func (in *Interpreter) Bucket(addr [4]uint64, meta uint64) uint8 {
	return uint8(in.hash.Bucket(uint8(meta), addr[0], addr[1], uint16(meta>>48)))
}

// Local says whether a is a local address of any node. Not for every packet.
func (in *Interpreter) Local(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() {
		return false
	}
	w := words(a)
	levels := in.levels[familyIndex(family(a))]
	for i := range levels {
		l := &levels[i]
		if d := l.find([2]uint64{w[0] & l.mask[0], w[1] & l.mask[1]}); d != nil && d.local {
			return true
		}
	}
	return false
}

// Rules is the list in force, by precedence. It must not be written.
func (in *Interpreter) Rules() []Rule { return in.rules }

func familyIndex(f uint8) int {
	if f == flow.IPv4 {
		return 0
	}
	return 1
}

// words is an address as two words, IPv4 in the upper half of the first.
func words(a netip.Addr) [2]uint64 {
	if a.Is4() {
		b := a.As4()
		return [2]uint64{uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func prefixMask(p netip.Prefix) [2]uint64 {
	n := p.Bits()
	return [2]uint64{^uint64(0) << max(0, 64-n), ^uint64(0) << min(64, 128-n)}
}
