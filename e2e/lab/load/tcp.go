package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/holdfast-lb/holdfast/e2e/lab/stream"
)

// openTimeout is for a handshake and its first frame.
const openTimeout = 15 * time.Second

// tcpConn is one connection. An active one has a writer and a reader goroutine; an idle one is used by one at a time.
type tcpConn struct {
	f    *flow
	l    *Load
	c    *net.TCPConn
	r    *stream.Reader
	next uint32
	out  []byte
}

func (l *Load) openTCP(f *flow) (*tcpConn, error) {
	c, err := net.DialTimeout("tcp", f.state.Service.String(), openTimeout)
	if err != nil {
		return nil, err
	}
	f.state.Client = c.LocalAddr().(*net.TCPAddr).AddrPort()
	f.state.Client = netip.AddrPortFrom(f.state.Client.Addr().Unmap(), f.state.Client.Port())
	t := &tcpConn{f: f, l: l, c: c.(*net.TCPConn), r: stream.NewReader(c, stream.FromServer, f.state.ID, true)}
	t.exchange(1)
	if b := f.state.Broken; b != "" {
		c.Close()
		return nil, errors.New(b)
	}
	if f.state.Kind == Active {
		l.wg.Go(t.write)
		l.wg.Go(t.read)
	}
	return t, nil
}

// send writes the next frame; its length walks through all sizes.
func (t *tcpConn) send() error {
	n := int((t.next*131 + t.f.state.ID*17) % uint32(t.l.plan.Payload+1))
	t.out = stream.Append(t.out[:0], stream.FromClient, t.f.state.ID, t.next, n)
	if _, err := t.c.Write(t.out); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	t.next++
	t.f.sent()
	return nil
}

func (t *tcpConn) stall() time.Duration { return time.Duration(t.l.plan.StallMs) * time.Millisecond }

// receive reads one answer; silence for longer than the stall limit is an error.
func (t *tcpConn) receive() error {
	if err := t.c.SetReadDeadline(time.Now().Add(t.stall())); err != nil {
		return err
	}
	if _, _, _, err := t.r.Next(); err != nil {
		if errors.Is(err, io.EOF) {
			return err
		}
		return fmt.Errorf("receive: %w", err)
	}
	t.f.received(time.Now())
	return nil
}

// exchange sends frames and waits for the answer of each.
func (t *tcpConn) exchange(frames int) {
	for range frames {
		if err := t.send(); err != nil {
			t.f.fail(err)
			return
		}
		if err := t.receive(); err != nil {
			t.f.fail(err)
			return
		}
	}
}

// write sends a frame each interval whether or not answers come, and closes its half at the end.
func (t *tcpConn) write() {
	tick := time.NewTicker(t.f.interval)
	defer tick.Stop()
	for {
		select {
		case <-t.l.stop:
			if err := t.c.CloseWrite(); err != nil {
				t.f.fail(fmt.Errorf("close: %w", err))
			}
			return
		case <-tick.C:
		}
		if err := t.c.SetWriteDeadline(time.Now().Add(t.stall())); err != nil {
			t.f.fail(err)
			return
		}
		if err := t.send(); err != nil {
			t.f.fail(err)
			t.c.Close()
			return
		}
	}
}

func (t *tcpConn) read() {
	defer t.c.Close()
	for {
		err := t.receive()
		if err == nil {
			continue
		}
		t.f.mu.Lock()
		owed := t.f.state.Sent - t.f.state.Received
		closing := t.f.closing
		t.f.mu.Unlock()
		if !errors.Is(err, io.EOF) || !closing || owed > 0 {
			t.f.fail(fmt.Errorf("%w with %d answers due", err, owed))
		}
		return
	}
}

// finish closes an idle connection in order: our FIN, then the server's.
func (t *tcpConn) finish() {
	defer t.c.Close()
	if t.f.broken() {
		return
	}
	if err := t.c.CloseWrite(); err != nil {
		t.f.fail(fmt.Errorf("close: %w", err))
		return
	}
	if err := t.receive(); !errors.Is(err, io.EOF) {
		t.f.fail(fmt.Errorf("close: %w", err))
	}
}

func (f *flow) broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Broken != ""
}
