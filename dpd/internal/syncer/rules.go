package syncer

// Rules is a set of rules of the protocol that can be switched off one by one. Production code leaves it zero; the
// simulator switches single rules off to prove that a run notices.
type Rules uint32

const (
	NoTieBreak       Rules = 1 << iota // equal terms are not ordered by owner
	NoTerm                             // versions alone order two copies
	NoRefute                           // an AGE of a served flow is believed
	NoAdopt                            // orphans stay orphans
	NoDigest                           // no digests
	DigestOwnOnly                      // digests and lists cover own records alone
	BulkOwnOnly                        // a bulk leaves out orphans
	NoInc                              // an owner is compared without its incarnation
	HardAge                            // an expiry removes the record and sends CLOSE
	KeepBirthOnSyn                     // a SYN on an established record passes without a new birth
	CloseByTerm                        // CLOSE obeys the order of terms
	CollectByTime                      // tombstones go by time alone
	QueryBlindToSoft                   // soft tombstones answer no query
	ReplyOnlyLocal                     // the reply-only flag does not travel
	NoFence                            // a HELLO of a higher incarnation fences nothing
	UnboundedSkew                      // a foreign birth moves the clock without bound
	OneClock                           // a takeover is a new birth
	SilentLoser                        // who brings a lower birth is not told of the higher
	NoGap                              // lost datagrams are not asked for
	BitsOfNewer                        // sticky bits come with the newer version, what was known besides is lost
	IdleOfNewer                        // last-seen comes with the newer version, however long ago it was
	AgedStayOrphans                    // an orphan that aged is not adopted
	ReviveInTerm                       // a revival does not raise the term
	CloseUnacked                       // two FINs end a session without their acknowledgements
	ThawByAnyEcho                      // an echo of a PROBE from before a stand-still ends it
	AnyView                            // a view with a lower number is taken
)
