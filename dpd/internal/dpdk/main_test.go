//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
)

// rt is the one runtime of this process: the EAL starts once.
var rt *Runtime

func TestMain(m *testing.M) {
	var err error
	if rt, err = Start(Config{NoHuge: true, MemoryMB: 128, FilePrefix: fmt.Sprint("tdpdk", os.Getpid()), LogLevel: "error"}); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need DPDK and root:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := rt.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close:", err)
		code = 1
	}
	if err := errors.Join(rt.Close(), rt.RegisterThread()); !errors.Is(err, ErrClosed) {
		fmt.Fprintln(os.Stderr, "after Close:", err)
		code = 1
	}
	os.Exit(code)
}

// open opens a port for one test and checks at its end that no packet was lost on the way.
func open(t testing.TB, cfg PortConfig) *Port {
	t.Helper()
	before := rt.pool.mp.InUseCount()
	p, err := rt.OpenPort(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error("second close:", err)
		}
		// The AF_XDP driver keeps what lies in the kernel's fill ring.
		if n := rt.pool.mp.InUseCount() - before; n != 0 && p.Info().Driver != "net_af_xdp" {
			t.Errorf("%d packets of the pool did not come back", n)
		}
	})
	return p
}

// packetThread makes the test's goroutine a packet thread for the rest of the test.
func packetThread(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := rt.RegisterThread(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.UnregisterThread(); runtime.UnlockOSThread() })
}

// packet allocates a packet with content.
func packet(t testing.TB, data []byte) port.Packet {
	t.Helper()
	p, ok := rt.Pool().Alloc(len(data))
	if !ok {
		t.Fatalf("no packet of %d bytes", len(data))
	}
	copy(p.Data, data)
	return p
}

// frame is an Ethernet frame of n bytes with a type that no kernel answers, told apart by tag.
func frame(n int, tag byte) []byte {
	f := make([]byte, n)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	for i := 14; i < n; i++ {
		f[i] = tag + byte(i)
	}
	return f
}

// receive polls queue q until n packets that want accepts came, and returns copies of them. It frees everything.
func receive(t testing.TB, p *Port, q, n int, want func([]byte) bool) [][]byte {
	t.Helper()
	var got [][]byte
	var b port.Batch
	for end := time.Now().Add(3 * time.Second); len(got) < n; {
		if p.Rx(q, &b); b.N == 0 && time.Now().After(end) {
			t.Fatalf("%d of %d packets came", len(got), n)
		}
		for i := range b.N {
			if d := b.Pkt[i].Data; want == nil || want(d) {
				got = append(got, append([]byte(nil), d...))
			}
		}
		rt.Pool().Free(&b)
	}
	return got
}
