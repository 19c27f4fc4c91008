//go:build dpdk && vm

package dpdk

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// This test needs a kernel with cls_flower and runs in a virtual machine (e2e/vm), hence its build tag.

const (
	vmSyncPort = 4791
	vmWorkers  = 2
	vmSync     = vmWorkers // the queue behind the workers'
	vmEach     = 100       // frames of a kind
)

var (
	vmSip4, vmSip6 = netip.MustParseAddr("10.9.0.7"), netip.MustParseAddr("2001:db8:9::7")
	vmLaddr        = netip.MustParsePrefix("10.9.1.1/32")
	vmVIP          = netip.MustParsePrefix("10.9.2.1/32")
)

// marked is an Ethernet frame with an IP datagram to dst; its payload begins with a mark of our own and its number.
func marked(n uint32, proto uint8, dst netip.Addr, port uint16) []byte {
	body := make([]byte, 60)
	binary.BigEndian.PutUint16(body[0:], uint16(20000+n*7))
	binary.BigEndian.PutUint16(body[2:], port)
	switch proto {
	case flow.ProtoUDP:
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	case flow.ProtoTCP:
		body[12], body[13] = 5<<4, 0x10
	}
	copy(body[20:], "holdfast")
	binary.BigEndian.PutUint32(body[28:], n)
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if dst.Is4() {
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(body)))
		copy(ip[12:], []byte{10, 9, 9, byte(n)})
		copy(ip[16:], dst.AsSlice())
		return append(append(append(f, 0x08, 0x00), ip...), body...)
	}
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
	copy(ip[8:], netip.MustParseAddr("2001:db8:9::99").AsSlice())
	ip[23] = byte(n)
	copy(ip[24:], dst.AsSlice())
	return append(append(append(f, 0x86, 0xdd), ip...), body...)
}

// markOf is the number in a marked frame.
func markOf(d []byte) (uint32, bool) {
	for at := 14 + 20 + 20; at <= 14+40+20; at += 20 {
		if len(d) >= at+12 && string(d[at:at+8]) == "holdfast" {
			return binary.BigEndian.Uint32(d[at+8:]), true
		}
	}
	return 0, false
}

func TestSteersInHardware(t *testing.T) {
	packetThread(t)
	p := open(t, PortConfig{Device: "net_tap0,iface=tp0", Workers: vmWorkers, SyncQueue: true, Promiscuous: true, AllMulticast: true})
	if i := p.Info(); !i.HasFilter || i.RxQueues != vmWorkers+1 {
		t.Fatalf("info %+v", i)
	}
	m, err := steer.NewMap(vmWorkers)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := steer.Rules(&steer.Config{
		Map: m, SyncQueue: vmSync, SyncPort: vmSyncPort, Sips: []netip.Addr{vmSip4, vmSip6},
		Laddrs: []netip.Prefix{vmLaddr}, VIPs: []netip.Prefix{vmVIP},
	})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second time after all rules were taken off
		inHardware := map[steer.Purpose]int{}
		for _, r := range p.Filter().Create(rules) {
			where := "hardware"
			if !r.Hardware {
				where = "software: " + r.Reason
			} else {
				inHardware[r.Rule.Purpose]++
			}
			t.Logf("%-70v %s", r.Rule, where)
			if !r.Hardware && r.Reason == "" {
				t.Errorf("rule %v was refused without a reason", r.Rule)
			}
		}
		if inHardware[steer.Sync] != 2 || inHardware[steer.CatchAll] != 1 {
			t.Fatalf("in hardware: %v; want both sync rules and the catch-all", inHardware)
		}
		for _, k := range queuesOf(t, p, uint32(round)*10000) {
			want := [vmWorkers + 1]int{0: vmEach}
			if k.sync {
				want = [vmWorkers + 1]int{vmSync: vmEach}
			}
			t.Logf("%-45s frames by queue %v", k.name, k.queues)
			if k.queues != want {
				t.Errorf("%s: frames by queue %v, want %v", k.name, k.queues, want)
			}
		}
		if err := p.Filter().DestroyAll(); err != nil {
			t.Fatal(err)
		}
	}
	// The negative control: without rules the kernel spreads over all queues, so it was the rules that steered.
	foreign := 0
	for _, k := range queuesOf(t, p, 90000) {
		t.Logf("without rules: %-45s frames by queue %v", k.name, k.queues)
		if !k.sync {
			foreign += k.queues[vmSync]
		}
	}
	if foreign == 0 {
		t.Error("without rules nothing but sync reaches the sync queue either; the test shows nothing")
	}
}

// arrival is where the frames of a kind came.
type arrival struct {
	name   string
	queues [vmWorkers + 1]int
	sync   bool
}

// queuesOf sends sync datagrams and everything that resembles them, and looks on which queue each arrives.
func queuesOf(t *testing.T, p *Port, base uint32) []arrival {
	t.Helper()
	other4, other6 := netip.MustParseAddr("10.9.0.8"), netip.MustParseAddr("2001:db8:9::8")
	kinds := []struct {
		name  string
		proto uint8
		dst   netip.Addr
		port  uint16
		sync  bool
	}{
		{"sync datagram, IPv4", flow.ProtoUDP, vmSip4, vmSyncPort, true},
		{"sync datagram, IPv6", flow.ProtoUDP, vmSip6, vmSyncPort, true},
		{"UDP to another port of the sip, IPv4", flow.ProtoUDP, vmSip4, vmSyncPort + 1, false},
		{"UDP to another port of the sip, IPv6", flow.ProtoUDP, vmSip6, vmSyncPort - 1, false},
		{"UDP to the sync port of another node, IPv4", flow.ProtoUDP, other4, vmSyncPort, false},
		{"UDP to the sync port of another node, IPv6", flow.ProtoUDP, other6, vmSyncPort, false},
		{"TCP to the sync port, IPv4", flow.ProtoTCP, vmSip4, vmSyncPort, false},
		{"TCP to the sync port, IPv6", flow.ProtoTCP, vmSip6, vmSyncPort, false},
		{"TCP to a VIP", flow.ProtoTCP, vmVIP.Addr(), 80, false},
		{"UDP to a local port", flow.ProtoUDP, vmLaddr.Addr(), 5003, false},
	}
	fd, to := rawSocket(t, "tp0")
	defer unix.Close(fd)
	res := make([]arrival, len(kinds))
	for k := range kinds {
		res[k].name, res[k].sync = kinds[k].name, kinds[k].sync
	}
	sent, got := 0, 0
	var b port.Batch
	poll := func() {
		for q := range vmWorkers + 1 {
			p.Rx(q, &b)
			for i := range b.N {
				if n, ok := markOf(b.Pkt[i].Data); ok && n >= base {
					res[int(n-base)%len(kinds)].queues[q]++
					got++
				}
			}
			rt.Pool().Free(&b)
		}
	}
	for i := range vmEach {
		for k, kind := range kinds {
			if err := unix.Sendto(fd, marked(base+uint32(i*len(kinds)+k), kind.proto, kind.dst, kind.port), 0, to); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		poll()
	}
	for end := time.Now().Add(10 * time.Second); got < sent; poll() {
		if time.Now().After(end) {
			t.Fatalf("%d of %d frames arrived", got, sent)
		}
	}
	return res
}

// rawSocket sends whole frames out of a kernel interface: what it sends, the tap device receives.
func rawSocket(t *testing.T, name string) (int, unix.Sockaddr) {
	t.Helper()
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd, &unix.SockaddrLinklayer{Ifindex: ifc.Index, Halen: 6}
}
