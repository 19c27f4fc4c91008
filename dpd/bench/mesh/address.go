package mesh

import (
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Addresses and ports of a mesh.
const (
	syncPort   = 7946
	tcpPort    = 80
	udpPort    = 53
	udpTimeout = 5 // seconds
	ipUDP      = 48
	// Upper halves of the addresses of servers and of local addresses; the third byte of the latter
	// is the node.
	serverNet = 172<<24 | 16<<16
	laddrNet  = 10<<24 | 1<<16
	sipNet    = 10<<24 | 3<<16
	netMask   = 0xffff0000
)

var (
	gateway    = addr4(10, 0, 0, 1)
	gatewayMAC = [6]byte{2, 0, 0, 0, 9, 9}
	vip        = addr4(198, 51, 100, 1)
	digestKey  = [16]byte{1, 2, 3}
)

const vipWord = 198<<24 | 51<<16 | 100<<8 | 1

func addr4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

func life(i int) flow.Node      { return flow.Node{ID: uint32(i + 1), Inc: 1} }
func macOf(i int) [6]byte       { return [6]byte{2, 0, 0, 0, 1, byte(i + 1)} }
func sip(i int) netip.Addr      { return addr4(10, 3, 0, byte(i+1)) }
func laddr(i, l int) netip.Addr { return addr4(10, 1, byte(i), byte(l+1)) }
func server(i int) netip.Addr   { return addr4(172, 16, 0, byte(i+1)) }
