package ended

// MaxLimit is the greatest number of entries of one Cache.
const MaxLimit = 1 << 28

// Entry is a session that was closed.
type Entry struct {
	// ID is a keyed 64-bit hash of birth and both tuples, in two halves for the sake of alignment.
	ID [2]uint32
	// At is the low half of the millisecond at which it was closed, or heard to be.
	At    uint32
	next  uint32 // in its list
	chain uint32 // in its bucket
	// Port is what the pool of local ports calls the port in quarantine; 0: none.
	Port uint32
	// Local is the local port.
	Local uint16
	// Leaf is the digest leaf of the session.
	Leaf uint16
}

// Split makes an Entry.ID.
func Split(id uint64) [2]uint32 { return [2]uint32{uint32(id), uint32(id >> 32)} }

func (e *Entry) id() uint64 { return uint64(e.ID[0]) | uint64(e.ID[1])<<32 }

// List is a queue of entries of one Cache. The zero List is empty.
type List struct {
	head, tail uint32
	n          int
}

// Len is the number of entries in the list.
func (l *List) Len() int { return l.n }

const chunkLen = 1 << 12

// Cache holds entries and finds them by ID.
type Cache struct {
	chunks [][]Entry
	fresh  uint32 // lowest entry never used; 0 is none
	free   uint32 // head of the free list, linked through next
	n      int
	limit  int
	ix     index
}

// New makes a Cache of at most limit entries, 1 to MaxLimit.
func New(limit int) *Cache {
	return &Cache{fresh: 1, limit: min(max(limit, 1), MaxLimit), ix: newIndex()}
}

// Len is the number of entries.
func (c *Cache) Len() int { return c.n }

// Full says whether the limit is reached, so that something has to leave before Add.
func (c *Cache) Full() bool { return c.n >= c.limit }

// Bytes is the memory that the cache has taken.
func (c *Cache) Bytes() int {
	return chunkLen * (len(c.chunks)*entryLen + len(c.ix.heads)*4)
}

const entryLen = 28

func (c *Cache) at(i uint32) *Entry { return &c.chunks[i/chunkLen][i%chunkLen] }

// Has says whether an entry has that ID.
func (c *Cache) Has(id uint64) bool { return c.ix.find(c, id) != 0 }

// Add puts e at the end of l. It reports false, and does nothing, if there is an entry of its ID or the cache is full.
func (c *Cache) Add(l *List, e Entry) bool {
	id := e.id()
	if c.Full() || c.ix.find(c, id) != 0 {
		return false
	}
	i := c.take()
	e.next = 0
	*c.at(i) = e
	c.n++
	c.ix.insert(c, id, i)
	c.push(l, i)
	return true
}

func (c *Cache) take() uint32 {
	if i := c.free; i != 0 {
		c.free = c.at(i).next
		return i
	}
	i := c.fresh
	if int(i/chunkLen) == len(c.chunks) {
		c.chunks = append(c.chunks, make([]Entry, chunkLen))
	}
	c.fresh++
	return i
}

func (c *Cache) push(l *List, i uint32) {
	if l.tail == 0 {
		l.head = i
	} else {
		c.at(l.tail).next = i
	}
	l.tail = i
	l.n++
}

func (c *Cache) shift(l *List) uint32 {
	i := l.head
	l.head = c.at(i).next
	c.at(i).next = 0
	if l.n--; l.n == 0 {
		l.tail = 0
	}
	return i
}

// Head is the first entry of l, nil if there is none. It is good until the next call.
func (c *Cache) Head(l *List) *Entry {
	if l.n == 0 {
		return nil
	}
	return c.at(l.head)
}

// Drop forgets the first entry of l, which is not empty, and returns it.
func (c *Cache) Drop(l *List) Entry {
	i := c.shift(l)
	e := *c.at(i)
	c.n--
	c.ix.remove(c, e.id(), i)
	*c.at(i) = Entry{next: c.free}
	c.free = i
	return e
}

// Move takes the first entry of from, which is not empty, to the end of to. The entry is that; its Port may be changed.
func (c *Cache) Move(from, to *List) *Entry {
	i := c.shift(from)
	c.push(to, i)
	return c.at(i)
}

// Join moves all entries of from to the end of to.
func (c *Cache) Join(from, to *List) {
	switch {
	case from.n == 0:
		return
	case to.n == 0:
		*to = *from
	default:
		c.at(to.tail).next = from.head
		to.tail = from.tail
		to.n += from.n
	}
	*from = List{}
}
