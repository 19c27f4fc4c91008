package neigh

// Count names what became of a packet that the host got, or of one that waited for it.
type Count uint8

const (
	ARPAnswered Count = iota
	NDAnswered
	EchoAnswered
	ProbeHeard  // echo reply of a gateway
	ProofAsked  // echo requests from an address whose route is to be proved
	ProofHeard  // addresses whose route a gateway's reply has proved
	Confirmed   // answer to a question of ours
	Heard       // a neighbour that asked for an address of ours
	Doubted     // unasked claim of a new binding; asked again
	Unasked     // answer without a question, and nothing to doubt
	NotOurs     // for an address that this host does not own or answer for
	WrongLink   // for another station or VLAN
	Defended    // an address of ours, by saying again whose it is
	Conflict    // somebody else uses an address of ours
	BadMessage  // hop limit, checksum, code or options that the RFC forbids
	Limited     // more echo requests, or new neighbours, than a second may bring
	TableFull   // no room for another neighbour
	Waited      // packet kept until its next hop answers
	WaitFull    // packet that found no room to wait, or was pushed out by later ones
	Unreachable // packet whose next hop did not answer
	NoRoute     // packet to a destination without a route
	PoolEmpty   // nothing to write an answer or question into
	NotHandled  // packet of a class that the host has no business with
	NumCounts
)

var countNames = [NumCounts]string{
	ARPAnswered: "arp_answered", NDAnswered: "nd_answered", EchoAnswered: "echo_answered", ProbeHeard: "probe_heard", ProofAsked: "proof_asked", ProofHeard: "proof_heard",
	Confirmed: "confirmed", Heard: "heard", Doubted: "doubted", Unasked: "unasked", NotOurs: "not_ours",
	WrongLink: "wrong_link", Defended: "address_defended", Conflict: "address_conflict", BadMessage: "bad_message", Limited: "limited",
	TableFull: "table_full", Waited: "waited", WaitFull: "wait_full", Unreachable: "unreachable", NoRoute: "no_route",
	PoolEmpty: "pool_empty", NotHandled: "not_handled",
}

// String is the counter's name in metrics.
func (c Count) String() string {
	if c < NumCounts {
		return countNames[c]
	}
	return "unknown_count"
}
