package ended

// index finds entries by ID: linear hashing with chains through Entry.chain. It grows and shrinks by one bucket at a
// time, so that no change takes long, and has about as many buckets as there are entries.
type index struct {
	heads [][]uint32 // chunks of chunkLen
	n     uint32     // buckets
	half  uint32     // power of two, half <= n < 2*half: buckets n-half.. of the lower half are not split yet
}

const bucketMin = chunkLen

func newIndex() index {
	return index{heads: [][]uint32{make([]uint32, bucketMin)}, n: bucketMin, half: bucketMin}
}

func (x *index) head(b uint32) *uint32 { return &x.heads[b/chunkLen][b%chunkLen] }

// bucket is where entries of an ID are.
func (x *index) bucket(id uint64) uint32 {
	h := uint32(id)
	if b := h & (2*x.half - 1); b < x.n {
		return b
	}
	return h & (x.half - 1)
}

func (x *index) find(c *Cache, id uint64) uint32 {
	i := *x.head(x.bucket(id))
	for i != 0 && c.at(i).id() != id {
		i = c.at(i).chain
	}
	return i
}

func (x *index) insert(c *Cache, id uint64, i uint32) {
	if c.n > int(x.n) {
		x.grow(c)
	}
	h := x.head(x.bucket(id))
	c.at(i).chain = *h
	*h = i
}

// remove takes entry i, which is there, out of the chain of its ID.
func (x *index) remove(c *Cache, id uint64, i uint32) {
	at := x.head(x.bucket(id))
	for *at != i {
		at = &c.at(*at).chain
	}
	*at = c.at(i).chain
	if x.n > bucketMin && c.n < int(x.n)/2 {
		x.shrink(c)
	}
}

// grow splits one bucket.
func (x *index) grow(c *Cache) {
	if int(x.n/chunkLen) == len(x.heads) {
		x.heads = append(x.heads, make([]uint32, chunkLen))
	}
	from, to := x.head(x.n-x.half), x.head(x.n)
	i := *from
	*from, *to = 0, 0
	x.n++
	if x.n == 2*x.half {
		x.half *= 2
	}
	for i != 0 {
		e := c.at(i)
		next := e.chain
		h := x.head(x.bucket(e.id()))
		e.chain, *h = *h, i
		i = next
	}
}

// shrink joins the last bucket to the one that it was split from.
func (x *index) shrink(c *Cache) {
	x.n--
	if x.n < x.half {
		x.half /= 2
	}
	from, to := x.head(x.n), x.head(x.n-x.half)
	for i := *from; i != 0; {
		e := c.at(i)
		i, e.chain, *to = e.chain, *to, i
	}
	*from = 0
}
