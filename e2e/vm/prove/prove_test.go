package main

import (
	"encoding/binary"
	"net"
	"testing"
)

func TestFramesAreWhole(t *testing.T) {
	mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			f := frame(mac, 7, k.proto, k.dst, k.port)
			head, family := 20, uint16(0x0800)
			if k.dst.Is6() {
				head, family = 40, 0x86dd
			}
			if got := binary.BigEndian.Uint16(f[12:]); got != family {
				t.Errorf("type %#x", got)
			}
			ip, l4 := f[14:14+head], f[14+head:]
			if k.dst.Is4() && checksum(ip) != 0 {
				t.Errorf("header checksum leaves %#x", checksum(ip))
			}
			addrs := ip[12:20]
			if k.dst.Is6() {
				addrs = ip[8:40]
			}
			pseudo := append(append([]byte(nil), addrs...), 0, k.proto, byte(len(l4)>>8), byte(len(l4)))
			if c := checksum(append(pseudo, l4...)); c != 0 {
				t.Errorf("checksum over the payload leaves %#x", c)
			}
			if got := binary.BigEndian.Uint16(l4[2:]); got != k.port {
				t.Errorf("port %d", got)
			}
		})
	}
}
