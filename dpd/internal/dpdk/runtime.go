//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/yerden/go-dpdk/eal"
	"github.com/yerden/go-dpdk/mempool"
	"golang.org/x/sys/unix"
)

// started holds the EAL to one start a process.
var started atomic.Bool

// Runtime is the running EAL with its packet pool and ports.
type Runtime struct {
	calls  chan func()
	closed chan struct{}
	pool   *Pool
	cfg    Config

	// keepers: a device was opened whose driver never gives its buffers back. On the control thread.
	keepers bool

	mu    sync.Mutex // guards ports
	ports []*Port
}

// Start starts the EAL, makes the packet pool and opens the ports of the configuration. On an error everything that was
// opened is closed again.
func Start(cfg Config) (*Runtime, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("DPDK configuration: %w", err)
	}
	cfg.setDefaults()
	if !started.CompareAndSwap(false, true) {
		return nil, ErrStarted
	}
	r := &Runtime{calls: make(chan func()), closed: make(chan struct{}), cfg: cfg}
	ready := make(chan error)
	go r.control(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	for i := range cfg.Ports {
		if _, err := r.OpenPort(cfg.Ports[i]); err != nil {
			return nil, errors.Join(fmt.Errorf("open port %d: %w", i, err), r.Close())
		}
	}
	return r, nil
}

// control is the EAL's main lcore: one locked thread that carries out all control calls, in turn, until Close.
func (r *Runtime) control(ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	// The EAL binds its main thread to the main core, where a packet thread may be spinning. Control work is not bound.
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		ready <- fmt.Errorf("read affinity: %w", err)
		return
	}
	if _, err := eal.Init(r.cfg.args()); err != nil {
		ready <- fmt.Errorf("start the EAL (%v): %w", r.cfg.args(), err)
		return
	}
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		ready <- fmt.Errorf("restore affinity: %w", err)
		return
	}
	const cache = 256
	mp, err := mempool.CreateMbufPool("holdfast", uint32(r.cfg.Mbufs), uint16(r.cfg.DataRoom), mempool.OptCacheSize(cache))
	if err != nil {
		ready <- fmt.Errorf("make a pool of %d packets of %d bytes: %w", r.cfg.Mbufs, r.cfg.DataRoom, err)
		return
	}
	if r.cfg.wholePages() {
		if err := withhold(mp); err != nil {
			mp.Free()
			ready <- fmt.Errorf("withhold the packets that net_af_xdp can't use: %w", err)
			return
		}
	}
	r.pool = &Pool{mp: mp, room: r.cfg.DataRoom}
	ready <- nil
	for f := range r.calls {
		f()
		select {
		case <-r.closed:
			return
		default:
		}
	}
}

// do runs f on the control thread and waits for it.
func (r *Runtime) do(f func()) error {
	done := make(chan struct{})
	select {
	case r.calls <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-r.closed:
		return ErrClosed
	}
}

// Port is the i-th port opened, or nil.
func (r *Runtime) Port(i int) *Port {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 || i >= len(r.ports) {
		return nil
	}
	return r.ports[i]
}

// Ports are all ports in the order of their opening.
func (r *Runtime) Ports() []*Port {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Port(nil), r.ports...)
}

// Pool is the one pool that all packets of the process come from.
func (r *Runtime) Pool() *Pool { return r.pool }

// RegisterThread makes the calling thread known to DPDK, which gives it its own cache of free packets. Pin the thread
// first. The caller's goroutine is locked to its thread. Without it everything works, slower.
func (r *Runtime) RegisterThread() error {
	select {
	case <-r.closed:
		return ErrClosed
	default:
		return registerThread()
	}
}

// UnregisterThread takes back RegisterThread, on the same thread, before that thread ends.
func (r *Runtime) UnregisterThread() { unregisterThread() }

// Close stops and closes all ports, gives the pool back and ends the EAL. The packet threads have stopped before.
func (r *Runtime) Close() error {
	var errs []error
	for _, p := range r.Ports() {
		errs = append(errs, p.Close())
	}
	err := r.do(func() {
		select {
		case <-r.closed:
			return
		default:
		}
		close(r.closed)
		if n := r.pool.mp.InUseCount(); n > 0 && !r.keepers {
			errs = append(errs, fmt.Errorf("%d packets were still out at the end", n))
		} else if n == 0 {
			r.pool.mp.Free()
		}
		dir := runtimeDir()
		errs = append(errs, eal.Cleanup())
		// The EAL leaves its folder behind. It is empty, or another process of the same prefix still needs it.
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return errors.Join(errs...)
}
