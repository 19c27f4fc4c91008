package syncseal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// benchRecords are FullNAT sessions of random clients: 4 services of 16 servers each, 4 local addresses, births within an hour.
func benchRecords(family uint8, n int) []syncwire.Message {
	rnd := rand.New(rand.NewPCG(1, uint64(family)))
	out := make([]syncwire.Message, n)
	for i := range out {
		svc, srv, local := rnd.Uint32N(4), rnd.Uint32N(16), rnd.Uint32N(4)
		m := &out[i]
		m.Kind = syncwire.KindSession
		r := &m.Rec
		meta := func(src, dst uint32) uint64 { return uint64(src)<<48 | uint64(dst)<<32 | 6<<8 | uint64(family) }
		lport := 1024 + rnd.Uint32N(64000)
		r.Orig.Meta, r.Reply.Meta = meta(rnd.Uint32N(1<<16), 443), meta(8443, lport)
		if family == 4 {
			r.Orig.Addr[0] = uint64(rnd.Uint32())<<32 | uint64(0xc6336400+svc)
			r.Reply.Addr[0] = uint64(0x0a000000+svc<<8+srv)<<32 | uint64(0x0a010000+local)
		} else {
			const net = 0x20010db8 << 32
			r.Orig.Addr = [4]uint64{rnd.Uint64(), rnd.Uint64(), net, uint64(svc)}
			r.Reply.Addr = [4]uint64{net | 1, uint64(svc<<8 + srv), net | 2, uint64(local)}
		}
		r.Birth = (1_795_000_000_000+rnd.Uint64N(3600_000))<<16 | rnd.Uint64N(20)
		r.OwnerInc, r.OwnerID, r.Term, r.Ver = testLink.Inc, testLink.Sender, 1, 1+rnd.Uint32N(5)
		r.Service, r.Server = 1+svc, 1+svc*16+srv
		r.Idle, r.Timeout, r.Mode, r.State, r.Bits, r.Bucket = rnd.Uint32N(3600_000), 3600, 1, 1, 3, uint8(lport)
	}
	return out
}

// bulk builds, and seals if s isn't nil, the datagrams of one round over the records.
func bulk(b *testing.B, bld *syncwire.Builder, s *Sealer, ms []syncwire.Message, buf []byte, each func(datagram []byte)) {
	for i := 0; i < len(ms); {
		bld.Reset(buf, syncwire.LaneBulk, 1, 1)
		for i < len(ms) && bld.Message(&ms[i]) == syncwire.Added {
			i++
		}
		p := bld.Finish()
		if s != nil {
			var err error
			if p, _, err = s.Seal(p); err != nil {
				b.Fatal(err)
			}
		}
		each(p)
	}
}

func perSession(b *testing.B, sessions, bytes int) {
	b.ReportMetric(float64(sessions)/b.Elapsed().Seconds()/1e6, "Msessions/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sessions), "ns/session")
	b.ReportMetric(float64(bytes)/float64(sessions), "B/session")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBulk is encoding with and without the seal, and opening and decoding with and without it.
func BenchmarkBulk(b *testing.B) {
	link := testLink
	link.Lane = syncwire.LaneBulk
	for _, family := range []uint8{4, 6} {
		ms := benchRecords(family, 1<<13)
		for _, mtu := range []int{1400, 8000} {
			for _, sealed := range []bool{true, false} {
				name := fmt.Sprintf("family=%d/mtu=%d/sealed=%v", family, mtu, sealed)
				var ring Ring
				if err := ring.Set(7, testKey(7)); err != nil {
					b.Fatal(err)
				}
				bld, buf := syncwire.NewBuilder(link.Inc, link.Sender), make([]byte, mtu)
				b.Run("encode/"+name, func(b *testing.B) {
					s := NewSealer(&ring, link)
					if !sealed {
						s = nil
					}
					sessions, bytes := 0, 0
					for b.Loop() {
						bulk(b, bld, s, ms, buf, func(p []byte) { bytes += len(p) })
						sessions += len(ms)
					}
					perSession(b, sessions, bytes)
				})
				b.Run("decode/"+name, func(b *testing.B) {
					s, d := NewSealer(&ring, link), syncwire.NewDecoder()
					var datagrams [][]byte
					bulk(b, bld, s, ms, buf, func(p []byte) { datagrams = append(datagrams, append([]byte(nil), p...)) })
					o := NewOpener(&ring, link)
					var plains [][]byte
					var h syncwire.Header
					for _, p := range datagrams {
						q := append([]byte(nil), p...)
						h.Read(q)
						tlvs, v := o.Open(&h, q)
						if v != Opened {
							b.Fatal(v)
						}
						plains = append(plains, tlvs)
					}
					work := make([]byte, mtu)
					sessions, bytes := 0, 0
					for b.Loop() {
						o.window = Window{} // the same datagrams again
						for i, p := range datagrams {
							tlvs := plains[i]
							h.Read(p)
							if sealed {
								var v Verdict
								if tlvs, v = o.Open(&h, work[:copy(work, p)]); v != Opened {
									b.Fatal(v)
								}
							}
							f, why := d.Decode(&h, tlvs)
							if why != syncwire.OK {
								b.Fatal(why)
							}
							sessions += len(f.Messages)
							bytes += len(p)
						}
					}
					perSession(b, sessions, bytes)
				})
			}
		}
	}
}
