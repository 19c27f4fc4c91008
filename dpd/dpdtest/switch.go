package dpdtest

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// Impair is what a wire does to frames. Probabilities are between 0 and 1, delays in milliseconds.
type Impair struct {
	Loss      float64
	Duplicate float64
	// Reorder is the share of frames that are held for HoldMS more, and so are overtaken.
	Reorder float64
	HoldMS  int64
	// A frame takes from DelayMin to DelayMax, drawn evenly.
	DelayMin, DelayMax int64
}

// Switch joins stations: it learns MACs, floods what it does not know, and impairs by a seed. Without delay frames are
// delivered at once, on the sender's thread; with it, by Advance. Deliveries of one moment keep their order. Any thread.
type Switch struct {
	mu      sync.Mutex
	rng     *rand.Rand
	now     int64
	serial  uint64
	ports   []*switchPort
	macs    map[[6]byte]int
	pending []inFlight // by (at, serial)
	taps    []func(now int64, from int, frame []byte)
	lost    uint64
}

type switchPort struct {
	station Station
	impair  Impair
	cut     bool
}

type inFlight struct {
	at     int64
	serial uint64
	to     int
	frame  []byte
}

// NewSwitch makes a switch whose impairments follow from seed.
func NewSwitch(seed uint64) *Switch {
	return &Switch{rng: rand.New(rand.NewPCG(seed, 0x5117c4)), macs: map[[6]byte]int{}}
}

// Attach plugs a station in and returns its port number and what sends a frame from it. A *Port is connected as well.
func (s *Switch) Attach(st Station) (int, func(frame []byte)) {
	s.mu.Lock()
	n := len(s.ports)
	s.ports = append(s.ports, &switchPort{station: st})
	s.mu.Unlock()
	send := func(frame []byte) { s.input(n, frame) }
	if p, ok := st.(*Port); ok {
		p.Connect(send)
	}
	return n, send
}

// Impair sets what happens to frames on their way to the station at this port.
func (s *Switch) Impair(port int, i Impair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[port].impair = i
}

// Cut unplugs the station at this port, both ways, or plugs it in again.
func (s *Switch) Cut(port int, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[port].cut = cut
}

// Tap shows every frame that enters the switch, before impairment. The callback must not keep or change it.
func (s *Switch) Tap(f func(now int64, from int, frame []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps = append(s.taps, f)
}

// Lost is the number of frames that were lost on purpose.
func (s *Switch) Lost() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// InFlight is the number of frames on their way.
func (s *Switch) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Now is the switch's time in milliseconds.
func (s *Switch) Now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance moves the time to now and delivers what has arrived by then, in order.
func (s *Switch) Advance(now int64) {
	for {
		s.mu.Lock()
		if len(s.pending) == 0 || s.pending[0].at > now {
			s.now = max(s.now, now)
			s.mu.Unlock()
			return
		}
		f := s.pending[0]
		s.pending = s.pending[1:]
		s.now = max(s.now, f.at)
		st := s.ports[f.to]
		cut := st.cut
		s.mu.Unlock()
		if !cut {
			st.station.Deliver(f.frame)
		}
	}
}

func (s *Switch) input(from int, frame []byte) {
	if len(frame) < 14 {
		return
	}
	s.mu.Lock()
	if s.ports[from].cut {
		s.mu.Unlock()
		return
	}
	for _, tap := range s.taps {
		tap(s.now, from, frame)
	}
	dst, src := [6]byte(frame), [6]byte(frame[6:])
	if src[0]&1 == 0 {
		s.macs[src] = from
	}
	var at []int
	if to, ok := s.macs[dst]; ok && dst[0]&1 == 0 {
		if to != from {
			at = []int{to}
		}
	} else {
		for i := range s.ports {
			if i != from {
				at = append(at, i)
			}
		}
	}
	var direct []Station
	for _, to := range at {
		direct = s.carry(to, frame, direct)
	}
	s.mu.Unlock()
	for _, st := range direct {
		st.Deliver(frame)
	}
}

// carry puts a frame on its way to one station, or into direct when it takes no time.
func (s *Switch) carry(to int, frame []byte, direct []Station) []Station {
	p := s.ports[to]
	if p.cut {
		return direct
	}
	copies := 1
	if s.chance(p.impair.Duplicate) {
		copies = 2
	}
	for range copies {
		if s.chance(p.impair.Loss) {
			s.lost++
			continue
		}
		delay := p.impair.DelayMin
		if d := p.impair.DelayMax - p.impair.DelayMin; d > 0 {
			delay += s.rng.Int64N(d + 1)
		}
		if s.chance(p.impair.Reorder) {
			delay += p.impair.HoldMS
		}
		if delay == 0 {
			direct = append(direct, p.station)
			continue
		}
		s.serial++
		f := inFlight{at: s.now + delay, serial: s.serial, to: to, frame: append([]byte(nil), frame...)}
		i, _ := slices.BinarySearchFunc(s.pending, f, func(a, b inFlight) int {
			if a.at != b.at {
				return int(a.at - b.at)
			}
			return int(int64(a.serial) - int64(b.serial))
		})
		s.pending = slices.Insert(s.pending, i, f)
	}
	return direct
}

func (s *Switch) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }
