package conntrack

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// session number i of a benchmark: distinct tuples, laid out as a load balancer would.
func benchSession(i uint32, six bool, s *flow.Session) {
	port := uint64(1024 + i%60000)
	client, laddr := uint64(0x0a000000+i/60000), uint64(0xac100000+i/60000)
	const meta = flow.ProtoTCP<<8 | flow.IPv4
	s.Orig = flow.Key{Addr: [4]uint64{client<<32 | 0xc6336401}, Meta: port<<48 | 80<<32 | meta}
	s.Reply = flow.Key{Addr: [4]uint64{0xc0a80001<<32 | laddr}, Meta: 8080<<48 | port<<32 | meta}
	if six {
		s.Orig = flow.Key{Addr: [4]uint64{0x20010db8 << 32, client, 0x20010db8<<32 | 1, 1}, Meta: s.Orig.Meta + 2}
		s.Reply = flow.Key{Addr: [4]uint64{0xfd00 << 48, 1, 0xfd01 << 48, laddr}, Meta: s.Reply.Meta + 2}
	}
	s.Birth, s.Owner, s.Term, s.Ver, s.Service, s.Server = flow.Birth(i), me, 1, 1, 1, i%100
	s.Mode, s.State, s.Timeout = flow.FullNAT, flow.TCPEstablished, 3600
	s.Seq = [2]flow.SeqHint{{Next: i, Ack: 7, Seen: true}, {Next: 7, Ack: i, Seen: true}}
}

func fill(b testing.TB, n int, six bool) *Table {
	c := Config{CapacityV4: n}
	if six {
		c = Config{CapacityV6: n}
	}
	t := newTable(b, c)
	var s flow.Session
	for i := range n {
		benchSession(uint32(i), six, &s)
		if _, err := t.Insert(&s); err != nil {
			b.Fatal(i, err)
		}
	}
	return t
}

// threadTime is the processor time of this thread in nanoseconds: what others on the machine do counts for less.
func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

func BenchmarkLookupBatchAndTouch(b *testing.B) {
	for _, six := range []bool{false, true} {
		for _, n := range []int{1000, 100_000, 1_000_000, 10_000_000, 20_000_000} {
			if testing.Short() && n > 1_000_000 {
				continue
			}
			b.Run(fmt.Sprintf("v6=%v/sessions=%d", six, n), func(b *testing.B) {
				t := fill(b, n, six)
				const ahead = 1 << 8 // bursts of keys prepared outside the measured time
				rnd := rand.New(rand.NewPCG(1, 2))
				keys := make([]flow.Key, ahead*BurstMax)
				var s flow.Session
				for i := range keys {
					benchSession(rnd.Uint32N(uint32(n)), six, &s)
					keys[i] = s.Orig
					if i&1 != 0 {
						keys[i] = s.Reply
					}
				}
				var refs [BurstMax]Ref
				seg := Segment{Flags: ACK, Ack: 7, Seq: 1, Payload: 100}
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				start := threadTime(b)
				b.ResetTimer()
				for i := 0; i < b.N; i += BurstMax {
					k := keys[i%len(keys):][:BurstMax]
					t.LookupBatch(k, refs[:])
					now := expiry.Tick(i)
					for _, r := range refs {
						if r == 0 {
							b.Fatal("miss")
						}
						t.Touch(r.Handle(), r.Dir(), &seg, now)
					}
				}
				b.ReportMetric(float64(threadTime(b)-start)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
