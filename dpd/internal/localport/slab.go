package localport

// pageNodes is how many nodes are allocated together, so that the slab grows without moving.
const pageNodes = 1024

// slab holds the nodes and finds them by key.
type slab struct {
	index index
	pages [][]node
	free  []uint32
	chunk chunks
	max   int
	used  int
	high  uint32 // nodes below were used at some time
	walk  uint32 // where the search for something to reclaim goes on
}

func newSlab(limit int, random func([]byte)) slab {
	return slab{index: newIndex(limit, random), max: limit}
}

func (s *slab) at(i uint32) *node { return &s.pages[i/pageNodes][i%pageNodes] }

// find is the node of a key and its number, which stands as long as a port of it is in use.
func (s *slab) find(k *nodeKey) (*node, uint32) {
	hash := s.index.hash(k)
	for at := s.index.first(hash); ; at = s.index.after(at) {
		e := s.index.slot[at]
		if e == 0 {
			return nil, 0
		}
		if tagOf(e) == uint32(hash) {
			if n := s.at(nodeOf(e)); n.key == *k {
				return n, nodeOf(e)
			}
		}
	}
}

// add makes a node, or returns nil when there are as many as may be.
func (s *slab) add(k *nodeKey) (*node, uint32) {
	if s.used == s.max {
		return nil, 0
	}
	if len(s.free) == 0 {
		first := uint32(len(s.pages) * pageNodes)
		s.pages = append(s.pages, make([]node, pageNodes))
		for i := range uint32(pageNodes) {
			s.free = append(s.free, first+pageNodes-1-i)
		}
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.index.add(s.index.hash(k), i)
	s.used++
	s.high = max(s.high, i+1)
	n := s.at(i)
	*n = node{key: *k, live: true}
	return n, i
}

// reclaim looks at up to n nodes for one of which no port is in use, forgets it, and says whether it found one.
func (s *slab) reclaim(n int) bool {
	for ; n > 0 && s.high > 0; n-- {
		if s.walk >= s.high {
			s.walk = 0
		}
		i := s.walk
		s.walk++
		if d := s.at(i); d.live && d.inUse == 0 {
			d.queue.clear(&s.chunk)
			s.index.remove(s.index.hash(&d.key), i, func(n uint32) uint64 { return s.index.hash(&s.at(n).key) })
			*d = node{}
			s.free = append(s.free, i)
			s.used--
			return true
		}
	}
	return false
}
