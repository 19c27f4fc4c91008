package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

const (
	tcp, udp = 6, 17
	each     = 200 // frames of a kind
)

// kinds are what is sent; the first two belong to the sync thread.
var kinds = []struct {
	name  string
	proto uint8
	dst   netip.Addr
	port  uint16
	sync  bool
}{
	{"sync datagram, IPv4", udp, sip4, syncPort, true},
	{"sync datagram, IPv6", udp, sip6, syncPort, true},
	{"UDP to another port of the sip, IPv4", udp, sip4, syncPort + 1, false},
	{"UDP to another port of the sip, IPv6", udp, sip6, syncPort - 1, false},
	{"UDP to the sync port of the VIP", udp, netip.MustParseAddr("10.9.0.80"), syncPort, false},
	{"UDP to the sync port of a local address", udp, netip.MustParseAddr(laddr), syncPort, false},
	{"TCP to the sync port, IPv4", tcp, sip4, syncPort, false},
	{"TCP to the sync port, IPv6", tcp, sip6, syncPort, false},
}

// counts are the numbers that tell who received what.
type counts struct {
	sync    uint64 // datagrams that the sync thread read
	foreign uint64 // other packets on its queue
	toSync  uint64 // sync datagrams that a worker had to hand over
	workers uint64 // packets that workers read
}

func read(ctx context.Context, client dpdv1.DataplaneServiceClient) (counts, error) {
	var c counts
	s, err := client.GetStats(ctx, &dpdv1.GetStatsRequest{})
	if err != nil {
		return c, err
	}
	for _, x := range s.GetCounters() {
		switch x.GetName() {
		case "sync_thread_sync_rx":
			c.sync += x.GetValue()
		case "sync_thread_sync_not_udp":
			c.foreign += x.GetValue()
		}
	}
	for _, w := range s.GetWorkers() {
		for _, x := range w.GetCounters() {
			switch x.GetName() {
			case "to_sync":
				c.toSync += x.GetValue()
			case "rx_packets":
				c.workers += x.GetValue()
			}
		}
	}
	return c, nil
}

// steers sends frames of every kind out of the kernel's side of the tap device, that is, into dpd's port, and reads dpd's
// counters.
func steers(ctx context.Context, client dpdv1.DataplaneServiceClient, mac net.HardwareAddr) error {
	ifc, err := net.InterfaceByName(tap)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	before, err := read(ctx, client)
	if err != nil {
		return err
	}
	wantSync, others := uint64(0), uint64(0)
	for i := range each {
		for _, k := range kinds {
			if err := unix.Sendto(fd, frame(mac, i, k.proto, k.dst, k.port), 0, &unix.SockaddrLinklayer{Ifindex: ifc.Index, Halen: 6}); err != nil {
				return fmt.Errorf("send %s: %w", k.name, err)
			}
			if k.sync {
				wantSync++
			} else {
				others++
			}
		}
	}
	var got counts
	for end := time.Now().Add(20 * time.Second); ; {
		now, err := read(ctx, client)
		if err != nil {
			return err
		}
		got = counts{now.sync - before.sync, now.foreign - before.foreign, now.toSync - before.toSync, now.workers - before.workers}
		if got.sync >= wantSync && got.workers >= others || time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Printf("prove: sent %d sync datagrams and %d others; the sync thread read %d and %d foreign ones, workers read %d and handed %d to the sync thread\n",
		wantSync, others, got.sync, got.foreign, got.workers, got.toSync)
	var errs []error
	if got.sync != wantSync {
		errs = append(errs, errors.New("the sync thread did not get every sync datagram once"))
	}
	if got.foreign != 0 {
		errs = append(errs, errors.New("something else landed on the sync queue"))
	}
	if got.toSync != 0 {
		errs = append(errs, errors.New("sync datagrams landed on a worker's queue"))
	}
	if got.workers < others {
		errs = append(errs, errors.New("workers did not get all the others"))
	}
	return errors.Join(errs...)
}

// frame is an Ethernet frame to dpd's port with an IP datagram to dst, its checksums right.
func frame(mac net.HardwareAddr, n int, proto uint8, dst netip.Addr, port uint16) []byte {
	l4 := make([]byte, 40)
	binary.BigEndian.PutUint16(l4[0:], uint16(20000+n))
	binary.BigEndian.PutUint16(l4[2:], port)
	at := 6
	if proto == tcp {
		l4[12], l4[13], at = 5<<4, 0x10, 16 // an ACK out of nowhere
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	}
	src, header, etherType := netip.MustParseAddr("10.9.0.1"), make([]byte, 20), uint16(0x0800)
	if dst.Is6() {
		src, header, etherType = netip.MustParseAddr("2001:db8:9::1"), make([]byte, 40), 0x86dd
		header[0], header[6], header[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(header[4:], uint16(len(l4)))
		copy(header[8:], src.AsSlice())
		copy(header[24:], dst.AsSlice())
	} else {
		header[0], header[8], header[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(l4)))
		copy(header[12:], src.AsSlice())
		copy(header[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(header[10:], checksum(header))
	}
	pseudo := append(append([]byte(nil), src.AsSlice()...), dst.AsSlice()...)
	pseudo = append(pseudo, 0, proto, byte(len(l4)>>8), byte(len(l4)))
	binary.BigEndian.PutUint16(l4[at:], checksum(append(pseudo, l4...)))
	f := append(append([]byte(nil), mac...), 2, 0, 0, 0, 0, 9)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(append(f, header...), l4...)
}

// checksum is that of RFC 1071; the length is even.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
