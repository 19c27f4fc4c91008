package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// kind is one way to be hostile.
type kind struct {
	name string
	make func(*generator) datagram
}

// kinds of hostile datagrams. All go to sync addresses and the sync port of both families, where
// nothing else is said. "Member" means that source address and port are those of the member in
// whose name the header speaks.
var kinds = []kind{
	{"random-bytes", (*generator).randomBytes},       // from strangers and members
	{"random-header", (*generator).randomHeader},     // magic and major are right
	{"salt-zero", (*generator).saltZero},             // member; true id and incarnation, counter 1, any lane
	{"salt-random", (*generator).saltRandom},         // member; true id and incarnation
	{"salt-true", (*generator).saltTrue},             // member; a salt in use, noise for a seal
	{"inc-other", (*generator).incOther},             // member; a higher, lower or random incarnation
	{"stranger-header", (*generator).strangerHeader}, // a true header from a stranger
	{"replay-present", replayOf(present)},            // member; as captured
	{"replay-links", replayOf(links)},                // the same, of links that are over
	{"replay-lives", replayOf(lives)},                // the same, of lives that are over
	{"replay-hellos", (*generator).replayHellos},     // greetings of all eras
	{"stranger-replay", (*generator).strangerReplay}, // captured, from a stranger
	{"reflected", (*generator).reflected},            // captured, to its sender or a third node
	{"truncated", (*generator).truncated},            // captured, cut or with a tail
	{"bit-flipped", (*generator).bitFlipped},         // captured, one bit changed
	{"header-changed", (*generator).headerChanged},   // captured, one field of the header changed
	{"sizes", (*generator).sizes},                    // HELLO-sized, and longer than any MTU: in fragments
	{"ports", (*generator).ports},                    // captured, another source or destination port
	{"wrong-sip", (*generator).wrongSip},             // captured, to an address that this node does not have
}

// closedPort is the control: as long as the others, to a port of the same addresses at which nobody
// listens.
var closedPort = kind{"closed-port", (*generator).closedPort}

// generator makes hostile datagrams. Its choices are a function of the seed; what it replays is
// what the book heard.
type generator struct {
	r       *rand.Rand
	book    *book
	members []member // since refresh
	noise   []byte
	scratch []byte // of the datagram that is made
	made    uint64
}

func newGenerator(seed uint64, b *book) *generator {
	g := &generator{r: rand.New(rand.NewPCG(seed, 0x686f7374)), book: b, noise: make([]byte, 1<<16)}
	for i := 0; i < len(g.noise); i += 8 {
		binary.LittleEndian.PutUint64(g.noise[i:], g.r.Uint64())
	}
	return g
}

// next makes a datagram; its payload is borrowed until the next one. Every 256 it looks again who
// the members are.
func (g *generator) next(k kind) datagram {
	if g.made%256 == 0 {
		g.members = g.book.all()
	}
	g.made++
	return k.make(g)
}

// random is n bytes of noise that were not used together before. They may be written to, until the
// next datagram is made.
func (g *generator) random(n int) []byte {
	b := append(g.scratch[:0], g.noise[g.r.IntN(len(g.noise)-n):][:n]...)
	g.scratch = b
	if n >= 8 {
		binary.LittleEndian.PutUint64(b, g.r.Uint64())
	}
	return b
}

// length is one of a datagram: mostly short, some about as long as a greeting, some as long as a
// path carries.
func (g *generator) length() int {
	switch g.r.IntN(4) {
	case 0:
		return helloLen + g.r.IntN(3) - 1
	case 1:
		return emptyLen + g.r.IntN(1400-emptyLen)
	default:
		return emptyLen + g.r.IntN(64)
	}
}

// pair is a sender and another receiver.
func (g *generator) pair() (from, to int) {
	n := len(g.members)
	from = g.r.IntN(n)
	return from, (from + 1 + g.r.IntN(n-1)) % n
}

// as sends a payload from one member's sync address to another's, by either family.
func (g *generator) as(from, to int, payload []byte) datagram {
	return g.by(from, to, g.r.IntN(2), payload)
}

func (g *generator) by(from, to, family int, payload []byte) datagram {
	return datagram{node: to, src: g.members[from].sips[family], dst: g.members[to].sips[family], payload: payload}
}

// stranger is an address and port of nobody.
func (g *generator) stranger(v6 bool) netip.AddrPort {
	a := topo.V4(topo.NetClient, 100+g.r.IntN(100))
	if v6 {
		a = topo.V6(topo.NetClient, 0x100+g.r.IntN(1000))
	}
	port := uint16(1024 + g.r.IntN(60000))
	if g.r.IntN(2) == 0 {
		port = g.members[0].sips[0].Port()
	}
	return netip.AddrPortFrom(a, port)
}

// strange makes a stranger of the sender.
func (g *generator) strange(d datagram) datagram {
	d.src = g.stranger(d.dst.Addr().Is6())
	return d
}

// header is a true one of a member, but for salt, lane and counter.
func (g *generator) header(from int) header {
	m := &g.members[from]
	return header{
		lane: byte(g.r.IntN(3)), keyID: uint16(g.r.IntN(4)), sender: m.id, salt: g.r.Uint32(), inc: m.inc,
		counter: g.r.Uint64() >> g.r.IntN(64),
	}
}

// forged is noise behind a header.
func (g *generator) forged(from, to int, h header) datagram {
	b := g.random(g.length())
	h.put(b)
	return g.as(from, to, b)
}

// captured is a datagram of some era, as it was; noise as long as nothing was heard.
func (g *generator) captured(era int) datagram {
	x, ok := g.book.pick(era, g.r.Uint64())
	if !ok {
		from, to := g.pair()
		return g.forged(from, to, g.header(from))
	}
	return g.sent(x)
}

func (g *generator) sent(x record) datagram {
	family := 0
	if x.v6 {
		family = 1
	}
	if g.r.IntN(4) == 0 {
		family = 1 - family // the same words over the other address
	}
	return g.by(x.from, x.to, family, x.payload)
}

// some is a captured datagram of any era. Its payload may be written to, until the next datagram is
// made.
func (g *generator) some() datagram {
	d := g.captured([...]int{present, present, links, lives}[g.r.IntN(4)])
	g.scratch = append(g.scratch[:0], d.payload...)
	d.payload = g.scratch
	return d
}
