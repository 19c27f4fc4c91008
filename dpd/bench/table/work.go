package main

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/expiry"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

const (
	burst = 64         // as many as rte_hash takes at once
	chunk = 32 * burst // look-ups between two looks at the clock
)

var me = flow.Node{ID: 1, Inc: 1}

// key is tuple d of session i; baseline/rte_hash.c makes the same.
func key(i uint32, d flow.Direction, six bool, k *flow.Key) {
	port, step := uint64(1024+i%60000), uint64(i/60000)
	const meta = flow.ProtoTCP<<8 | flow.IPv4
	if d == flow.In {
		*k = flow.Key{Addr: [4]uint64{(0x0a000000+step)<<32 | 0xc6336401}, Meta: port<<48 | 80<<32 | meta}
	} else {
		*k = flow.Key{Addr: [4]uint64{0xc0a80001<<32 | 0xac100000 + step}, Meta: 8080<<48 | port<<32 | meta}
	}
	if six {
		k.Meta += flow.IPv6 - flow.IPv4
		k.Addr = [4]uint64{0x20010db8 << 32, k.Addr[0] >> 32, 0x20010db8<<32 | 1, k.Addr[0] & 0xffffffff}
	}
}

func session(i uint32, six bool, s *flow.Session) {
	key(i, flow.In, six, &s.Orig)
	key(i, flow.Out, six, &s.Reply)
	s.Birth, s.Owner, s.Term, s.Ver, s.Service, s.Server = flow.Birth(i), me, 1, 1, 1, i%100
	s.Mode, s.State, s.Timeout = flow.FullNAT, flow.TCPEstablished, 3600
	s.Seq = [2]flow.SeqHint{{Next: i, Ack: 7, Seen: true}, {Next: 7, Ack: i, Seen: true}}
}

func newTable(v4, v6 int) (*conntrack.Table, error) {
	t, err := conntrack.New(conntrack.Config{CapacityV4: v4, CapacityV6: v6})
	if err != nil {
		return nil, err
	}
	return t, t.SetSelf(me)
}

func filled(n int, six bool) (*conntrack.Table, error) {
	v4, v6 := n, 0
	if six {
		v4, v6 = 0, n
	}
	t, err := newTable(v4, v6)
	if err != nil {
		return nil, err
	}
	var s flow.Session
	for i := range n {
		session(uint32(i), six, &s)
		if _, err := t.Insert(&s); err != nil {
			return nil, fmt.Errorf("session %d of %d: %w", i, n, errors.Join(err, t.Close()))
		}
	}
	return t, nil
}

// mix is splitmix64.
func mix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// random makes a chunk of keys, half of each direction.
func random(seed *uint64, n int, six bool, keys *[chunk]flow.Key) {
	for i := range keys {
		session, _ := bits.Mul64(mix(seed), uint64(n))
		key(uint32(session), flow.Direction(i&1), six, &keys[i])
	}
}

var errMiss = errors.New("a session wasn't found")

// lookups measures look-up and update, in nanoseconds each: in bursts, or one at a time.
func lookups(t *conntrack.Table, n int, six, single bool, seed uint64, count int) (float64, error) {
	var keys [chunk]flow.Key
	var refs [burst]conntrack.Ref
	seg := conntrack.Segment{Flags: conntrack.ACK, Seq: 1, Ack: 7, Payload: 100}
	var spent time.Duration
	done := 0
	for ; done < count; done += chunk {
		random(&seed, n, six, &keys)
		now := expiry.Tick(done)
		start, err := threadTime()
		if err != nil {
			return 0, err
		}
		for at := 0; at < chunk; at += burst {
			b := keys[at:][:burst]
			if single {
				for i := range b {
					h, d, ok := t.Find(&b[i])
					if !ok {
						return 0, errMiss
					}
					t.Touch(h, d, &seg, now)
				}
				continue
			}
			t.LookupBatch(b, refs[:])
			for _, r := range refs {
				if r == 0 {
					return 0, errMiss
				}
				t.Touch(r.Handle(), r.Dir(), &seg, now)
			}
		}
		end, err := threadTime()
		if err != nil {
			return 0, err
		}
		spent += end - start
	}
	return float64(spent) / float64(done), nil
}
