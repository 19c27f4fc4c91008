package packet_test

import (
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/dpdtest"
	"github.com/holdfast-lb/holdfast/dpd/internal/packet"
)

func TestSourceRoutesAreRefused(t *testing.T) {
	a, b := dpdtest.AP("192.0.2.1:1000"), dpdtest.AP("198.51.100.1:80")
	a6, b6 := dpdtest.AP("[2001:db8::1]:1000"), dpdtest.AP("[2001:db8::2]:80")
	routing := func(typ, left byte) *dpdtest.Frame { return dpdtest.TCP(a6, b6).Ext(43, []byte{typ, left, 0, 0, 0, 0}) }
	for name, c := range map[string]struct {
		frame *dpdtest.Frame
		want  packet.Reason
	}{
		"loose source route":                {dpdtest.TCP(a, b).IPOptions([]byte{131, 7, 4, 192, 0, 2, 9, 0}), packet.BadOptions},
		"strict source route":               {dpdtest.TCP(a, b).IPOptions([]byte{137, 7, 4, 192, 0, 2, 9, 0}), packet.BadOptions},
		"source route after others":         {dpdtest.UDP(a, b).IPOptions([]byte{1, 148, 4, 0, 0, 131, 3, 4}), packet.BadOptions},
		"an option of length 0":             {dpdtest.TCP(a, b).IPOptions([]byte{148, 0, 0, 0}), packet.BadOptions},
		"an option beyond the header":       {dpdtest.TCP(a, b).IPOptions([]byte{148, 5, 0, 0}), packet.BadOptions},
		"an option cut off":                 {dpdtest.TCP(a, b).IPOptions([]byte{1, 1, 1, 148}), packet.BadOptions},
		"router alert":                      {dpdtest.TCP(a, b).IPOptions([]byte{148, 4, 0, 0}), packet.OK},
		"what is behind the end":            {dpdtest.TCP(a, b).IPOptions([]byte{0, 131, 0, 0}), packet.OK},
		"routing header of type 0":          {routing(0, 0), packet.BadExtension},
		"routing header with segments left": {routing(2, 1), packet.BadExtension},
		"routing header that is used up":    {routing(2, 0), packet.OK},
	} {
		var info packet.Info
		if got := packet.Parse(c.frame.Bytes(), &info); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestErrorsToAnotherThanTheQuotedSourceAreRefused(t *testing.T) {
	for _, c := range [][3]string{{"192.0.2.1:80", "192.0.2.2:1000", "198.51.100.9"}, {"[2001:db8::1]:80", "[2001:db8::2]:1000", "2001:db8::9"}} {
		from, other := dpdtest.AP(c[0]), dpdtest.Addr(c[2])
		quoted := dpdtest.TCP(from, dpdtest.AP(c[1])).Bytes()
		typ := uint8(packet.ICMPUnreachable)
		if other.Is6() {
			typ = packet.ICMPv6Unreachable
		}
		frame := dpdtest.ICMPError(other, typ, 1, 0, quoted, 64).Bytes()
		var info packet.Info
		if got := packet.Parse(frame, &info); got != packet.OK {
			t.Fatalf("to the source of what it quotes: %v", got)
		}
		// The quoted source is another one now; sums inside quotes need not hold.
		if other.Is4() {
			frame[info.Quote.L3+15]++
		} else {
			frame[info.Quote.L3+23]++
		}
		if got := packet.Parse(frame, &info); got != packet.ForeignQuote {
			t.Errorf("to another: %v", got)
		}
	}
}
