// Command junk sends frames that no honest host sends: random bytes behind plausible headers, lengths that lie, truncated
// and overlong packets, header chains, fragments, forged sync datagrams and ICMP errors. Which ones is a function of the seed. It runs in the
// router's namespace, on the segment of the data planes.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	device := flag.String("device", "", "network `device` to send on")
	mac := flag.String("mac", "", "Ethernet `address` of the victim")
	targets := flag.String("targets", "", "IP `addresses` to send to, separated by commas")
	count := flag.Int("count", 20000, "frames")
	rate := flag.Int("rate", 10000, "frames a second")
	seed := flag.Uint64("seed", 1, "seed of all choices")
	flag.Parse()
	if err := send(*device, *mac, *targets, *count, *rate, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "junk:", err)
		os.Exit(1)
	}
}

func send(device, mac, targets string, count, rate int, seed uint64) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	dst, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	g := &generator{r: rand.New(rand.NewPCG(seed, 0x6a756e6b)), src: link.HardwareAddr, dst: dst}
	for _, t := range strings.Split(targets, ",") {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return err
		}
		if a.Is4() {
			g.v4 = append(g.v4, a)
		} else {
			g.v6 = append(g.v6, a)
		}
	}
	if len(g.v4) == 0 || len(g.v6) == 0 {
		return fmt.Errorf("targets of both families are needed")
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: link.Index}
	began := time.Now()
	refused := 0
	for i := range count {
		if err := unix.Sendto(fd, g.frame(), 0, to); err != nil {
			refused++ // the kernel refuses what is longer than the device's MTU
		}
		if ahead := time.Duration(i)*time.Second/time.Duration(rate) - time.Since(began); ahead > 0 {
			time.Sleep(ahead)
		}
	}
	fmt.Printf("%d frames, %d refused by the kernel\n", count, refused)
	return nil
}

// generator makes frames.
type generator struct {
	r        *rand.Rand
	src, dst net.HardwareAddr
	v4, v6   []netip.Addr
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

// frame is mostly a good packet with one thing wrong, sometimes noise.
func (g *generator) frame() []byte {
	etherType := uint16(0x0800)
	var body []byte
	switch g.r.IntN(8) {
	case 0:
		etherType = []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, uint16(g.r.Uint32())}[g.r.IntN(6)]
		body = g.bytes(g.r.IntN(120))
	case 1:
		etherType, body = 0x0806, g.arp()
	case 2, 3, 4:
		body = g.ipv4()
	default:
		etherType, body = 0x86dd, g.ipv6()
	}
	b := append(append([]byte(nil), g.dst...), g.src...)
	if g.r.IntN(20) == 0 {
		b = binary.BigEndian.AppendUint16(b, 0x8100)
		b = binary.BigEndian.AppendUint16(b, uint16(g.r.Uint32()))
	}
	b = append(binary.BigEndian.AppendUint16(b, etherType), body...)
	switch g.r.IntN(12) {
	case 0:
		b = b[:14+g.r.IntN(len(b)-13)]
	case 1:
		b = append(b, g.bytes(g.r.IntN(60))...)
	case 2:
		b[12+g.r.IntN(len(b)-12)] ^= byte(1 << g.r.IntN(8))
	}
	return b
}

func (g *generator) arp() []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, byte(1 + g.r.IntN(3))}
	b = append(b, g.bytes(20)...)
	if g.r.IntN(2) == 0 {
		t := g.v4[g.r.IntN(len(g.v4))].As4()
		copy(b[24:], t[:])
	}
	return b
}

// transport is the inside of an IP packet and its protocol number.
func (g *generator) transport(v6 bool) (byte, []byte) {
	ports := func() []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(g.r.Uint32()))
		return binary.BigEndian.AppendUint16(b, []uint16{80, 7000, 7001, 7946, uint16(g.r.Uint32())}[g.r.IntN(5)])
	}
	switch g.r.IntN(6) {
	case 0, 1: // TCP with any offset and flags
		return 6, append(append(ports(), g.bytes(16)...), g.bytes(g.r.IntN(40))...)
	case 2: // UDP whose length may lie
		body := g.bytes(g.r.IntN(100))
		n := 8 + len(body)
		if g.r.IntN(2) == 0 {
			n = g.r.IntN(2000)
		}
		return 17, append(append(binary.BigEndian.AppendUint16(ports(), uint16(n)), g.bytes(2)...), body...)
	case 3: // an ICMP message, perhaps an error that quotes noise
		if v6 {
			return 58, append([]byte{byte([]int{1, 2, 3, 128, 133, 135, 136}[g.r.IntN(7)])}, g.bytes(g.r.IntN(90))...)
		}
		return 1, append([]byte{byte([]int{0, 3, 5, 8, 11, 12}[g.r.IntN(6)])}, g.bytes(g.r.IntN(90))...)
	default:
		return byte(g.r.Uint32()), g.bytes(g.r.IntN(100))
	}
}

func (g *generator) ipv4() []byte {
	proto, body := g.transport(false)
	words := 5
	if g.r.IntN(8) == 0 {
		words = g.r.IntN(16)
	}
	b := make([]byte, 20, 60)
	b[0] = 4<<4 | byte(words)
	b = append(b, make([]byte, max(words-5, 0)*4)...)
	n := len(b) + len(body)
	if g.r.IntN(8) == 0 {
		n = g.r.IntN(70000)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	if g.r.IntN(10) == 0 {
		binary.BigEndian.PutUint16(b[6:], uint16(g.r.Uint32())) // fragments
	}
	b[8], b[9] = byte(g.r.IntN(70)), proto
	src, dst := g.bytes(4), g.v4[g.r.IntN(len(g.v4))].As4()
	copy(b[12:], src)
	copy(b[16:], dst[:])
	if g.r.IntN(8) != 0 {
		binary.BigEndian.PutUint16(b[10:], ^fold(b))
	}
	return append(b, body...)
}

func fold(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func (g *generator) ipv6() []byte {
	proto, body := g.transport(true)
	for range g.r.IntN(3) * g.r.IntN(5) { // chains of extension headers, honest and not
		header := append([]byte{proto, byte(g.r.IntN(4))}, g.bytes(6+8*g.r.IntN(4))...)
		proto = []byte{0, 43, 44, 60, 51, 135}[g.r.IntN(6)]
		body = append(header, body...)
	}
	b := make([]byte, 40)
	b[0] = 6 << 4
	n := len(body)
	if g.r.IntN(8) == 0 {
		n = g.r.IntN(70000)
	}
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	b[6], b[7] = proto, byte(g.r.IntN(256))
	src, dst := g.bytes(16), g.v6[g.r.IntN(len(g.v6))].As16()
	copy(b[8:], src)
	copy(b[24:], dst[:])
	if g.r.IntN(4) == 0 {
		b[8], b[9] = 0xfe, 0x80
	}
	return append(b, body...)
}
