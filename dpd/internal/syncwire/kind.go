package syncwire

// Kind is the type of a TLV: its low 7 bits on the wire. Values are never used again for another meaning.
type Kind uint8

const (
	KindNone        Kind = 0
	KindClock       Kind = 1
	KindHello       Kind = 2
	KindHelloAck    Kind = 3
	KindSession     Kind = 4
	KindClose       Kind = 5
	KindAge         Kind = 6
	KindActive      Kind = 7 // reserved: policy refresh
	KindHint        Kind = 8
	KindAck         Kind = 9
	KindNackVersion Kind = 10
	KindGap         Kind = 11
	KindDigest      Kind = 12
	KindDigestList  Kind = 13
	KindBulkBegin   Kind = 14
	KindBulkEnd     Kind = 15
	KindQuery       Kind = 16
	KindAnswer      Kind = 17
	KindTemplate    Kind = 18 // reserved: persistence templates
	KindLaddrUse    Kind = 19
	KindFenced      Kind = 20
	KindProbe       Kind = 21
	KindDictionary  Kind = 22
	KindPad         Kind = 23
	KindDelta       Kind = 24 // reserved: sequence deltas, proxy state
	KindDigestReply Kind = 25
	NumKinds             = 26
)

var kindNames = [NumKinds]string{
	"none", "clock", "hello", "hello_ack", "session", "close", "age", "active", "hint", "ack", "nack_version", "gap",
	"digest", "digest_list", "bulk_begin", "bulk_end", "query", "answer", "template", "laddr_use", "fenced", "probe",
	"dictionary", "pad", "delta", "digest_reply",
}

// HasRecord says whether a message of the kind holds a record; of an ANSWER that is found.
func (k Kind) HasRecord(found bool) bool {
	switch k {
	case KindSession, KindClose, KindAge, KindNackVersion, KindDigestList:
		return true
	case KindAnswer:
		return found
	}
	return false
}

// String is the kind's name in metrics.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Lane separates streams between two nodes that are counted, checked for gaps and sealed apart, so that a flood of bulk
// neither delays nor pushes out of the window what is urgent. Queue and core numbers are no lanes: they never travel.
type Lane uint8

const (
	LaneControl Lane = 0 // HELLO, HELLO_ACK, PROBE, GAP, FENCED, LADDR_USE, BULK_*, answers to digests: never re-sent
	LaneLive    Lane = 1 // sessions as they change, hints, queries and their answers; digests, in order with those
	LaneBulk    Lane = 2 // stock for a joining node and repairs
	NumLanes         = 3
)

// String is the lane's name in metrics.
func (l Lane) String() string {
	switch l {
	case LaneControl:
		return "control"
	case LaneLive:
		return "live"
	case LaneBulk:
		return "bulk"
	}
	return "unknown"
}
