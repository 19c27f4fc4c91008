package syncwire

import "encoding/binary"

// Bits of the first byte of sequence hints; those of a direction are shifted by it.
const (
	seqSeen   = 0x01 // its next number follows
	seqAck    = 0x04 // and how far its acknowledgement is from the other direction's next number; else it is that
	seqScales = 0x10 // a byte with the scales of both follows
	seqsMax   = 1 + 2*4 + 2*maxVarint + 1
)

// appendSeqs writes sequence hints. Most acknowledge all that the other side has sent, or nearly.
func appendSeqs(w []byte, q *[2]Seq) []byte {
	at := len(w)
	w = append(w, 0)
	var mask, scales byte
	for i := range q {
		if q[i].Seen != 0 {
			mask |= seqSeen << i
			scales |= q[i].Scale << (4 * i)
			w = binary.LittleEndian.AppendUint32(w, q[i].Next)
		}
	}
	for i := range q {
		if d := q[i].Ack - q[i^1].Next; q[i].Seen != 0 && d != 0 {
			mask |= seqAck << i
			w = appendVarint(w, zigzag(d))
		}
	}
	if scales != 0 {
		mask |= seqScales
		w = append(w, scales)
	}
	w[at] = mask
	return w
}

// seqs reads sequence hints into q, which is zero.
func (r *reader) seqs(q *[2]Seq) {
	mask := r.u8()
	if mask > seqScales|3*seqAck|3*seqSeen || mask/seqAck&^mask&3 != 0 {
		r.fail(ReservedBits)
		return
	}
	for i := range q {
		if mask>>i&seqSeen != 0 {
			q[i].Next, q[i].Seen = r.u32(), 1
		}
	}
	for i := range q {
		if mask>>i&seqSeen != 0 {
			q[i].Ack = q[i^1].Next
		}
		if mask>>i&seqAck != 0 {
			q[i].Ack += unzigzag(r.varint())
		}
	}
	if mask&seqScales == 0 {
		return
	}
	scales := r.u8()
	for i := range q {
		if q[i].Scale = scales >> (4 * i) & scaleMax; q[i].Scale != 0 && q[i].Seen == 0 {
			r.fail(ReservedBits)
		}
	}
}
