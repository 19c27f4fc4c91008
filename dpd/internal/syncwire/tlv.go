package syncwire

import "encoding/binary"

const (
	tlvHeaderLen = 3
	// critical is the bit of a TLV's type that forbids to skip it when its kind is unknown.
	critical = 0x80
	clockLen = 16
)

// criticalKinds are sent with the critical bit: what changes sessions or the order of things. A receiver that doesn't know
// one of them must not go on as if the datagram were understood.
const criticalKinds = 1<<KindClock | 1<<KindHello | 1<<KindHelloAck | 1<<KindSession | 1<<KindClose | 1<<KindAge |
	1<<KindActive | 1<<KindHint | 1<<KindNackVersion | 1<<KindAnswer | 1<<KindTemplate | 1<<KindFenced |
	1<<KindDictionary | 1<<KindDelta | 1<<KindBulkEnd

func wireType(k Kind) byte {
	if criticalKinds>>k&1 != 0 {
		return byte(k) | critical
	}
	return byte(k)
}

// appendTLVHeader opens a TLV of unknown length; closeTLV writes the length.
func appendTLVHeader(b []byte, k Kind) []byte { return append(b, wireType(k), 0, 0) }

func closeTLV(b []byte, at int) {
	binary.LittleEndian.PutUint16(b[at+1:], uint16(len(b)-at-tlvHeaderLen))
}
