package checker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// TCP is a probe that makes a connection and closes it. Source is the address that it comes from; the zero Addr leaves
// the choice to the kernel, and a source of another family than the server's is not used.
func TCP(source netip.Addr) Probe {
	return func(ctx context.Context, address string) error {
		var d net.Dialer
		if to, err := netip.ParseAddrPort(address); err == nil && source.IsValid() && source.Is4() == to.Addr().Unmap().Is4() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		}
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		// Reset instead of FIN: the check leaves no TIME_WAIT behind, on either side.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return conn.Close()
	}
}
