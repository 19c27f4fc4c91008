package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// TCP flags of a Segment, as in the header.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Segment is what Touch needs of a packet's TCP header.
type Segment struct {
	Seq, Ack uint32
	Payload  uint32 // bytes after the TCP header
	Window   uint16 // unscaled
	Flags    uint8
}

// end is the sequence number after the segment: a SYN and a FIN count as one byte each.
func (s *Segment) end() uint32 {
	return s.Seq + s.Payload + uint32(s.Flags&FIN) + uint32(s.Flags&SYN>>1)
}

// Rows of a state table: what the packet carries, the strongest first.
const (
	rowSyn = iota
	rowFin
	rowAck
	rowRst
	rows
)

// row classes by the low five TCP flags: rst, then syn, then fin, then ack; rows = no transition.
var row = func() (r [32]uint8) {
	for f := range r {
		switch {
		case f&RST != 0:
			r[f] = rowRst
		case f&SYN != 0:
			r[f] = rowSyn
		case f&FIN != 0:
			r[f] = rowFin
		case f&ACK != 0:
			r[f] = rowAck
		default:
			r[f] = rows
		}
	}
	return r
}()

const (
	sNO = flow.TCPNone
	sES = flow.TCPEstablished
	sSS = flow.TCPSynSent
	sSR = flow.TCPSynRecv
	sFW = flow.TCPFinWait
	sTW = flow.TCPTimeWait
	sCL = flow.TCPClose
	sCW = flow.TCPCloseWait
	sLA = flow.TCPLastAck
	sLI = flow.TCPListen
	sSA = flow.TCPSynAck
)

const tcpStates = int(flow.TCPSynAck) + 1

// Tables of next: both directions seen, or the client's alone (DR, tunnel).
const (
	tabIn = iota
	tabOut
	tabInOnly
)

// next is the state after a packet: [table][row][present state]. The names and transitions are those of IPVS and DPVS.
var next = [3][rows][tcpStates]flow.State{
	tabIn: {
		//       NO   ES   SS   SR   FW   TW   CL   CW   LA   LI   SA
		rowSyn: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		rowFin: {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sTW},
		rowAck: {sCL, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		rowRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sSR},
	},
	tabOut: {
		rowSyn: {sSS, sES, sSS, sSR, sSS, sSS, sSS, sSS, sSS, sLI, sSR},
		rowFin: {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
		rowAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
		rowRst: {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL},
	},
	tabInOnly: {
		rowSyn: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		rowFin: {sCL, sFW, sSS, sTW, sFW, sTW, sCL, sCW, sLA, sLI, sTW},
		rowAck: {sCL, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		rowRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
}

// tableOf selects the state table for a packet.
func tableOf(m flow.Mode, d flow.Direction) int {
	if m == flow.DR || m == flow.Tunnel {
		return tabInOnly
	}
	return int(d & 1)
}
