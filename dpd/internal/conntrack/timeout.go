package conntrack

import "github.com/holdfast-lb/holdfast/dpd/internal/flow"

// Timeouts are seconds of idleness per protocol state.
type Timeouts [flow.NumStates]uint32

// DefaultTimeouts are those of DPVS, save three: ESTABLISHED is an hour, as IPVS synchronises it (90 s ends connections that
// merely wait), CLOSE_WAIT two minutes (7 s ends half-closed connections that are still sending), and UDP without an
// answer half a minute, as a forged source never shows more.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		flow.TCPNone: 2, flow.TCPEstablished: 3600, flow.TCPSynSent: 3, flow.TCPSynRecv: 30, flow.TCPFinWait: 120,
		flow.TCPTimeWait: 7, flow.TCPClose: 3, flow.TCPCloseWait: 120, flow.TCPLastAck: 7, flow.TCPListen: 120, flow.TCPSynAck: 30,
		flow.UDPNone: 30, flow.UDPOneWay: 30, flow.UDPNormal: 300, flow.ICMPNormal: 300,
	}
}

const (
	// doubtMS is the timeout of a session of which a RST or FIN was forwarded but not believed.
	doubtMS = 30_000
	// tombMS is how long after its end a tombstone is reported by Sweep for the first time.
	tombMS = 60_000
	// replyOnlyMS is the idle time of a session that a later one superseded.
	replyOnlyMS = 60_000
)

// SetServiceTimeouts overrides the timeouts of one service; nil takes the override away. Fields of 0 seconds keep the default.
// It applies to sessions at their next change of state.
func (t *Table) SetServiceTimeouts(service uint32, over *Timeouts) {
	if over == nil {
		delete(t.override, service)
		return
	}
	o := *over
	t.override[service] = &o
}

// unansweredMost is the longest timeout, in seconds, of UDP without an answer. A configuration names one for all of UDP, and a flood
// of forged sources must not hold the table for that long.
const unansweredMost = 30

// seconds is the timeout of a state for sessions of a service.
func (t *Table) seconds(service uint32, state flow.State) uint32 {
	s := t.configured(service, state)
	if state == flow.UDPNone || state == flow.UDPOneWay {
		s = min(s, unansweredMost)
	}
	return s
}

func (t *Table) configured(service uint32, state flow.State) uint32 {
	if len(t.override) > 0 {
		if o := t.override[service]; o != nil && o[state] != 0 {
			return o[state]
		}
	}
	return t.defaults[state]
}
