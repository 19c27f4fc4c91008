package conntrack

import (
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// The transitions as the design states them; a row is what the packet carries, a column the present state.
const designTable = `
     NO ES SS SR FW TW CL CW LA LI SA
IN
syn  SR ES ES SR SR SR SR SR SR SR SR
fin  CL CW SS TW TW TW CL CW LA LI TW
ack  CL ES SS ES FW TW CL CW CL LI ES
rst  CL CL CL SR CL CL CL CL LA LI SR
OUT
syn  SS ES SS SR SS SS SS SS SS LI SR
fin  TW FW SS TW FW TW CL TW LA LI TW
ack  ES ES SS ES FW TW CL CW LA ES ES
rst  CL CL SS CL CL TW CL CL CL CL CL
INONLY
syn  SR ES ES SR SR SR SR SR SR SR SR
fin  CL FW SS TW FW TW CL CW LA LI TW
ack  CL ES SS ES FW TW CL CW CL LI ES
rst  CL CL CL SR CL CL CL CL LA LI CL
`

func TestStateTableIsTheDesigns(t *testing.T) {
	states := map[string]flow.State{}
	var columns []flow.State
	tab, checked := -1, 0
	for line := range strings.Lines(designTable) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) == 1:
			tab = map[string]int{"IN": tabIn, "OUT": tabOut, "INONLY": tabInOnly}[f[0]]
		case len(f) == tcpStates:
			for i, name := range f {
				states[name] = flow.State(i)
				columns = append(columns, flow.State(i))
			}
		default:
			r := map[string]int{"syn": rowSyn, "fin": rowFin, "ack": rowAck, "rst": rowRst}[f[0]]
			for i, name := range f[1:] {
				want, ok := states[name]
				if !ok {
					t.Fatalf("no state %q", name)
				}
				if got := next[tab][r][columns[i]]; got != want {
					t.Errorf("table %d row %s column %d: %d, want %d", tab, f[0], i, got, want)
				}
				checked++
			}
		}
	}
	if checked != 3*4*tcpStates {
		t.Errorf("%d transitions checked", checked)
	}
}

func TestStrongestFlagSelectsTheRow(t *testing.T) {
	for flags, want := range map[uint8]uint8{
		SYN: rowSyn, SYN | ACK: rowSyn, FIN: rowFin, FIN | ACK: rowFin, ACK: rowAck, ACK | PSH: rowAck,
		RST: rowRst, RST | ACK: rowRst, RST | SYN | FIN | ACK: rowRst, SYN | FIN: rowSyn, 0: rows, PSH: rows,
	} {
		if row[flags] != want {
			t.Errorf("flags %05b: row %d, want %d", flags, row[flags], want)
		}
	}
}
