package main

import (
	"net/netip"
	"slices"
	"sync"
)

// member is a node as the control plane knows it.
type member struct {
	name string
	id   uint32
	inc  uint64
	sips []netip.AddrPort // IPv4, IPv6
}

// record is a sync datagram as it was seen.
type record struct {
	from, to int // nodes
	v6       bool
	payload  []byte // never written to
}

// ring keeps the last records.
type ring struct {
	list []record
	next int
	max  int
}

func (r *ring) add(x record) {
	if len(r.list) < r.max {
		r.list = append(r.list, x)
		return
	}
	r.list[r.next] = x
	r.next = (r.next + 1) % r.max
}

// Eras of records.
const (
	present = iota // both nodes still live the life in which it was sent
	links          // the receiver has begun a new life since, so the link is a former one
	lives          // the sender has begun a new life since
	numEras
)

// book holds what an observer of the segment heard: the members, and sync datagrams by era. Its
// methods may be called at the same time.
type book struct {
	mu      sync.Mutex
	members []member
	recent  map[[2]int]*ring // of the present, by sender and receiver
	hellos  [numEras]ring    // greetings apart: they are few among all others
	eras    [numEras]ring    // the former ones; eras[present] is empty
}

const (
	keepRecent = 512
	keepFormer = 4096
	keepHellos = 256
)

func newBook() *book {
	b := &book{recent: map[[2]int]*ring{}}
	for e := range b.eras {
		b.eras[e].max, b.hellos[e].max = keepFormer, keepHellos
	}
	return b
}

// know takes the members from the control plane.
func (b *book) know(members []member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range members {
		if i < len(b.members) {
			members[i].inc = max(members[i].inc, b.members[i].inc)
		}
	}
	b.members = members
}

// all is a copy of the members.
func (b *book) all() []member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.members)
}

// owner finds the node that an address and port belong to; -1 if none does.
func (b *book) owner(a netip.AddrPort) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.find(a)
}

// find is owner for a caller that holds the lock.
func (b *book) find(a netip.AddrPort) int {
	return slices.IndexFunc(b.members, func(m member) bool { return slices.Contains(m.sips, a) })
}

// heard takes a datagram that a node sent to another one. The caller holds the lock.
func (b *book) heard(from, to int, v6 bool, payload []byte) {
	h, ok := readHeader(payload)
	if !ok || b.members[from].id != h.sender || h.inc < b.members[from].inc {
		return
	}
	if h.inc > b.members[from].inc {
		b.members[from].inc = h.inc
		b.age(from)
	}
	x := record{from, to, v6, slices.Clone(payload)}
	if len(payload) == helloLen && h.lane == 0 {
		b.hellos[present].add(x)
	}
	r := b.recent[[2]int{from, to}]
	if r == nil {
		r = &ring{max: keepRecent}
		b.recent[[2]int{from, to}] = r
	}
	r.add(x)
}

// age moves what belongs to a former life of a node.
func (b *book) age(node int) {
	era := func(x record) int {
		switch node {
		case x.from:
			return lives
		case x.to:
			return links
		}
		return present
	}
	for from := range b.members {
		for to := range b.members {
			k := [2]int{from, to}
			r := b.recent[k]
			if r == nil || from != node && to != node {
				continue
			}
			for _, x := range r.list {
				b.eras[era(x)].add(x)
			}
			delete(b.recent, k)
		}
	}
	for _, e := range []int{present, links} {
		old := b.hellos[e].list
		b.hellos[e] = ring{max: keepHellos}
		for _, x := range old {
			b.hellos[max(era(x), e)].add(x)
		}
	}
}

// pick chooses a datagram of an era; false when none was heard. n is a random number.
func (b *book) pick(era int, n uint64) (record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if era != present {
		return choose(b.eras[era].list, n)
	}
	total := 0
	for i := range b.members {
		for j := range b.members {
			if r := b.recent[[2]int{i, j}]; r != nil {
				total += len(r.list)
			}
		}
	}
	if total == 0 {
		return record{}, false
	}
	at := int(n % uint64(total))
	for i := range b.members {
		for j := range b.members {
			r := b.recent[[2]int{i, j}]
			if r == nil {
				continue
			}
			if at < len(r.list) {
				return r.list[at], true
			}
			at -= len(r.list)
		}
	}
	return record{}, false
}

// greeting chooses a HELLO or HELLO_ACK of an era.
func (b *book) greeting(era int, n uint64) (record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return choose(b.hellos[era].list, n)
}

func choose(list []record, n uint64) (record, bool) {
	if len(list) == 0 {
		return record{}, false
	}
	return list[n%uint64(len(list))], true
}
