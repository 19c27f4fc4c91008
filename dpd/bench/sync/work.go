package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// shape is what sessions have in common: how many services, servers of each, and local addresses there are.
type shape struct{ services, servers, laddrs uint32 }

// usual is the shape of all rows that name no other.
var usual = shape{4, 16, 4}

func (s shape) String() string { return fmt.Sprintf("%dx%dx%d", s.services, s.servers, s.laddrs) }

const (
	ipUDP = 20 + 8 // IPv4 and UDP header of a datagram
	// sessions are more than the caches hold: 64 Ki messages of 192 bytes.
	sessions = 1 << 16
)

// work is one set of sessions and its datagrams.
type work struct {
	messages []syncwire.Message
	builder  *syncwire.Builder
	decoder  *syncwire.Decoder
	ring     syncseal.Ring
	link     syncseal.Link
	sealer   *syncseal.Sealer
	buf      []byte
	sealed   [][]byte
	plain    [][]byte
	bytes    int // of all sealed datagrams
}

func newWork(family uint8, mtu int, s shape) (*work, error) { return workOf(messages(family, s), mtu) }

// bytesOfSession is what a session takes of the wire, headers of IP and UDP included.
func (w *work) bytesOfSession() float64 {
	return float64(w.bytes+ipUDP*len(w.sealed)) / float64(len(w.messages))
}

func workOf(list []syncwire.Message, mtu int) (*work, error) {
	w := &work{
		messages: list,
		link:     syncseal.Link{Inc: 10, Sender: 1, Receiver: 2, Salt: 3, Lane: syncwire.LaneBulk},
		decoder:  syncwire.NewDecoder(),
		buf:      make([]byte, mtu),
	}
	key := syncseal.Key{ID: 1, Secret: [syncseal.SecretLen]byte{1}}
	if err := w.ring.Set(1, key); err != nil {
		return nil, err
	}
	w.builder = syncwire.NewBuilder(w.link.Inc, w.link.Sender)
	w.sealer = syncseal.NewSealer(&w.ring, w.link)
	_, err := w.build(func(p []byte) error {
		w.plain = append(w.plain, append([]byte(nil), p...))
		q, _, err := w.sealer.Seal(p)
		w.sealed = append(w.sealed, append([]byte(nil), q...))
		w.bytes += len(q)
		return err
	})
	return w, err
}

// messages are FullNAT sessions of random clients, born within an hour.
func messages(family uint8, s shape) []syncwire.Message {
	rnd := rand.New(rand.NewPCG(1, uint64(family)))
	out := make([]syncwire.Message, sessions)
	for i := range out {
		svc, srv, local := rnd.Uint32N(s.services), rnd.Uint32N(s.servers), rnd.Uint32N(s.laddrs)
		m := &out[i]
		m.Kind = syncwire.KindSession
		r := &m.Rec
		meta := func(src, dst uint32) uint64 { return uint64(src)<<48 | uint64(dst)<<32 | 6<<8 | uint64(family) }
		port := 1024 + rnd.Uint32N(64000)
		r.Orig.Meta, r.Reply.Meta = meta(rnd.Uint32N(1<<16), 443), meta(8443, port)
		if family == 4 {
			r.Orig.Addr[0] = uint64(rnd.Uint32())<<32 | uint64(0xc6336400+svc)
			r.Reply.Addr[0] = uint64(0x0a000000+svc<<8+srv)<<32 | uint64(0x0a010000+local)
		} else {
			const net = 0x20010db8 << 32
			r.Orig.Addr = [4]uint64{rnd.Uint64(), rnd.Uint64(), net, uint64(svc)}
			r.Reply.Addr = [4]uint64{net | 1, uint64(svc<<8 + srv), net | 2, uint64(local)}
		}
		r.Birth = (1_795_000_000_000+rnd.Uint64N(3600_000))<<16 | rnd.Uint64N(20)
		r.OwnerInc, r.OwnerID, r.Term, r.Ver = 10, 1, 1, 1+rnd.Uint32N(5)
		r.Service, r.Server = 1+svc, 1+svc*s.servers+srv
		r.Idle, r.Timeout, r.Mode, r.State, r.Bits, r.Bucket = rnd.Uint32N(3600_000), 3600, 1, 1, 3, uint8(port)
	}
	return out
}

// build encodes all sessions once and returns their number.
func (w *work) build(each func([]byte) error) (int, error) {
	for i := 0; i < len(w.messages); {
		w.builder.Reset(w.buf, syncwire.LaneBulk, 1, 1)
		first := i
		for i < len(w.messages) && w.builder.Message(&w.messages[i]) == syncwire.Added {
			i++
		}
		if i == first {
			return 0, fmt.Errorf("session %d fits no datagram", i)
		}
		if err := each(w.builder.Finish()); err != nil {
			return 0, err
		}
	}
	return len(w.messages), nil
}

func (w *work) encode() (int, error) {
	return w.build(func(p []byte) error {
		_, _, err := w.sealer.Seal(p)
		return err
	})
}

func (w *work) encodeOpen() (int, error) {
	return w.build(func([]byte) error { return nil })
}

func (w *work) decode() (int, error) {
	o := syncseal.NewOpener(&w.ring, w.link)
	n := 0
	var h syncwire.Header
	for _, p := range w.sealed {
		q := w.buf[:copy(w.buf, p)]
		if why := h.Read(q); why != syncwire.OK {
			return 0, fmt.Errorf("header: %v", why)
		}
		tlvs, v := o.Open(&h, q)
		if v != syncseal.Opened {
			return 0, fmt.Errorf("open: %v", v)
		}
		f, why := w.decoder.Decode(&h, tlvs)
		if why != syncwire.OK {
			return 0, fmt.Errorf("decode: %v", why)
		}
		n += len(f.Messages)
	}
	return n, nil
}

func (w *work) decodeOpen() (int, error) {
	n := 0
	h := syncwire.Header{Inc: w.link.Inc, Sender: w.link.Sender, Lane: w.link.Lane}
	for _, p := range w.plain {
		q := w.buf[:copy(w.buf, p)]
		f, why := w.decoder.Decode(&h, q[syncwire.HeaderLen:])
		if why != syncwire.OK {
			return 0, fmt.Errorf("decode: %v", why)
		}
		n += len(f.Messages)
	}
	return n, nil
}
