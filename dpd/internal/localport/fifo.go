package localport

// chunkPorts is the number of ports in one link of a queue: a chunk is 16 bytes.
const chunkPorts = 12

type chunk struct {
	port [chunkPorts]uint8
	next uint32
}

// chunks is the store of the queues' links; chunk 0 is never used.
type chunks struct {
	all  []chunk
	free uint32
}

func (c *chunks) get() uint32 {
	if i := c.free; i != 0 {
		c.free = c.all[i].next
		c.all[i].next = 0
		return i
	}
	if len(c.all) == 0 {
		c.all = append(c.all, chunk{})
	}
	c.all = append(c.all, chunk{})
	return uint32(len(c.all) - 1)
}

func (c *chunks) put(i uint32) {
	c.all[i].next = c.free
	c.free = i
}

// fifo is a queue of ports in linked chunks; the zero value is empty.
type fifo struct {
	head, tail       uint32
	headPos, tailPos uint8
}

func (f *fifo) push(c *chunks, port uint8) {
	if f.tail == 0 || f.tailPos == chunkPorts {
		i := c.get()
		if f.tail == 0 {
			f.head, f.headPos = i, 0
		} else {
			c.all[f.tail].next = i
		}
		f.tail, f.tailPos = i, 0
	}
	c.all[f.tail].port[f.tailPos] = port
	f.tailPos++
}

func (f *fifo) pop(c *chunks) (port uint8, ok bool) {
	if f.head == 0 {
		return 0, false
	}
	port = c.all[f.head].port[f.headPos]
	f.headPos++
	switch {
	case f.head == f.tail && f.headPos == f.tailPos:
		c.put(f.head)
		*f = fifo{}
	case f.headPos == chunkPorts:
		next := c.all[f.head].next
		c.put(f.head)
		f.head, f.headPos = next, 0
	}
	return port, true
}

// clear empties the queue.
func (f *fifo) clear(c *chunks) {
	for i := f.head; i != 0; {
		next := c.all[i].next
		c.put(i)
		i = next
	}
	*f = fifo{}
}
