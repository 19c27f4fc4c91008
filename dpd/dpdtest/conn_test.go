package dpdtest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

var (
	clientMAC, serverMAC   = [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	clientAddr, serverAddr = Addr("192.0.2.7"), Addr("192.0.2.9")
	client6, server6       = Addr("2001:db8::7"), Addr("2001:db8::9")
)

func twoHosts(seed uint64, i Impair) (*Switch, *Host, *Host) {
	s := NewSwitch(seed)
	c := NewHost(s, clientMAC, serverMAC, clientAddr, client6)
	v := NewHost(s, serverMAC, clientMAC, serverAddr, server6)
	s.Impair(0, i)
	s.Impair(1, i)
	return s, c, v
}

func echoServer(h *Host, port uint16) {
	h.Listen(port, func(c *Conn) {
		c.OnData = func(c *Conn, b []byte) { c.Write(b) }
	})
}

func TestConnectionsSurviveABadWire(t *testing.T) {
	for _, w := range []struct {
		name string
		wire Impair
	}{
		{"without faults", Impair{}},
		{"with delay", Impair{DelayMin: 3, DelayMax: 3}},
		{"with loss", Impair{Loss: 0.05, DelayMin: 1, DelayMax: 1}},
		{"with everything", Impair{Loss: 0.05, Duplicate: 0.05, Reorder: 0.05, HoldMS: 5, DelayMin: 1, DelayMax: 3}},
	} {
		t.Run(w.name, func(t *testing.T) {
			s, ch, vh := twoHosts(11, w.wire)
			echoServer(vh, 80)
			r := rand.New(rand.NewPCG(1, 2))
			sent := make([]byte, 20000)
			for i := range sent {
				sent[i] = byte(r.Uint32())
			}
			var conns []*Conn
			for i, a := range []netip.Addr{clientAddr, client6} {
				to := []netip.Addr{serverAddr, server6}[i]
				c := ch.Dial(netip.AddrPortFrom(a, 4000), netip.AddrPortFrom(to, 80))
				c.Write(sent)
				conns = append(conns, c)
			}
			Loop(s, 30_000, ch.Step, vh.Step)
			for _, c := range conns {
				if c.Err() != nil || !bytes.Equal(c.Received(), sent) {
					t.Fatalf("%v, %d bytes came back, %d repetitions", c.Err(), len(c.Received()), c.Repeats())
				}
				c.Close()
			}
			for _, c := range vh.order {
				c.Close()
			}
			Loop(s, 10_000, ch.Step, vh.Step)
			for _, c := range append(conns, vh.order...) {
				if !c.Done() || c.Err() != nil {
					t.Fatalf("%v to %v did not close: %v", c.Local, c.Remote, c.Err())
				}
			}
			if ch.BadChecksums+vh.BadChecksums != 0 {
				t.Fatal("bad checksums")
			}
		})
	}
}

func TestConnectionsThatBreak(t *testing.T) {
	dial := func(ch *Host, port uint16) *Conn {
		return ch.Dial(netip.AddrPortFrom(clientAddr, 4000), netip.AddrPortFrom(serverAddr, port))
	}
	t.Run("a closed port resets", func(t *testing.T) {
		s, ch, vh := twoHosts(1, Impair{})
		c := dial(ch, 81)
		Loop(s, 10, ch.Step, vh.Step)
		if !errors.Is(c.Err(), ErrReset) || vh.Strays != 1 {
			t.Fatal(c.Err())
		}
	})
	t.Run("an abort reaches the peer", func(t *testing.T) {
		s, ch, vh := twoHosts(1, Impair{})
		echoServer(vh, 80)
		c := dial(ch, 80)
		Loop(s, 10, ch.Step, vh.Step)
		peer := vh.order[0]
		c.Abort()
		Loop(s, 10, ch.Step, vh.Step)
		if !peer.Established() || !errors.Is(peer.Err(), ErrReset) {
			t.Fatal(peer.Err())
		}
	})
	t.Run("a blind reset does nothing", func(t *testing.T) {
		s, ch, vh := twoHosts(1, Impair{})
		echoServer(vh, 80)
		c := dial(ch, 80)
		Loop(s, 10, ch.Step, vh.Step)
		vh.Send(TCP(c.Remote, c.Local).Flags(RST).Seq(c.rcv + 1000))
		Loop(s, 10, ch.Step, vh.Step)
		if c.Err() != nil || !c.Established() {
			t.Fatal(c.Err())
		}
	})
	t.Run("a silent peer times out", func(t *testing.T) {
		s, ch, vh := twoHosts(1, Impair{})
		s.Cut(1, true)
		c := dial(ch, 80)
		Loop(s, 60_000, ch.Step, vh.Step)
		if !errors.Is(c.Err(), ErrTimeout) || c.Repeats() != connTries {
			t.Fatalf("%v after %d", c.Err(), c.Repeats())
		}
	})
	t.Run("damage is noticed and repaired", func(t *testing.T) {
		s, ch, vh := twoHosts(1, Impair{})
		echoServer(vh, 80)
		c := dial(ch, 80)
		Loop(s, 10, ch.Step, vh.Step)
		b := TCP(c.Local, c.Remote).Flags(PSH|ACK).Seq(c.nxt).Ack(c.rcv).Text("evil").Eth(serverMAC, clientMAC).Bytes()
		b[len(b)-1] ^= 1
		vh.Deliver(b)
		c.Write([]byte("good"))
		Loop(s, 10, ch.Step, vh.Step)
		if vh.BadChecksums != 1 || string(c.Received()) != "good" {
			t.Fatalf("%d, %q", vh.BadChecksums, c.Received())
		}
	})
}

func TestHostAnswers(t *testing.T) {
	s, ch, vh := twoHosts(1, Impair{})
	vh.OnUDP = func(_, _ netip.AddrPort, b []byte) []byte { return append([]byte("re: "), b...) }
	var got []string
	ch.OnUDP = func(_, _ netip.AddrPort, b []byte) []byte { got = append(got, string(b)); return nil }
	ch.SendUDP(netip.AddrPortFrom(clientAddr, 1), netip.AddrPortFrom(serverAddr, 2), []byte("a"))
	ch.SendUDP(netip.AddrPortFrom(client6, 1), netip.AddrPortFrom(server6, 2), []byte("b"))
	ch.Send(Echo(clientAddr, serverAddr, 1, 1))
	ch.Send(Echo(client6, server6, 1, 1))
	errs := 0
	ch.OnError = func(info *packet.Info, _ []byte) { errs++ }
	vh.Send(ICMPError(serverAddr, 3, 3, 0, UDP(netip.AddrPortFrom(clientAddr, 1), netip.AddrPortFrom(serverAddr, 2)).Bytes(), 28))
	var frames [][]byte
	s.Tap(func(_ int64, _ int, f []byte) { frames = append(frames, append([]byte(nil), f...)) })
	vh.Deliver(ARP(1, clientMAC, clientAddr, [6]byte{}, serverAddr).Bytes())
	vh.Deliver(NS(clientMAC, client6, server6).Bytes())
	vh.Deliver(ARP(1, clientMAC, clientAddr, [6]byte{}, Addr("192.0.2.99")).Bytes())
	Loop(s, 3, ch.Step, vh.Step)
	if len(got) != 2 || got[0] != "re: a" || got[1] != "re: b" || errs != 1 {
		t.Fatalf("%q, %d errors", got, errs)
	}
	want := map[string]bool{
		string(ARP(2, serverMAC, serverAddr, clientMAC, clientAddr).Bytes()):                                                              true,
		string(NA(serverMAC, server6, client6, server6, 3<<29).Eth(clientMAC, serverMAC).Bytes()):                                         true,
		string(EchoReply(serverAddr, clientAddr, 1, 1).Eth(clientMAC, serverMAC).Bytes()):                                                 true,
		string(EchoReply(server6, client6, 1, 1).Eth(clientMAC, serverMAC).Bytes()):                                                       true,
		string(UDP(netip.AddrPortFrom(serverAddr, 2), netip.AddrPortFrom(clientAddr, 1)).Text("re: a").Eth(clientMAC, serverMAC).Bytes()): true,
		string(UDP(netip.AddrPortFrom(server6, 2), netip.AddrPortFrom(client6, 1)).Text("re: b").Eth(clientMAC, serverMAC).Bytes()):       true,
	}
	for _, f := range frames {
		delete(want, string(f))
	}
	if len(want) != 0 || len(frames) != 6 {
		t.Fatalf("%d frames, %d of the wanted are missing", len(frames), len(want))
	}
}
