//go:build dpdk

package dpdk

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// veth makes a pair of kernel interfaces that the kernel itself keeps quiet on.
func veth(t *testing.T) (a, b string) {
	t.Helper()
	a, b = "tdpdk-a", "tdpdk-b"
	ip(t, "link", "add", a, "type", "veth", "peer", "name", b)
	t.Cleanup(func() { ip(t, "link", "del", a) })
	for _, dev := range []string{a, b} {
		ip(t, "link", "set", dev, "addrgenmode", "none")
		ip(t, "link", "set", dev, "up")
	}
	return a, b
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// ours tells our frames from the kernel's.
func ours(d []byte) bool { return bytes.HasPrefix(d[6:], []byte{2, 0, 0, 0, 0, 2}) }

func TestAcrossAKernelCable(t *testing.T) {
	packetThread(t)
	for _, driver := range []string{"net_af_packet", "net_af_xdp"} {
		t.Run(driver, func(t *testing.T) {
			a, b := veth(t)
			two := ""
			if driver == "net_af_packet" {
				two = ",qpairs=2"
			}
			left := open(t, PortConfig{
				Device:  fmt.Sprintf("%s0,iface=%s%s", driver, a, two),
				Workers: 1, SyncQueue: true, MTU: 1400, Promiscuous: true, AllMulticast: true,
			})
			right := open(t, PortConfig{
				Device:  fmt.Sprintf("%s1,iface=%s", driver, b),
				Workers: 1, Promiscuous: true, AllMulticast: true,
			})
			if i := left.Info(); i.MTU != 1400 || i.MAC == right.Info().MAC || i.MAC == [6]byte{} {
				t.Errorf("info %+v", i)
			}
			if !left.LinkUp() || !right.LinkUp() {
				t.Error("no link")
			}
			var batch port.Batch
			for q := range 2 {
				for i := range 40 {
					batch.Push(packet(t, frame(60+20*i, byte(q))))
				}
				if n := left.Tx(q, &batch); n != 40 {
					t.Fatalf("queue %d sent %d of 40", q, n)
				}
				for i, got := range receive(t, right, 0, 40, ours) {
					if !bytes.Equal(got, frame(60+20*i, byte(q))) {
						t.Fatalf("packet %d: got %x", i, got)
					}
				}
			}
			if s := left.Stats(); s.TxPackets < 80 || s.TxBytes == 0 {
				t.Errorf("stats of the sender %+v", s)
			}
			if s := right.Stats(); s.RxPackets < 80 {
				t.Errorf("stats of the receiver %+v", s)
			}
			ip(t, "link", "set", b, "down")
			// The kernel tells of a lost carrier late, up to a second.
			for end := time.Now().Add(3 * time.Second); left.LinkUp() || right.LinkUp(); runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatal("link stays up when the far end goes down")
				}
			}
		})
	}
}

func TestStrippedVLANTagIsPutBack(t *testing.T) {
	packetThread(t)
	a, b := veth(t)
	left := open(t, PortConfig{Device: "net_af_packet0,iface=" + a, Promiscuous: true})
	right := open(t, PortConfig{Device: "net_af_packet1,iface=" + b, Promiscuous: true})
	tagged := frame(64, 9)
	copy(tagged[12:], []byte{0x81, 0x00, 0x20, 0x2a, 0x88, 0xb5})
	var batch port.Batch
	batch.Push(packet(t, tagged))
	left.Tx(0, &batch)
	if got := receive(t, right, 0, 1, ours); !bytes.Equal(got[0], tagged) {
		t.Errorf("got  %x\nsent %x", got[0], tagged)
	}
}

func TestTwoPortsOverSharedMemory(t *testing.T) {
	packetThread(t)
	socket := t.TempDir() + "/memif.sock"
	server := open(t, PortConfig{Device: "net_memif0,role=server,id=1,socket-abstract=no,socket=" + socket, Workers: 1})
	client := open(t, PortConfig{Device: "net_memif1,role=client,id=1,socket-abstract=no,socket=" + socket, Workers: 1})
	for end := time.Now().Add(5 * time.Second); !server.LinkUp() || !client.LinkUp(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the two ends do not find each other")
		}
	}
	var batch port.Batch
	for i := range 50 {
		batch.Push(packet(t, frame(60+i, 3)))
	}
	if n := client.Tx(0, &batch); n != 50 {
		t.Fatalf("sent %d of 50", n)
	}
	for i, got := range receive(t, server, 0, 50, nil) {
		if !bytes.Equal(got, frame(60+i, 3)) {
			t.Errorf("packet %d: got %x", i, got)
		}
	}
}

func TestRefusedTapRulesCarryTheReason(t *testing.T) {
	packetThread(t)
	p := open(t, PortConfig{Device: "net_tap0,iface=tdpdk-t", Workers: 1, SyncQueue: true})
	if i := p.Info(); !i.HasFilter || i.RxQueues != 2 {
		t.Errorf("info %+v", i)
	}
	for _, r := range p.Filter().Create([]steer.Rule{
		{Purpose: steer.LocalPort, Family: flow.IPv4, Dst: netip.MustParsePrefix("10.0.0.1/32"), Proto: flow.ProtoTCP, Port: 1, PortMask: 0xff},
		{Purpose: steer.CatchAll, Queue: 7},
	}) {
		t.Logf("%v: hardware %v, %s", r.Rule, r.Hardware, r.Reason)
		if r.Hardware || r.Reason == "" {
			t.Errorf("%v: hardware %v, reason %q", r.Rule, r.Hardware, r.Reason)
		}
	}
}
