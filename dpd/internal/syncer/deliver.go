package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// DeliveryKind says what a Delivery brings.
type DeliveryKind uint8

const (
	DeliverMessage     DeliveryKind = 1 + iota // Msg from From
	DeliverDigest                              // Digest from From, in order if Yes; Seq is From's view
	DeliverConfirmed                           // From has received messages up to Seq
	DeliverResend                              // From lost message Seq about Ref
	DeliverSuspect                             // Yes: From is silent, else it is heard; Gap: datagrams of its live lane are missing
	DeliverDesync                              // something to or from From was lost without repair
	DeliverWatermarks                          // Words of From
	DeliverFenced                              // incarnations of From.ID below From.Inc are over
	DeliverDigestReply                         // Reply from From
)

// Delivery is one input of a Shard from the sync thread: pointer-free, so that it can be copied through a ring.
type Delivery struct {
	Kind   DeliveryKind
	Yes    bool
	Gap    bool
	From   flow.Node
	Seq    uint64
	Ref    Ref
	Words  Words
	Msg    syncwire.Message
	Digest syncwire.DigestSums
	Reply  syncwire.DigestReply
}

// Foresight is how many messages ahead of its turn one is best foreseen.
const Foresight = 8

// Foresee says that a message will be received soon, so that what it needs of the table is on its way by then. It changes nothing.
func (s *Shard) Foresee(msg *syncwire.Message) {
	s.store.Near(flow.Key(msg.Rec.Orig), flow.Key(msg.Rec.Reply))
}

// Deliver applies what the sync thread sent.
func (s *Shard) Deliver(now int64, d *Delivery) {
	switch d.Kind {
	case DeliverMessage:
		s.Receive(now, d.From, &d.Msg)
	case DeliverDigest:
		s.Digest(now, d.From, &d.Digest, d.Yes, d.Seq)
	case DeliverDigestReply:
		s.DigestReply(now, d.From, &d.Reply)
	case DeliverConfirmed:
		s.Confirmed(d.From, d.Seq)
	case DeliverResend:
		s.Resend(now, d.From, d.Seq, d.Ref)
	case DeliverSuspect:
		s.Suspect(now, d.From, d.Yes)
		s.GapOpen(d.From, d.Gap)
	case DeliverDesync:
		s.PeerDesync(now, d.From)
	case DeliverWatermarks:
		s.Watermarks(d.From, d.Words)
	case DeliverFenced:
		s.Fenced(now, d.From)
	}
}
