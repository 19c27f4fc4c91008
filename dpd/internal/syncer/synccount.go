package syncer

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/syncseal"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncwire"
)

// SyncCounter names what a Sync counts. After the fixed ones come one for each reason of the codec and one for each
// verdict of the seal.
type SyncCounter uint8

const (
	SyncReceived     SyncCounter = iota // datagrams authentic and in order of their link
	SyncSent                            // datagrams
	SyncBytes                           // of datagrams sent
	SyncSource                          // from another address than that of the node in whose name it comes
	SyncNotMember                       // from a node that is not in the view
	SyncSelf                            // from this very node's id
	SyncOldInc                          // from a fenced or lower incarnation
	SyncNewInc                          // from an incarnation that the view doesn't know yet
	SyncNotBelieved                     // under a salt that no echo proved
	SyncLimited                         // not looked at, or not answered: too many
	SyncStale                           // older than 5 s on its way
	SyncRingFull                        // a shard's ring
	SyncViewOld                         //
	SyncFenced                          // nodes that came back
	SyncNoKey                           // could not be sealed
	SyncInvalid                         // messages that the codec refused to write
	SyncGapAsked                        // ranges asked for
	SyncGapAnswered                     // datagrams that peers asked for and that were sent again
	SyncGapOverrun                      // datagrams that peers asked for and that were no longer known
	SyncGapLost                         // times that datagrams were given up
	SyncHello                           // handshakes done
	SyncSuspicions                      //
	SyncReplies                         // answers limited by rate
	SyncTooShort                        // not answered: shorter than the answer
	SyncForeignMajor                    // greetings of a peer that does not speak this major version
	SyncSkipped                         // TLVs of kinds that only newer versions know
	SyncBulkDiffers                     // bulks that were not what their end said
	SyncUseSent                         // LADDR_USE told to peers
	SyncUseTaken                        // LADDR_USE of peers that were kept
	SyncUseOld                          // LADDR_USE overtaken by a later one
	SyncUseUnknown                      // LADDR_USE of a block that the view doesn't have
	SyncUseBad                          // LADDR_USE that names no holder
	SyncUseAged                         // LADDR_USE forgotten since the peer did not repeat it
	SyncUseLeftOut                      // LADDR_USE or blocks for which there was no room
	SyncNewSalt                         // links that were given another salt
	SyncRebased                         // clock bases that a proof moved by more than drift explains
	SyncReason                          // + syncwire.Reason
	SyncVerdict      = SyncReason + SyncCounter(syncwire.NumReasons)
	NumSyncCounters  = SyncVerdict + SyncCounter(syncseal.NumVerdicts)
)

var syncCounterNames = [SyncReason]string{
	"received", "sent", "sent_bytes", "foreign_source", "not_member", "self", "old_inc", "new_inc", "not_believed", "limited", "stale", "ring_full",
	"view_old", "fenced", "no_key", "invalid", "gap_asked", "gap_answered", "gap_overrun", "gap_lost", "hello", "suspicions", "replies_limited",
	"too_short", "foreign_major", "skipped", "bulk_differs",
	"laddr_use_sent", "laddr_use_taken", "laddr_use_old", "laddr_use_unknown", "laddr_use_bad", "laddr_use_aged", "laddr_use_left_out", "new_salt",
	"clock_rebased",
}

// String is the counter's name in metrics.
func (c SyncCounter) String() string {
	switch {
	case c < SyncReason:
		return syncCounterNames[c]
	case c < SyncVerdict:
		return "refused_" + syncwire.Reason(c-SyncReason).String()
	}
	return "seal_" + syncseal.Verdict(c-SyncVerdict).String()
}

// SyncCounters are a Sync's counts since it was made.
type SyncCounters [NumSyncCounters]uint64
