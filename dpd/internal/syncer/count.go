package syncer

// Counter names what a Shard counts.
type Counter uint8

const (
	CreateReplyTaken Counter = iota
	CreateRefused
	StoreFault
	Installed
	InstallRefused // the store is full
	Invalid        // a record that makes no sense
	NotMember      // from a node that is not in the view
	ViewOld
	Accepted
	Stale // an older version or a lower life; the sender was told
	Equal
	Refuted
	TakenOver
	Adopted
	Revived
	Reborn
	RebirthLimited
	SynProbed // SYNs passed to a server that takes no new ones, to learn whether it has the session
	Aged
	Closed
	Displaced // dropped: a later life has its reply tuple
	Yielded   // became reply-only
	HintSent
	HintRepeated
	HintUsed
	HintLimited // no room to repeat it
	HintAnswered
	NackLimited
	QuerySent
	QueryRepeated
	QueryLimited
	QueryAnswered
	QueryUnknown
	AnswerLimited // a member asked too much
	Collected
	CollectWaits
	EndedGivenUp     // closed sessions forgotten early: the ended cache was full
	EndedUnconfirmed // ended sessions collected although some member may not know
	AgedGivenUp      // aged sessions removed early: the table was full
	DigestEqual
	DigestUnequal
	DigestUnsure
	DigestUnequalThere // as a member says of what this node owns
	DigestReplyStray   // to a digest that is long past
	Listed
	BulkSent
	Resent
	ResendGone
	AckSent
	Acked
	AckStray     // of nothing that waits for it
	ClaimUnasked // too many at a time
	ClaimUnacked // given up
	Crowded      // of too many owners that are no members
	Outlived     // what peers hold of this node's own, and whose end it forgot
	Recovered    // what this node was said to own and had lost
	NumCounters
)

var counterNames = [NumCounters]string{
	"create_reply_taken", "create_refused", "store_fault", "installed", "install_refused", "invalid", "not_member", "view_old",
	"accepted", "stale", "equal", "refuted", "taken_over", "adopted", "revived", "reborn", "rebirth_limited", "syn_probed", "aged", "closed",
	"displaced", "yielded", "hint_sent", "hint_repeated", "hint_used", "hint_limited", "hint_answered",
	"nack_limited", "query_sent", "query_repeated",
	"query_limited", "query_answered", "query_unknown", "answer_limited", "collected", "collect_waits",
	"ended_given_up", "ended_unconfirmed", "aged_given_up", "digest_equal", "digest_unequal", "digest_unsure",
	"digest_unequal_there", "digest_reply_stray", "listed", "bulk_sent", "resent", "resend_gone", "ack_sent", "acked", "ack_stray",
	"claim_unasked",
	"claim_unacked", "crowded", "outlived", "recovered",
}

// String is the counter's name in metrics.
func (c Counter) String() string { return counterNames[c] }

// Counters are a Shard's counts since it was made.
type Counters [NumCounters]uint64
