package packet_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func golden(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestHeadersAreWrittenByteForByte(t *testing.T) {
	dst, src := [6]byte{2, 0, 0, 0, 0, 2}, [6]byte{2, 0, 0, 0, 0, 1}
	a6 := [4]uint64{0x20010db8_00000000, 7, 0x20010db8_00000001, 9}
	for _, c := range []struct {
		name string
		put  func(b []byte)
		want string
	}{
		{"Ethernet", func(b []byte) { packet.PutEthernet(b, dst, src, 0, packet.EtherTypeIPv4) },
			"020000000002 020000000001 0800"},
		{"Ethernet with a tag", func(b []byte) { packet.PutEthernet(b, dst, src, 0xf007, packet.EtherTypeIPv6) },
			"020000000002 020000000001 8100 0007 86dd"},
		{"ARP", func(b []byte) {
			packet.PutARP(b, packet.ARPReply, src, [4]byte{192, 0, 2, 1}, dst, [4]byte{192, 0, 2, 2})
		},
			"0001 0800 06 04 0002 020000000001 c0000201 020000000002 c0000202"},
		{"IPv4", func(b []byte) { packet.PutIPv4(b, packet.ProtoUDP, 64, 0xc0000201_c6336401, 8) },
			"45 00 001c 0000 4000 40 11 4e9b c0000201 c6336401"},
		{"IPv6", func(b []byte) { packet.PutIPv6(b, packet.ProtoTCP, 63, &a6, 20) },
			"60000000 0014 06 3f 20010db8000000000000000000000007 20010db8000000010000000000000009"},
		{"TCP", func(b []byte) { packet.PutTCP(b, 0x1f900050, 1, 2, packet.SYN|packet.ACK, 512) },
			"1f90 0050 00000001 00000002 50 12 0200 0000 0000"},
		{"UDP", func(b []byte) { packet.PutUDP(b, 0x1f900050, 4) },
			"1f90 0050 000c 0000"},
		{"ICMP", func(b []byte) { packet.PutICMP(b, packet.ICMPUnreachable, 4, 1400) },
			"03 04 0000 00000578"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := golden(c.want)
			got := bytes.Repeat([]byte{0xee}, len(want)+4)
			c.put(got)
			if !bytes.Equal(got[:len(want)], want) || !bytes.Equal(got[len(want):], golden("eeeeeeee")) {
				t.Fatalf("\ngot  %x\nwant %x", got, want)
			}
		})
	}
}

func TestViewsReadAndWriteTheirFields(t *testing.T) {
	e := packet.Ethernet(golden("020000000002 020000000001 0800"))
	if e.Dst() != [6]byte{2, 0, 0, 0, 0, 2} || e.Src() != [6]byte{2, 0, 0, 0, 0, 1} || e.Type() != packet.EtherTypeIPv4 || packet.MACWord(e.Src()) != 0x020000000001 {
		t.Errorf("Ethernet %x", []byte(e))
	}
	h := packet.IPv4(golden("46 00 001c 0000 4000 40 11 4e9b c0000201 c6336401 00000000"))
	if h.HeaderLen() != 24 || h.TotalLen() != 28 || !h.DontFragment() || h.TTL() != 64 || h.Proto() != 17 || h.Checksum() != 0x4e9b || h.Addr() != 0xc0000201_c6336401 {
		t.Errorf("IPv4 %x", []byte(h))
	}
	h.SetTTL(1)
	h.SetChecksum(0x1234)
	h.SetAddr(0x0a000001_0a000002)
	if !bytes.Equal(h, golden("46 00 001c 0000 4000 01 11 1234 0a000001 0a000002 00000000")) {
		t.Errorf("IPv4 %x", []byte(h))
	}
	s := packet.IPv6(golden("60000000 0014 06 3f 20010db8000000000000000000000007 20010db8000000010000000000000009"))
	if s.PayloadLen() != 20 || s.Next() != 6 || s.HopLimit() != 63 || s.Addr() != [4]uint64{0x20010db8_00000000, 7, 0x20010db8_00000001, 9} {
		t.Errorf("IPv6 %x", []byte(s))
	}
	s.SetHopLimit(1)
	s.SetAddr(&[4]uint64{1, 2, 3, 4})
	if s.HopLimit() != 1 || s.Addr() != [4]uint64{1, 2, 3, 4} || s.PayloadLen() != 20 {
		t.Errorf("IPv6 %x", []byte(s))
	}
	c := packet.TCP(golden("1f90 0050 00000001 00000002 60 12 0200 abcd 0000 02040578"))
	if c.Ports() != 0x1f900050 || c.Seq() != 1 || c.Ack() != 2 || c.HeaderLen() != 24 || c.Flags() != packet.SYN|packet.ACK || c.Window() != 512 || c.Checksum() != 0xabcd {
		t.Errorf("TCP %x", []byte(c))
	}
	c.SetPorts(0x00010002)
	c.SetChecksum(7)
	if !bytes.Equal(c, golden("0001 0002 00000001 00000002 60 12 0200 0007 0000 02040578")) {
		t.Errorf("TCP %x", []byte(c))
	}
	u := packet.UDP(golden("1f90 0050 000c abcd"))
	if u.Len() != 12 || u.Checksum() != 0xabcd {
		t.Errorf("UDP %x", []byte(u))
	}
	u.SetChecksum(9)
	if u.Checksum() != 9 {
		t.Errorf("UDP %x", []byte(u))
	}
	m := packet.ICMP(golden("03 04 abcd 00000578"))
	if m.Type() != 3 || m.Code() != 4 || m.Checksum() != 0xabcd || m.Rest() != 1400 {
		t.Errorf("ICMP %x", []byte(m))
	}
	m.SetChecksum(0)
	if m.Checksum() != 0 {
		t.Errorf("ICMP %x", []byte(m))
	}
}
