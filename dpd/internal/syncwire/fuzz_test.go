package syncwire

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// content is what a receiver acts upon: a Frame without its bookkeeping.
type content struct {
	view, sent uint64
	messages   []Message
	digests    []DigestSums
	replies    []DigestReply
	gaps       []Gap
	uses       []LaddrUse
	once       map[Kind]any
}

func (c *content) add(f *Frame) {
	c.view, c.sent = f.View, f.Sent
	c.messages = append(c.messages, f.Messages...)
	c.digests = append(c.digests, f.Digests...)
	c.replies = append(c.replies, f.Replies...)
	c.gaps = append(c.gaps, f.Gaps...)
	c.uses = append(c.uses, f.LaddrUses...)
	for k, v := range map[Kind]any{
		KindHello: f.Hello, KindHelloAck: f.HelloAck, KindProbe: f.Probe, KindBulkBegin: f.BulkBegin,
		KindBulkEnd: f.BulkEnd, KindFenced: f.Fenced,
	} {
		if f.Has(k) {
			c.once[k] = v
		}
	}
}

// encode writes a content into as many datagrams as it takes.
func (c *content) encode(t *testing.T, b *Builder, mtu int) (out [][]byte) {
	t.Helper()
	reset := func() { b.Reset(make([]byte, mtu), LaneLive, c.view, c.sent) }
	put := func(what any, add func() Outcome) {
		o := add()
		if o == Full {
			out = append(out, b.Finish())
			reset()
			o = add()
		}
		if o != Added {
			t.Fatalf("what was decoded can't be encoded: outcome %d of %+v", o, what)
		}
	}
	reset()
	for i := range c.messages {
		put(c.messages[i], func() Outcome { return b.Message(&c.messages[i]) })
	}
	for i := range c.digests {
		put(c.digests[i], func() Outcome { return b.Digest(&c.digests[i]) })
	}
	for i := range c.replies {
		put(c.replies[i], func() Outcome { return b.DigestReply(&c.replies[i]) })
	}
	for i := range c.gaps {
		put(c.gaps[i], func() Outcome { return b.Gap(&c.gaps[i]) })
	}
	for i := range c.uses {
		put(c.uses[i], func() Outcome { return b.LaddrUse(&c.uses[i]) })
	}
	for k := range Kind(NumKinds) {
		switch v := c.once[k].(type) {
		case Hello:
			put(v, func() Outcome { return b.Hello(&v, k == KindHelloAck) })
		case Probe:
			put(v, func() Outcome { return b.Probe(&v) })
		case Bulk:
			put(v, func() Outcome { return b.Bulk(&v, k == KindBulkEnd) })
		case Fenced:
			put(v, func() Outcome { return b.Fenced(&v) })
		}
	}
	return append(out, b.Finish())
}

// FuzzDecode gives a receiver arbitrary TLVs, as a peer that holds the key but is wrong or hostile could. Whatever is
// accepted must survive being sent on: encoding and decoding it gives the same, at the smallest MTU too.
func FuzzDecode(f *testing.F) {
	b := NewBuilder(selfInc, selfID)
	for _, row := range goldenRows {
		b.Reset(make([]byte, 1400), row.lane, 2, 3)
		row.build(b)
		f.Add(slices.Clone(b.Finish()[HeaderLen:]))
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		b.Reset(make([]byte, 1400), LaneLive, 2, 3)
		for m := randMessage(rnd); b.Message(&m) == Added; m = randMessage(rnd) {
		}
		p := slices.Clone(b.Finish()[HeaderLen:])
		f.Add(p)
		for range 20 { // near misses say more than noise
			q := slices.Clone(p[:1+rnd.IntN(len(p))])
			for range 1 + rnd.IntN(4) {
				q[rnd.IntN(len(q))] ^= 1 << rnd.IntN(8)
			}
			f.Add(q)
		}
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, tlvs []byte) {
		frame, why := d.Decode(testHeader(LaneLive), tlvs)
		if why != OK {
			if frame != nil {
				t.Fatal("refused, but handed out")
			}
			return
		}
		first := content{once: map[Kind]any{}}
		first.add(frame)
		second := content{once: map[Kind]any{}}
		for _, p := range first.encode(t, b, MinMTU) {
			frame, why := d.Decode(testHeader(LaneLive), p[HeaderLen:])
			if why != OK {
				t.Fatalf("our own datagram is refused: %v", why)
			}
			second.add(frame)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("changed on the way\n was %+v\n  is %+v", first, second)
		}
	})
}
