package syncer

// ring is a queue that grows by doubling.
type ring[T any] struct {
	buf  []T
	head int
	n    int
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		b := make([]T, max(64, 2*len(r.buf)))
		for i := range r.n {
			b[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = b, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = v
	r.n++
}

// front is the oldest value of a ring that is not empty; back is the newest.
func (r *ring[T]) front() *T { return &r.buf[r.head] }
func (r *ring[T]) back() *T  { return &r.buf[(r.head+r.n-1)%len(r.buf)] }

func (r *ring[T]) pop() T {
	v := r.buf[r.head]
	r.head = (r.head + 1) % len(r.buf)
	r.n--
	return v
}

// drop forgets the newest value.
func (r *ring[T]) drop() { r.n-- }

func (r *ring[T]) clear() { r.head, r.n = 0, 0 }
