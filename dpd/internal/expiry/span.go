package expiry

// Span is a timeout in seconds in 16 bits: 13 bits of mantissa, 3 bits of exponent to the base 4. It is exact up to 8191 s
// (2.3 hours) and rounds up above, never by more than one part in 2048; the greatest is SpanMax.
type Span uint16

const (
	mantissaBits = 13
	mantissaMask = 1<<mantissaBits - 1
	// SpanMax is the greatest number of seconds that a Span holds (4.2 years).
	SpanMax = mantissaMask << 14
)

// SpanOf encodes seconds, rounding up; values above SpanMax become SpanMax.
func SpanOf(seconds uint32) Span {
	if seconds >= SpanMax {
		return 7<<mantissaBits | mantissaMask
	}
	for e := uint32(0); ; e++ {
		if m := (uint64(seconds) + 1<<(2*e) - 1) >> (2 * e); m <= mantissaMask {
			return Span(e<<mantissaBits | uint32(m))
		}
	}
}

// Seconds decodes the span.
func (s Span) Seconds() uint32 {
	return uint32(s&mantissaMask) << (2 * (s >> mantissaBits))
}

// Millis is the span in milliseconds, bounded by Horizon.
func (s Span) Millis() uint32 {
	return uint32(min(uint64(s.Seconds())*1000, Horizon))
}
