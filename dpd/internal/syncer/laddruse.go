package syncer

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// MaxBlocks bounds the blocks of local addresses that a Sync knows, and so what it keeps of each peer's LADDR_USE.
const MaxBlocks = 256

// UseKeep is for how long, in milliseconds, what a peer told is kept: not every round holds every block, and rounds are lost.
const UseKeep = 10_000

const (
	useEvery = 1_000 // milliseconds between two rounds of LADDR_USE
	useFresh = 2_000 // an older count is not told: who hears it takes it for one of now
)

// Block names a block of local addresses on the wire: by its lowest address and the least prefix that covers it.
type Block struct {
	ID        uint32
	Addr      [2]uint64 // as in syncwire.LaddrUse
	Family    uint8
	PrefixLen uint8
}

// MakeBlock names a block by its addresses; of two families, by those of the first one's. False when there is none.
func MakeBlock(id uint32, addrs []netip.Addr) (Block, bool) {
	of := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !a.IsValid() || a.Is4() != addrs[0].Is4() })
	if len(of) == 0 {
		return Block{}, false
	}
	low, high := slices.MinFunc(of, netip.Addr.Compare), slices.MaxFunc(of, netip.Addr.Compare)
	b := Block{ID: id, Addr: words(low), Family: flow.IPv6}
	top, most := words(high), 128
	if low.Is4() {
		b.Family, most = flow.IPv4, 32
	}
	n := bits.LeadingZeros64(b.Addr[0] ^ top[0])
	if n == 64 {
		n += bits.LeadingZeros64(b.Addr[1] ^ top[1])
	}
	b.PrefixLen = uint8(min(n, most))
	return b, true
}

