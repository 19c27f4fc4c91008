package dpdtest

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// TestBuiltFramesAreRead by an independent parser, lengths and checksums included.
func TestBuiltFramesAreRead(t *testing.T) {
	a4, b4, a6, b6 := AP("192.0.2.7:4000"), AP("198.51.100.1:80"), AP("[2001:db8::7]:4000"), AP("[2001:db8::1]:80")
	mac := [6]byte{2, 1, 1, 1, 1, 1}
	for _, c := range []struct {
		name  string
		frame *Frame
		last  gopacket.LayerType
	}{
		{"a SYN", TCP(a4, b4).Flags(SYN).MSS(1460).Seq(9), layers.LayerTypeTCP},
		{"TCP data over IPv6", TCP(a6, b6).Ack(3).Window(9).Text("data"), gopacket.LayerTypePayload},
		{"UDP with IPv4 options on a VLAN", UDP(a4, b4).IPOptions([]byte{1, 1, 1, 0}).VLAN(5).Text("odd").Pad(70), gopacket.LayerTypePayload},
		{"UDP over IPv6 with extension headers", UDP(a6, b6).Ext(0, make([]byte, 6)).Ext(60, make([]byte, 14)).Text("x").TOS(8), gopacket.LayerTypePayload},
		{"echo", Echo(a4.Addr(), b4.Addr(), 1, 2).Text("ping"), gopacket.LayerTypePayload},
		{"an ICMP error", ICMPError(b4.Addr(), 3, 1, 0, TCP(a4, b4).Bytes(), 28), gopacket.LayerTypePayload},
		{"an ICMPv6 error", ICMPError(b6.Addr(), 1, 0, 0, TCP(a6, b6).Bytes(), 100), gopacket.LayerTypePayload},
		{"ARP", ARP(1, mac, a4.Addr(), [6]byte{}, b4.Addr()), layers.LayerTypeARP},
		{"a solicitation", NS(mac, a6.Addr(), b6.Addr()), layers.LayerTypeICMPv6NeighborSolicitation},
		{"an advertisement", NA(mac, a6.Addr(), b6.Addr(), a6.Addr(), 1<<30), layers.LayerTypeICMPv6NeighborAdvertisement},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := gopacket.NewPacket(c.frame.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
			all := p.Layers()
			if e := p.ErrorLayer(); e != nil || all[len(all)-1].LayerType() != c.last {
				t.Fatal(p)
			}
			for _, l := range all {
				if s, ok := l.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := s.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err, bad := p.VerifyChecksums(); err != nil || len(bad) != 0 {
				t.Fatalf("%v, %v\n%v", err, bad, p)
			}
		})
	}
}
