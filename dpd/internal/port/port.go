// Package port is the contract of packet memory between a worker and whatever moves packets: a DPDK device, a pair of
// rings in memory, another worker.
//
// A packet is (Data, Ref): Data is the bytes from the Ethernet header on, in memory that the Go heap does not own; Ref is
// the driver's handle (the mbuf pointer under DPDK). Exactly one party owns a packet at a time. Rx hands packets to the
// caller; Tx takes them back, the unsent ones too (it frees and counts them); Free returns them unsent. Data is valid only
// while its packet is owned, and only Pool.Resize changes its bounds. All packets of a process come from one pool, so a
// packet received on one port may be sent or freed on another, and by another thread.
package port

const (
	// BurstMax is the greatest number of packets that a device gives at once.
	BurstMax = 64
	// BatchMax is the greatest number of packets in a batch: some bursts, so that who works on them in stages has, when one begins, what
	// the one before asked for.
	BatchMax = 256
)

// Packet is one owned packet.
type Packet struct {
	Data []byte
	Ref  uintptr
}

// Batch is a vector of owned packets, in order of arrival. It belongs to one thread.
type Batch struct {
	Pkt [BatchMax]Packet
	N   int
}

// Room is how many packets may be appended.
func (b *Batch) Room() int { return BatchMax - b.N }

// Push appends an owned packet and reports whether there was room.
func (b *Batch) Push(p Packet) bool {
	if b.Room() == 0 {
		return false
	}
	b.Pkt[b.N] = p
	b.N++
	return true
}

// Prefetch asks the memory for the first bytes of the packets, however many they are.
func (b *Batch) Prefetch() {
	if b.N > 0 {
		prefetch(&b.Pkt[0], b.N)
	}
}

// Port is one device. Each queue belongs to one thread at a time; different queues may be used at the same time.
type Port interface {
	// Rx appends up to BurstMax packets of queue q to b and returns how many; none where b has no room for a burst. Packets that can't be
	// processed (several segments, shorter than an Ethernet header) are freed and counted in Stats.
	Rx(q int, b *Batch) int
	// Tx sends b on queue q and empties it. It returns how many the device took; the rest were freed and counted.
	Tx(q int, b *Batch) int
	// Stats reads the device's counters. Any thread.
	Stats() Stats
	// Info describes the device. Any thread.
	Info() Info
	// LinkUp says whether the device has a carrier. Any thread.
	LinkUp() bool
}

// Pool makes and takes back packets. Any thread that registered with the driver.
type Pool interface {
	// Alloc returns a packet of n bytes with undefined content, or false when the pool is empty.
	Alloc(n int) (Packet, bool)
	// Free returns packets unsent and empties b.
	Free(b *Batch)
	// Resize moves the start of the packet by -head bytes (head > 0 makes room in front) and its end by tail bytes; false
	// and no change when there is no room. Negative values cut.
	Resize(p *Packet, head, tail int) bool
	// Available is the number of free packets, for metrics and leak tests.
	Available() int
}

// Info describes a device.
type Info struct {
	Name      string
	Driver    string
	MAC       [6]byte
	MTU       int
	RxQueues  int
	TxQueues  int
	Socket    int
	HasFilter bool // Filter is implemented by the driver; each rule is still proved by creating it
}

// Stats of a device since start.
type Stats struct {
	RxPackets, RxBytes    uint64
	TxPackets, TxBytes    uint64
	RxMissed, RxErrors    uint64
	RxSegmented, RxRunt   uint64 // refused at the door
	TxDropped, AllocFails uint64
}
