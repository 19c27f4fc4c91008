package dpdtest

import (
	"sync"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// DefaultDepth bounds a receive queue of a Port, in packets.
const DefaultDepth = 1024

// PortConfig describes a Port. Zero values: one queue each way, MTU 1500, DefaultDepth.
type PortConfig struct {
	Name     string
	MAC      [6]byte
	MTU      int
	RxQueues int
	TxQueues int
	Depth    int
	// Queue chooses the receive queue of a frame, as RSS or rte_flow would; nil: always 0. Called for each frame with the port locked.
	Queue func(frame []byte) int
}

// Station is one end of a wire: it takes a copy of what it needs of frame.
type Station interface{ Deliver(frame []byte) }

// Port is a port.Port in memory: what it sends goes to the wire that it is connected to, what the wire delivers is
// copied into its pool. Any thread may use any queue.
type Port struct {
	cfg  PortConfig
	pool *Pool

	mu    sync.Mutex
	rx    [][]port.Packet
	wire  func(frame []byte)
	down  bool
	full  int // the next so many packets to send find the device full
	stats port.Stats
}

// NewPort makes a port whose packets are of pool.
func NewPort(pool *Pool, c PortConfig) *Port {
	c.RxQueues, c.TxQueues = max(c.RxQueues, 1), max(c.TxQueues, 1)
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.Depth == 0 {
		c.Depth = DefaultDepth
	}
	return &Port{cfg: c, pool: pool, rx: make([][]port.Packet, c.RxQueues)}
}

// Pair connects two ports.
func Pair(a, b *Port) {
	a.Connect(b.Deliver)
	b.Connect(a.Deliver)
}

// Connect says where sent frames go. The callee must not keep the frame.
func (p *Port) Connect(wire func(frame []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wire = wire
}

// Deliver is a frame that arrives from the wire.
func (p *Port) Deliver(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return
	}
	if len(frame) < 14 {
		p.stats.RxRunt++
		return
	}
	q := 0
	if p.cfg.Queue != nil {
		q = p.cfg.Queue(frame)
	}
	if q < 0 || q >= len(p.rx) || len(p.rx[q]) >= p.cfg.Depth {
		p.stats.RxMissed++
		return
	}
	k, ok := p.pool.Alloc(len(frame))
	if !ok {
		p.stats.AllocFails++
		return
	}
	copy(k.Data, frame)
	p.rx[q] = append(p.rx[q], k)
	p.stats.RxPackets++
	p.stats.RxBytes += uint64(len(frame))
}

// Rx appends up to port.BurstMax packets of queue q to b.
func (p *Port) Rx(q int, b *port.Batch) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.Room() < port.BurstMax {
		return 0
	}
	n := copy(b.Pkt[b.N:b.N+port.BurstMax], p.rx[q])
	b.N += n
	p.rx[q] = p.rx[q][:copy(p.rx[q], p.rx[q][n:])]
	return n
}

// Waiting is the number of packets that queue q holds.
func (p *Port) Waiting(q int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rx[q])
}

// Tx sends b and empties it. Frames leave after the port's lock is released, so that a wire may loop back.
func (p *Port) Tx(q int, b *port.Batch) int {
	p.mu.Lock()
	if q < 0 || q >= p.cfg.TxQueues {
		p.mu.Unlock()
		panic("dpdtest: no such queue")
	}
	sent := b.N
	if p.down || p.wire == nil {
		sent = 0
	} else if p.full > 0 {
		sent = max(0, b.N-p.full)
		p.full -= b.N - sent
	}
	p.stats.TxDropped += uint64(b.N - sent)
	frames := make([][]byte, sent)
	for i := range frames {
		frames[i] = append([]byte(nil), b.Pkt[i].Data...)
		p.stats.TxPackets++
		p.stats.TxBytes += uint64(len(frames[i]))
	}
	wire := p.wire
	p.mu.Unlock()
	p.pool.Free(b)
	for _, f := range frames {
		wire(f)
	}
	return sent
}

// Stats reads the counters.
func (p *Port) Stats() port.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Info describes the port.
func (p *Port) Info() port.Info {
	return port.Info{
		Name: p.cfg.Name, Driver: "dpdtest", MAC: p.cfg.MAC, MTU: p.cfg.MTU,
		RxQueues: p.cfg.RxQueues, TxQueues: p.cfg.TxQueues,
	}
}

// LinkUp says whether SetLink has not taken the carrier away.
func (p *Port) LinkUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.down
}

// SetLink takes the carrier away or gives it back. Without it nothing is sent or received.
func (p *Port) SetLink(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = !up
}

// Refuse makes the device full for the next n packets to send.
func (p *Port) Refuse(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = n
}

// Drain frees everything that waits to be received, for the end of a test.
func (p *Port) Drain() {
	var b port.Batch
	for q := range p.rx {
		for p.Rx(q, &b) > 0 {
			p.pool.Free(&b)
		}
	}
}
