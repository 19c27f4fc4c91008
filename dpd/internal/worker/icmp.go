package worker

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/conntrack"
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/nat"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/stat"
)

// icmpError translates an error about a packet of session ref to the other side. It does not touch the session: who can
// make up an error must not keep a session alive or end it.
func (w *Worker) icmpError(i int, ref conntrack.Ref) {
	h, d := ref.Handle(), ref.Dir()
	if !w.errors.take(h, w.now) {
		w.free(w.pkt[i], stat.DropICMPSession)
		return
	}
	if !w.relayed.take(w.now) {
		w.free(w.pkt[i], stat.DropICMPLimited)
		return
	}
	w.table.Outgoing(h, d, &w.to)
	p, info := w.pkt[i], &w.info[i]
	r := w.route(&w.to)
	v := nat.Rewrite(info, p.Data, &w.to)
	if v != nat.Done {
		w.free(p, untranslated[v]) // never an error about an error
		return
	}
	w.count[stat.ICMPErrors]++
	w.send(i, r)
}

// untranslated is why a packet that nat did not rewrite is dropped.
var untranslated = [nat.NumVerdicts]stat.Counter{
	nat.TTLExpired: stat.DropTTL, nat.FamilyMismatch: stat.DropFamily, nat.ZeroChecksum: stat.DropUDP6Checksum,
	nat.BadChecksum: stat.DropICMPChecksum, nat.NotRoutable: stat.DropNotRoutable, nat.Refused: stat.DropRefused,
}

// answer drops packet i and tells its sender why by ICMP, if that is allowed and its rate limit has room.
func (w *Worker) answer(i int, problem nat.Problem, mtu uint32) {
	p, info := w.pkt[i], &w.info[i]
	why := stat.DropTTL
	if problem != nat.TimeExceeded {
		why = stat.DropTooBig
	}
	n := nat.ErrorSize(info)
	if n > 0 && !w.answers.take(w.now) {
		w.count[stat.Unanswered]++
		n = 0
	}
	if n == 0 {
		w.free(p, why)
		return
	}
	from, ok := w.speaker(int(w.from[i]), info.Family())
	var e port.Packet
	if ok {
		if e, ok = w.cfg.Pool.Alloc(n); !ok {
			w.count[stat.DropNoMemory]++
		}
	}
	if ok {
		w.made = e
		nat.PutError(e.Data, info, p.Data, problem, mtu, from)
		w.made = port.Packet{}
		w.count[stat.Generated]++
		w.queue(int(w.from[i]), &e)
	}
	w.free(p, why)
}

// speaker is the address of a device that errors come from, in the words of flow.Key.
func (w *Worker) speaker(dev int, family uint8) ([2]uint64, bool) {
	q := &w.cfg.Queues[dev]
	if family == flow.IPv4 {
		return [2]uint64{0, q.Speak4}, q.Speak4 != 0
	}
	return q.Speak6, q.Speak6 != [2]uint64{}
}