func words(a netip.Addr) [2]uint64 {
	if a.Is4() {
		b := a.As4()
		return [2]uint64{uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// BlockUse is what a node holds of a block whose holder is gone.
type BlockUse struct {
	Block      uint32    // its id
	Holder     flow.Node // the life that held it
	Records    uint64
	Tombstones uint64
	FencedFor  int64 // milliseconds from the fencing of the holder to the count; 0: not fenced
}

// PeerUse is the newest that a peer told of a block.
type PeerUse struct {
	Peer flow.Node
	BlockUse
	Age int64 // milliseconds since it was told, the way included
}

// heardUse is what a peer keeps of one LADDR_USE.
type heardUse struct {
	BlockUse
	sent uint64 // by the peer's clock: the order of what it told
	at   int64
}

// uses is a Sync's part in LADDR_USE.
type uses struct {
	blocks []Block
	tell   []syncwire.LaddrUse
	at     int64 // when it was counted
	next   int64
	turn   int // where the next call of Uses begins when one doesn't hold all
}

// SetBlocks tells the machine the blocks of the view. What peers told of others is forgotten.
func (y *Sync) SetBlocks(blocks []Block) {
	if over := len(blocks) - MaxBlocks; over > 0 {
		y.Count[SyncUseLeftOut] += uint64(over)
		blocks = blocks[:MaxBlocks]
	}
	y.use.blocks = slices.Clone(blocks)
	for _, p := range y.peers {
		p.uses = slices.DeleteFunc(p.uses, func(u heardUse) bool { return y.blockOf(u.Block) == nil })
	}
}

func (y *Sync) blockOf(id uint32) *Block {
	if i := slices.IndexFunc(y.use.blocks, func(b Block) bool { return b.ID == id }); i >= 0 {
		return &y.use.blocks[i]
	}
	return nil
}

// SetUses replaces what peers are told, which was counted at that time: one entry for each block whose holder is gone.
func (y *Sync) SetUses(counted int64, list []BlockUse) {
	y.use.at, y.use.tell = counted, y.use.tell[:0]
	for _, u := range list {
		b := y.blockOf(u.Block)
		if b == nil {
			y.Count[SyncUseUnknown]++
			continue
		}
		y.use.tell = append(y.use.tell, syncwire.LaddrUse{
			Addr: b.Addr, Family: b.Family, PrefixLen: b.PrefixLen, HolderInc: u.Holder.Inc, HolderID: u.Holder.ID,
			Records: clamp(u.Records), Tombstones: clamp(u.Tombstones), FencedFor: clamp(uint64(max(u.FencedFor, 0))),
		})
	}
}

func clamp(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }

// tellUses begins a round when one is due.
func (y *Sync) tellUses() {
	u := &y.use
	if len(u.tell) == 0 || y.now < u.next || y.now-u.at > useFresh {
		return
	}
	u.next = y.now + useEvery
	for _, p := range y.peers {
		if p.theirs != 0 && p.proven && !p.over {
			p.tellUses(u.tell)
		}
	}
}

// tellUses sends one datagram, with what comes after the one before it.
func (p *peer) tellUses(list []syncwire.LaddrUse) {
	p.flush(syncwire.LaneControl)
	l := &p.out[syncwire.LaneControl]
	l.begin(syncwire.LaneControl, p.mtu.size, p.y.epoch, p.y.sent())
	n := 0
	for full := false; n < min(len(list), syncwire.LaddrUseMax) && !full; {
		switch l.builder.LaddrUse(&list[(p.turn+n)%len(list)]) {
		case syncwire.Added:
			p.y.Count[SyncUseSent]++
			n++
		case syncwire.Invalid:
			p.y.Count[SyncInvalid]++
			n++
		default:
			full = true
		}
	}
	p.turn = (p.turn + n) % len(list)
	p.flush(syncwire.LaneControl)
}

// told takes the LADDR_USE of a datagram that was on its way for age. Datagrams overtake each other: the newest of each block counts.
func (p *peer) told(f *syncwire.Frame, age int64) {
	y := p.y
	for i := range f.LaddrUses {
		w := &f.LaddrUses[i]
		b := slices.IndexFunc(y.use.blocks, func(b Block) bool {
			return b.Family == w.Family && b.PrefixLen == w.PrefixLen && b.Addr == w.Addr
		})
		switch {
		case b < 0:
			y.Count[SyncUseUnknown]++
			continue
		case w.HolderID == 0 || w.HolderInc == 0:
			y.Count[SyncUseBad]++
			continue
		}
		u := heardUse{sent: f.Sent, at: y.now - age, BlockUse: BlockUse{
			Block: y.use.blocks[b].ID, Holder: flow.Node{ID: w.HolderID, Inc: w.HolderInc},
			Records: uint64(w.Records), Tombstones: uint64(w.Tombstones), FencedFor: int64(w.FencedFor),
		}}
		at, have := slices.BinarySearchFunc(p.uses, u.Block, func(h heardUse, id uint32) int { return cmp.Compare(h.Block, id) })
		switch {
		case !have:
			p.uses = slices.Insert(p.uses, at, u)
		case p.uses[at].sent > u.sent:
			y.Count[SyncUseOld]++
			continue
		default:
			p.uses[at] = u
		}
		y.Count[SyncUseTaken]++
	}
}

// forgetUses drops what the peer has not repeated.
func (p *peer) forgetUses() {
	before := len(p.uses)
	p.uses = slices.DeleteFunc(p.uses, func(u heardUse) bool { return p.y.now-u.at > UseKeep })
	p.y.Count[SyncUseAged] += uint64(before - len(p.uses))
}

// Uses appends at most limit of what peers told. When there is more, the next call goes on where this one ended, and what is left
// out is counted.
func (y *Sync) Uses(now int64, limit int, list []PeerUse) []PeerUse {
	y.time(now)
	all := 0
	for _, p := range y.peers {
		if p.forgetUses(); !p.over {
			all += len(p.uses)
		}
	}
	from, k := 0, 0
	if all > limit {
		y.Count[SyncUseLeftOut] += uint64(all - limit)
		from = y.use.turn % all
		y.use.turn = (from + limit) % all
	}
	for _, p := range y.peers {
		if p.over {
			continue
		}
		for i := range p.uses {
			if u := &p.uses[i]; (k-from+all)%all < limit {
				list = append(list, PeerUse{Peer: p.node, BlockUse: u.BlockUse, Age: y.now - u.at})
			}
			k++
		}
	}
	return list
}

// FencedFor is for how long, in milliseconds, a life has been refused; false when it is not. A fence of a later life of its node
// begins it anew.
func (y *Sync) FencedFor(now int64, n flow.Node) (int64, bool) {
	y.time(now)
	for _, f := range y.fenced {
		if f.ID == n.ID && n.Inc < f.Inc {
			return y.now - f.at, true
		}
	}
	return 0, false
}
