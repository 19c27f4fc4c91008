package conntrack

// prefetch asks for the cache lines at n addresses. A wrong address does no harm. It is assembly because Go offers no
// prefetch outside its runtime, and it takes a whole burst because the call isn't inlined.
//
//go:noescape
func prefetch(addrs *uintptr, n int)
