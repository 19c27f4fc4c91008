package packet

// Reason says why a packet can't be processed. OK is no reason; the others index drop counters.
type Reason uint8

const (
	OK                Reason = iota
	Runt                     // shorter than its link header
	UnknownEtherType         // not IPv4, IPv6 or ARP, or more than one VLAN tag
	Oversize                 // more than 65535 bytes
	Truncated                // a header or a length field reaches past the end of the data
	BadVersion               // the version nibble contradicts the EtherType
	BadIHL                   // IPv4 header length below 20 bytes or beyond the total length
	BadHeaderChecksum        // IPv4 header checksum
	BadSource                // multicast, loopback or this-network source address
	ZeroTTL                  // TTL or hop limit 0 on arrival
	Fragment                 // a real fragment; this version has no reassembly
	BadExtension             // IPv6 extension header that is malformed, too deep or a pending source route
	UnknownProto             // transport protocol that no session exists for
	BadTCPOffset             // TCP data offset below 20 bytes or beyond the segment
	BadTCPFlags              // SYN together with FIN or RST
	BadUDPLength             // UDP length below 8 or beyond the IP payload
	UnknownICMP              // ICMP type that is neither echo, a translatable error nor neighbour discovery
	BadQuote                 // ICMP error whose quoted packet can't name a flow
	ForeignQuote             // ICMP error to another address than the quoted packet's source, which never asked for it
	BadOptions               // IPv4 options that are malformed, or a source route (RFC 6274 3.13.2.3)
	BadARP                   // ARP that is not Ethernet and IPv4
	NumReasons
)

var reasonNames = [NumReasons]string{
	OK:                "ok",
	Runt:              "runt",
	UnknownEtherType:  "unknown_ethertype",
	Oversize:          "oversize",
	Truncated:         "truncated",
	BadVersion:        "bad_ip_version",
	BadIHL:            "bad_ihl",
	BadHeaderChecksum: "bad_header_checksum",
	BadSource:         "bad_source",
	ZeroTTL:           "zero_ttl",
	Fragment:          "fragment",
	BadExtension:      "bad_extension_header",
	UnknownProto:      "unknown_protocol",
	BadTCPOffset:      "bad_tcp_offset",
	BadTCPFlags:       "bad_tcp_flags",
	BadUDPLength:      "bad_udp_length",
	UnknownICMP:       "unknown_icmp_type",
	BadQuote:          "bad_icmp_quote",
	ForeignQuote:      "icmp_error_to_another",
	BadOptions:        "bad_ip_options",
	BadARP:            "bad_arp",
}

// String is the name under which drops for this reason are counted.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonNames[r]
	}
	return "unknown_reason"
}
