package main

import (
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// segment is the router's side of the network on which the data planes are: one device for each of
// them.
type segment struct {
	ports  []int              // indices of the router's devices, by node
	nodes  []net.HardwareAddr // of the nodes' data devices
	router net.HardwareAddr
	send   int   // raw socket
	listen []int // one for each port: what the node sends
}

// openSegment opens all sockets in the router's namespace.
func openSegment(nodes int) (*segment, error) {
	s := &segment{send: -1}
	for i := 1; i <= nodes; i++ {
		err := inside(topo.LB(i), func() error {
			d, err := net.InterfaceByName(topo.DataDevice)
			if err == nil {
				s.nodes = append(s.nodes, d.HardwareAddr)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("device of node %d: %w", i, err)
		}
	}
	err := inside(topo.Router, func() error { return s.open(nodes) })
	if err != nil {
		s.close()
		return nil, fmt.Errorf("raw sockets: %w", err)
	}
	return s, nil
}

func (s *segment) open(nodes int) error {
	lan, err := net.InterfaceByName("lan-lb")
	if err != nil {
		return err
	}
	s.router = lan.HardwareAddr
	if s.send, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	// A flood must not wait in a queue, and no other socket needs to see it.
	if err := unix.SetsockoptInt(s.send, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return err
	}
	for i := 1; i <= nodes; i++ {
		d, err := net.InterfaceByName(topo.Node(i))
		if err != nil {
			return err
		}
		s.ports = append(s.ports, d.Index)
		fd, err := listen(d.Index)
		if err != nil {
			return err
		}
		s.listen = append(s.listen, fd)
	}
	return nil
}

func (s *segment) close() {
	for _, fd := range append(s.listen, s.send) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	s.listen, s.send = nil, -1
}

// inside runs f with the network namespace ns. Sockets that it opens stay there. The thread is
// thrown away.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
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

const (
	packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING: what this host sends is not heard
	captureBuffer        = 8 << 20
	captureWait          = 100_000 // microseconds, after which a reader looks whether it is to end
)

// listen opens a socket that hears the UDP and ICMP packets which come in by a device.
func listen(device int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	filter := udpAndICMP()
	all := uint16(unix.ETH_P_ALL)
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) },
		func() error {
			return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: captureWait})
		},
		func() error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
		},
		func() error {
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: device})
		},
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// udpAndICMP accepts Ethernet frames with UDP, ICMP or ICMPv6 right behind the IP header.
func udpAndICMP() []unix.SockFilter {
	const (
		half, octet, equal, accept = 0x28, 0x30, 0x15, 0x06
		yes, no                    = 0x40000, 0
	)
	return []unix.SockFilter{
		{Code: half, K: 12},
		{Code: equal, K: unix.ETH_P_IP, Jf: 3},
		{Code: octet, K: etherLen + 9},
		{Code: equal, K: protoUDP, Jt: 5},
		{Code: equal, K: protoICMP, Jt: 4, Jf: 5},
		{Code: equal, K: unix.ETH_P_IPV6, Jf: 4},
		{Code: octet, K: etherLen + 6},
		{Code: equal, K: protoUDP, Jt: 1},
		{Code: equal, K: protoICMP6, Jf: 1},
		{Code: accept, K: yes},
		{Code: accept, K: no},
	}
}
