package syncwire

// Reason says why a datagram was refused; OK is none.
type Reason uint8

const (
	OK            Reason = iota
	Short                // smaller than header, first TLV and tag
	Long                 // larger than MaxDatagram
	BadMagic             // not a sync datagram
	BadMajor             // a major version that this side doesn't speak
	BadLane              // a lane that doesn't exist
	NoClock              // the first TLV isn't CLOCK
	Truncated            // a TLV or a field reaches beyond what holds it
	UnknownKind          // a critical TLV of an unknown kind
	Repeated             // a TLV that may stand once stands twice
	TooMany              // more bodies than a datagram may hold
	BadReference         // a reference to a dictionary entry that isn't there
	BadDictionary        // a dictionary entry that contradicts itself
	BadFamily            // an address family other than 4 and 6
	BadNumber            // a variable-length number beyond its range
	BadValue             // a field outside of its range
	ReservedBits         // bits that this version doesn't know where they may not be skipped
	NumReasons
)

var reasonNames = [NumReasons]string{
	"ok", "short", "long", "bad_magic", "bad_major", "bad_lane", "no_clock", "truncated", "unknown_kind", "repeated",
	"too_many", "bad_reference", "bad_dictionary", "bad_family", "bad_number", "bad_value", "reserved_bits",
}

// String is the reason's name in metrics.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown"
}
