package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/stream"
)

// openUDP sends until the first echo and starts the flow. Datagrams may be lost; what may not happen is that a flow changes
// its server or its local address, or stays silent.
func (l *Load) openUDP(f *flow) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.state.Service))
	if err != nil {
		return err
	}
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	f.state.Client = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	u := &udpFlow{f: f, l: l, c: c, in: make([]byte, 2048)}
	for began := time.Now(); ; {
		u.send()
		if u.receive(200*time.Millisecond) == nil {
			break
		}
		if time.Since(began) > openTimeout {
			c.Close()
			return errors.New("no echo")
		}
	}
	if f.broken() {
		c.Close()
		return errors.New(f.state.Broken)
	}
	l.wg.Go(u.write)
	l.wg.Go(u.read)
	return nil
}

type udpFlow struct {
	f     *flow
	l     *Load
	c     *net.UDPConn
	next  uint32
	out   []byte
	in    []byte
	first stream.Echo
}

func (u *udpFlow) send() {
	u.out = stream.AppendAsk(u.out[:0], u.f.state.ID, u.next)
	u.next++
	// An error here is an ICMP message about an earlier datagram; silence is judged by the reader.
	if _, err := u.c.Write(u.out); err == nil {
		u.f.sent()
	}
}

var errSilent = errors.New("no echo")

func (u *udpFlow) receive(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	if err := u.c.SetReadDeadline(deadline); err != nil {
		return err
	}
	for {
		n, err := u.c.Read(u.in)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return errSilent
		}
		if err != nil {
			if time.Now().After(deadline) {
				return errSilent
			}
			time.Sleep(10 * time.Millisecond) // an ICMP error comes back as one failed read
			continue
		}
		e, err := stream.ParseEcho(u.in[:n])
		if err == nil && e.Conn != u.f.state.ID {
			err = fmt.Errorf("an echo of flow %d", e.Conn)
		}
		if err != nil {
			u.f.fail(fmt.Errorf("not an echo of this flow: %w", err))
			return nil
		}
		if u.first.Server == "" {
			u.first = e
		}
		if e.Server != u.first.Server || e.Seen != u.first.Seen {
			u.f.fail(fmt.Errorf("moved from %s by %v to %s by %v", u.first.Server, u.first.Seen, e.Server, e.Seen))
		}
		u.f.received(time.Now())
		return nil
	}
}

func (u *udpFlow) write() {
	tick := time.NewTicker(u.f.interval)
	defer tick.Stop()
	for {
		select {
		case <-u.l.stop:
			u.c.Close()
			return
		case <-tick.C:
			u.send()
		}
	}
}

func (u *udpFlow) read() {
	for {
		err := u.receive(time.Duration(u.l.plan.StallMs) * time.Millisecond)
		select {
		case <-u.l.stop:
			return
		default:
		}
		if err != nil {
			u.f.fail(err)
			return
		}
	}
}
