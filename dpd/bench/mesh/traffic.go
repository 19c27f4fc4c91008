package mesh

import (
	"encoding/binary"
	"errors"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Traffic plays clients and servers: so many lives a second, each a few packets that wait for each
// other, as TCP's do. Every life has a client address and port of its own. A packet that is not
// seen at the other side is sent again after 200 ms, then after twice that; after the sixth time
// its life counts as broken.
//
// Its lives stand in one slice; a packet says by its sequence number, a datagram by its first
// bytes, whose it is.
type Traffic struct {
	// Rate is how many lives begin in a second; UDP how many of a thousand are flows of UDP.
	Rate, UDP int
	// Doors are the nodes by which clients come; a life begins at one of them.
	Doors []int
	// Apart is how many of a thousand lives send by another door once they are established.
	Apart int
	// Least and Spread are how long lives idle, in milliseconds: Least, and up to Spread more.
	Least, Spread int

	Count Tally

	mesh   *Mesh
	life   []conn
	free   []uint32
	wheel  [wheelSize]uint32 // by millisecond: the first life that is due, 0 for none
	due    []uint32
	at     int // in due
	begun  int // in this millisecond
	serial uint64
	debt   int
	frac   int
}

// Tally is what became of lives and packets.
type Tally struct {
	Begun, Ended   uint64
	TCP            uint64 // of those that ended
	Broken         uint64 // given up
	Again          uint64 // packets that were sent again
	Late           uint64 // packets that waited in a node: they took more rounds than a hand-over between workers
	LateUDP        uint64 // of these, first datagrams of a flow
	Lost           uint64 // packets that no receive queue had room for
	Stray, Waiting uint64 // packets that nobody waits for; lives that found no room
}

const (
	wheelSize = 8192 // milliseconds, a power of two
	tries     = 6
	tryAgain  = 200 // milliseconds
	pollEvery = 5
	spread    = 12
)

// conn is one life. 48 bytes.
type conn struct {
	next          uint32 // in the wheel
	client        uint32
	local, server uint32 // addresses, as the first packet to the server had them
	clientPort    uint16
	localPort     uint16
	serverPort    uint16
	script        uint8
	step          uint8 // packets sent
	home, away    uint8
	tries         uint8
	seen          bool // the last one came out
	lastSent      int64
	sent          uint32 // round of the mesh
}

// NewTraffic makes traffic with room for so many lives at a time, at most 4 Mi.
func (m *Mesh) NewTraffic(room int) (*Traffic, error) {
	if room < 1 || room > 1<<(32-seqBits)-1 {
		return nil, errors.New("mesh: bad room for lives")
	}
	t := &Traffic{mesh: m, life: make([]conn, room+1), Least: 40, Spread: 400}
	for i := room; i > 0; i-- {
		t.free = append(t.free, uint32(i))
	}
	m.Traffic = t
	return t, nil
}

// Living is the number of lives under way.
func (t *Traffic) Living() int { return len(t.life) - 1 - len(t.free) }

// step does a round's part of a millisecond.
func (t *Traffic) step(round, rounds int) {
	if round == 0 {
		t.due, t.at, t.begun = t.due[:0], 0, 0
		slot := &t.wheel[t.mesh.now&(wheelSize-1)]
		for i := *slot; i != 0; i = t.life[i].next {
			t.due = append(t.due, i)
		}
		*slot = 0
		t.frac += t.Rate
		t.debt, t.frac = t.frac/1000, t.frac%1000
	}
	for end := len(t.due) * (round + 1) / rounds; t.at < end; t.at++ {
		t.advance(t.due[t.at])
	}
	for end := t.debt * (round + 1) / rounds; t.begun < end; t.begun++ {
		t.begin()
	}
}

func (t *Traffic) begin() {
	if len(t.free) == 0 || len(t.Doors) == 0 {
		t.Count.Waiting++
		return
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	n := t.serial
	t.serial++
	r := n * 0x9e3779b97f4a7c15 >> 32 // spreads what is drawn over the lives
	c := &t.life[i]
	door := int(n % uint64(len(t.Doors)))
	*c = conn{
		client: 11<<24 | uint32(n&(1<<22-1)), clientPort: uint16(1024 + n>>22), script: uint8(n & 1),
		home: uint8(t.Doors[door]), seen: true,
	}
	c.away = c.home
	if int(r%1000) < t.Apart {
		c.away = uint8(t.Doors[(door+1)%len(t.Doors)])
	}
	if int(r/1000%1000) < t.UDP {
		c.script = datagrams
	}
	t.Count.Begun++
	t.advance(i)
}

// advance sends the next packet of a life, or waits on for the last one.
func (t *Traffic) advance(i uint32) {
	c := &t.life[i]
	acts := lives[c.script]
	now := t.mesh.now
	switch {
	case !c.seen:
		if now-c.lastSent < tryAgain<<c.tries {
			t.schedule(i, pollEvery)
			return
		}
		if c.tries++; c.tries > tries {
			t.Count.Broken++
			t.end(i)
			return
		}
		t.Count.Again++
	case int(c.step) == len(acts):
		t.Count.Ended++
		if c.script != datagrams {
			t.Count.TCP++
		}
		t.end(i)
		return
	default:
		c.step++
		c.tries, c.sent, c.seen = 0, t.mesh.rounds, false
	}
	c.lastSent = now
	a := &acts[c.step-1]
	wait := 1
	switch a.wait {
	case waitSpread:
		wait = spread
	case waitIdle:
		wait = t.Least + int(uint64(i)*0x9e3779b1>>8%uint64(t.Spread+1))
	}
	t.schedule(i, wait) // before the packet: it may come out at once, and that changes nothing here
	t.send(i, c, a)
}

func (t *Traffic) schedule(i uint32, ms int) {
	slot := &t.wheel[(t.mesh.now+int64(ms))&(wheelSize-1)]
	t.life[i].next = *slot
	*slot = i
}

func (t *Traffic) end(i uint32) {
	t.life[i].step = 0
	t.free = append(t.free, i)
}

// send puts a packet into the receive queue of its node.
func (t *Traffic) send(i uint32, c *conn, a *act) {
	node, src, dst := int(c.home), c.client, uint32(vipWord)
	ports := uint32(c.clientPort)<<16 | tcpPort
	switch {
	case !a.client:
		node, src, dst = int(c.local>>8&0xff), c.server, c.local
		ports = uint32(c.serverPort)<<16 | uint32(c.localPort)
	case c.script == datagrams:
		ports = uint32(c.clientPort)<<16 | udpPort
		fallthrough
	default:
		if c.step > 2 && (c.step > 3 || c.script == datagrams) {
			node = int(c.away)
		}
	}
	n := t.mesh.Nodes[node]
	b := n.dev.room(int(i)%len(n.Workers), len(a.frame)) // any queue, but one for a life
	if b == nil {
		t.Count.Lost++
		return
	}
	a.put(b, &n.dev.mac, src, dst, ports)
	if c.script == datagrams {
		binary.BigEndian.PutUint32(b[atUDP:], i)
		return
	}
	binary.BigEndian.PutUint32(b[atSeq:], i<<seqBits+a.seq)
	binary.BigEndian.PutUint32(b[atAck:], i<<seqBits+a.ack)
}

// arrived takes a frame that a node sent to a client or a server.
func (t *Traffic) arrived(f []byte, dst uint32) {
	i, off := uint32(0), uint32(0)
	if f[atProto] == flow.ProtoTCP {
		i = binary.BigEndian.Uint32(f[atSeq:])
		i, off = i>>seqBits, i&(1<<seqBits-1)
	} else {
		i = binary.BigEndian.Uint32(f[atUDP:])
	}
	if int(i) >= len(t.life) {
		t.Count.Stray++
		return
	}
	c := &t.life[i]
	if c.step == 0 || c.seen {
		t.Count.Stray++
		return
	}
	a := &lives[c.script][c.step-1]
	if toServer := dst&netMask == serverNet; toServer != a.client || off != a.seq && f[atProto] == flow.ProtoTCP {
		t.Count.Stray++
		return
	}
	c.seen = true
	if c.step == 1 {
		c.local, c.server = binary.BigEndian.Uint32(f[atSrc:]), dst
		c.localPort, c.serverPort = binary.BigEndian.Uint16(f[atPorts:]), binary.BigEndian.Uint16(f[atPorts+2:])
	}
	if t.mesh.rounds-c.sent > 1 {
		t.Count.Late++
		if c.script == datagrams && c.step == 1 {
			t.Count.LateUDP++
		}
	}
}
