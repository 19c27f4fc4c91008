package load

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/stream"
)

// server answers streams and echoes on loopback. After cut frames it does to the connection what misbehave says.
type server struct {
	tcp       net.Listener
	udp       net.PacketConn
	cut       uint32
	misbehave func(c *net.TCPConn, conn, seq uint32)
	echo      func(stream.Echo) stream.Echo
}

func newServer(t *testing.T) *server {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	return &server{tcp: tcp, udp: udp}
}

func (s *server) run() {
	go func() {
		for {
			c, err := s.tcp.Accept()
			if err != nil {
				return
			}
			go s.answer(c.(*net.TCPConn))
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := s.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			conn, seq, err := stream.ParseAsk(buf[:n])
			if err != nil {
				continue
			}
			e := stream.Echo{Conn: conn, Seq: seq, Seen: from.(*net.UDPAddr).AddrPort(), Server: "a"}
			if s.echo != nil {
				e = s.echo(e)
			}
			if e.Server != "" {
				if _, err := s.udp.WriteTo(stream.AppendEcho(nil, e), from); err != nil {
					return
				}
			}
		}
	}()
}

func (s *server) answer(c *net.TCPConn) {
	defer c.Close()
	r := stream.NewReader(c, stream.FromClient, 0, false)
	for {
		conn, seq, n, err := r.Next()
		if err != nil {
			return
		}
		if s.misbehave != nil && seq >= s.cut {
			s.misbehave(c, conn, seq)
			return
		}
		if _, err := c.Write(stream.Append(nil, stream.FromServer, conn, seq, n)); err != nil {
			return
		}
	}
}

func (s *server) plan(active, idle, udp int) Plan {
	lo := netip.MustParseAddr("127.0.0.1")
	return Plan{
		Active: active, Idle: idle, UDP: udp, VIP4: lo, VIP6: lo, IntervalMs: 5, Payload: 500, StallMs: 300,
		StreamPort: uint16(s.tcp.Addr().(*net.TCPAddr).Port), EchoPort: uint16(s.udp.LocalAddr().(*net.UDPAddr).Port),
	}
}

// until polls a report: answers come over real sockets.
func until(t *testing.T, l *Load, done func([]Flow) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(l.Report()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("does not come: %+v", l.Report())
		}
	}
}

func TestGoodServer(t *testing.T) {
	s := newServer(t)
	s.run()
	p := s.plan(6, 4, 4)
	p.StallMs = 30_000 // a busy machine is no broken server
	l, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	l.Mark()
	until(t, l, func(flows []Flow) bool {
		for _, f := range flows {
			if f.Kind != Idle && f.Received < 10 {
				return false
			}
		}
		return true
	})
	l.Wake()
	for _, f := range l.Close() {
		if f.Broken != "" {
			t.Errorf("flow %d (%s): %s", f.ID, f.Kind, f.Broken)
		}
		if f.Kind == Idle && f.Received != 4 {
			t.Errorf("idle flow %d has %d answers", f.ID, f.Received)
		}
		if f.Kind == Active && f.Received != f.Sent {
			t.Errorf("active flow %d: %d of %d answers", f.ID, f.Received, f.Sent)
		}
		if !f.Client.IsValid() {
			t.Errorf("flow %d does not know its address", f.ID)
		}
	}
}

func TestBrokenConnections(t *testing.T) {
	// What the server fails to do shows in the client's verdict, which the rows judge.
	send := func(c *net.TCPConn, b []byte) { _, _ = c.Write(b) }
	for name, row := range map[string]struct {
		misbehave func(c *net.TCPConn, conn, seq uint32)
		want      string
	}{
		"a reset":            {func(c *net.TCPConn, _, _ uint32) { _ = c.SetLinger(0) }, "reset"},
		"an end before time": {func(c *net.TCPConn, _, _ uint32) {}, "EOF"},
		"silence":            {func(c *net.TCPConn, _, _ uint32) { time.Sleep(2 * time.Second) }, "timeout"},
		"another's answer": {func(c *net.TCPConn, conn, seq uint32) {
			send(c, stream.Append(nil, stream.FromServer, conn+100, seq, 5))
		}, "another connection"},
		"an answer left out": {func(c *net.TCPConn, conn, seq uint32) { send(c, stream.Append(nil, stream.FromServer, conn, seq+1, 5)) }, "missing"},
		"bytes of its own":   {func(c *net.TCPConn, _, _ uint32) { send(c, []byte(strings.Repeat("x", 100))) }, "not a frame"},
		"an answer cut in two": {func(c *net.TCPConn, conn, seq uint32) {
			send(c, stream.Append(nil, stream.FromServer, conn, seq, 50)[:30])
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.cut, s.misbehave = 1, row.misbehave
			s.run()
			p := s.plan(1, 1, 0)
			if name != "silence" {
				p.StallMs = 30_000
			}
			l, err := Open(p)
			if err != nil {
				t.Fatal(err)
			}
			l.Wake()
			until(t, l, func(flows []Flow) bool { return flows[0].Broken != "" && flows[1].Broken != "" })
			for _, f := range l.Close() {
				if !strings.Contains(f.Broken, row.want) && !strings.Contains(f.Broken, "reset") && !strings.Contains(f.Broken, "broken pipe") {
					t.Errorf("%s flow: %q, want %q in it", f.Kind, f.Broken, row.want)
				}
			}
		})
	}
}

func TestBrokenUDP(t *testing.T) {
	for name, row := range map[string]struct {
		echo func(stream.Echo) stream.Echo
		want string
	}{
		"another server":        {func(e stream.Echo) stream.Echo { e.Server = "b"; return e }, "moved from a"},
		"another local address": {func(e stream.Echo) stream.Echo { e.Seen = netip.MustParseAddrPort("192.0.2.1:1"); return e }, "moved from a"},
		"another flow's echo":   {func(e stream.Echo) stream.Echo { e.Conn = 77; return e }, "not an echo of this flow: an echo of flow 77"},
		"silence":               {func(e stream.Echo) stream.Echo { e.Server = ""; return e }, "no echo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.echo = func(e stream.Echo) stream.Echo {
				if e.Seq < 3 {
					return e
				}
				return row.echo(e)
			}
			s.run()
			l, err := Open(s.plan(0, 0, 1))
			if err != nil {
				t.Fatal(err)
			}
			until(t, l, func(flows []Flow) bool { return flows[0].Broken != "" })
			if got := l.Close()[0].Broken; !strings.Contains(got, row.want) {
				t.Errorf("got %q, want %q in it", got, row.want)
			}
		})
	}
}

func TestOpenSaysWhatFails(t *testing.T) {
	s := newServer(t)
	p := s.plan(2, 0, 0)
	s.tcp.Close()
	if _, err := Open(p); err == nil || !strings.Contains(err.Error(), "2 of 2 flows did not open") {
		t.Errorf("got %v", err)
	}
}
