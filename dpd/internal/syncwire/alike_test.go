package syncwire

import (
	"math/rand/v2"
	"testing"
)

// Paths that differ in one word only once shared a dictionary entry when their hashes met, and arrived with another's
// address: | and ^ bind alike in Go.
func TestPathsThatDifferInOneWordStayApart(t *testing.T) {
	for _, family := range []uint64{4, 6} {
		rnd := rand.New(rand.NewPCG(1, family))
		b, d := NewBuilder(10, 1), NewDecoder()
		buf := make([]byte, 8000)
		for range 2000 {
			b.Reset(buf, LaneBulk, 1, 1)
			var sent []Message
			for {
				var m Message
				m.Kind = KindSession
				r := &m.Rec
				r.Orig.Meta, r.Reply.Meta = 5000<<48|443<<32|6<<8|family, 8443<<48|6001<<32|6<<8|family
				r.Orig.Addr[0], r.Reply.Addr[0] = 1<<32|0xc6336401, 0x0a000001<<32|0x0a010001
				if family == 6 {
					r.Orig.Addr = [4]uint64{1 << 56, 1, 0x20010db8 << 32, 2}
					r.Reply.Addr = [4]uint64{0x20010db8 << 32, 3, 0x20010db8 << 32, 4}
				}
				switch n := rnd.Uint64N(64); rnd.IntN(4) {
				case 0:
					r.Reply.Addr[0] += n << 32
				case 1:
					r.Server += uint32(n)
				case 2:
					r.Orig.Meta += n << 32
				case 3:
					r.Reply.Meta += n << 48
				}
				r.Birth, r.OwnerInc, r.OwnerID, r.Term, r.Ver = 1<<40, 10, 1, 1, 2
				r.Timeout, r.Mode, r.State, r.Bucket = 60, 1, 1, uint8(6001&0xff)
				if b.Message(&m) != Added {
					break
				}
				sent = append(sent, m)
			}
			f, why := d.Decode(&Header{Inc: 10, Sender: 1, Lane: LaneBulk}, b.Finish()[HeaderLen:])
			if why != OK || len(f.Messages) != len(sent) {
				t.Fatalf("%v, %d of %d messages", why, len(f.Messages), len(sent))
			}
			for i := range sent {
				if f.Messages[i] != sent[i] {
					t.Fatalf("message %d of %d:\n sent %+v\n came %+v", i, len(sent), sent[i].Rec, f.Messages[i].Rec)
				}
			}
		}
	}
}
