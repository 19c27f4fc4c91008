package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// segment is the router's side of the network on which the data planes are.
type segment struct {
	fd     int
	ports  []int // indices of the router's devices, by node
	nodes  [][6]byte
	router [6]byte
}

func openSegment(nodes int) (*segment, error) {
	s := &segment{fd: -1}
	for i := 1; i <= nodes; i++ {
		if err := inside(topo.LB(i), func() error {
			d, err := net.InterfaceByName(topo.DataDevice)
			if err == nil {
				s.nodes = append(s.nodes, [6]byte(d.HardwareAddr))
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("device of node %d: %w", i, err)
		}
	}
	err := inside(topo.Router, func() error {
		lan, err := net.InterfaceByName("lan-lb")
		if err != nil {
			return err
		}
		s.router = [6]byte(lan.HardwareAddr)
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		for i := 1; i <= nodes; i++ {
			d, err := net.InterfaceByName(topo.Node(i))
			if err != nil {
				return err
			}
			s.ports = append(s.ports, d.Index)
		}
		return unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	})
	return s, err
}

func (s *segment) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// inside runs f in a network namespace, on a thread that is thrown away.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// sender sends one kind at a rate until it is stopped.
type sender struct {
	end  chan struct{}
	wg   sync.WaitGroup
	sent int
	took time.Duration
}

func (s *segment) start(k kind, rate int, seed uint64) *sender {
	f := &sender{end: make(chan struct{})}
	f.wg.Go(func() { f.run(s, k, rate, rand.New(rand.NewPCG(seed, 1))) })
	return f
}

const (
	nap       = 500 * time.Microsecond // that the sender sleeps when it is not behind
	maxBehind = 50 * time.Millisecond  // that it makes up for
)

func (f *sender) run(s *segment, k kind, rate int, rnd *rand.Rand) {
	runtime.LockOSThread() // an attacker has a processor of his own: here he comes before others
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	each, began := time.Second/time.Duration(rate), time.Now()
	for next := began; ; {
		select {
		case <-f.end:
			f.took = time.Since(began)
			return
		default:
		}
		now := time.Now()
		if now.Sub(next) > maxBehind {
			next = now.Add(-maxBehind)
		}
		for range 64 {
			if next.After(now) {
				break
			}
			next = next.Add(each)
			node := rnd.IntN(len(s.ports))
			b := k.make(rnd).Eth(s.nodes[node], s.router).Bytes()
			if unix.Sendto(s.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: s.ports[node]}) == nil {
				f.sent++
			}
		}
		if next.After(now) {
			t := unix.NsecToTimespec(int64(nap))
			_ = unix.Nanosleep(&t, nil)
		}
	}
}

// stop ends it and returns the rate that it reached.
func (f *sender) stop() float64 {
	close(f.end)
	f.wg.Wait()
	return float64(f.sent) / f.took.Seconds()
}
