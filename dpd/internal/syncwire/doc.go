// Package syncwire is the wire format of session sync between data planes. This text is its specification.
//
// # Datagram
//
// One UDP datagram from the sender's sip to the receiver's, never fragmented. Numbers are little-endian; addresses are byte
// strings in network order. Durations travel, never instants, but for births and PROBE's wall clock.
//
//	+--------+-------------------------------------------------+-----+
//	| header | TLV CLOCK | TLV DICTIONARY | TLV | TLV | …       | tag |
//	| 32 B   | sealed                                          | 16 B|
//	+--------+-------------------------------------------------+-----+
//
// The header stands in clear and is the associated data of the seal (package syncseal):
//
//	 0       2       3       4       5       6         8            12         16         24         32
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
//	| "hf"  | major | minor | lane  | flags | key id  | sender     | salt     | inc      | counter  |
//	| u16   | u8    | u8    | u8    | u8    | u16     | u32        | u32      | u64      | u64      |
//	+-------+-------+-------+-------+-------+---------+------------+----------+----------+----------+
//
// The salt is a number and a proof that a member chose it, see package syncseal. Flags are 0 and
// ignored. Lanes: 0 control, 1 live, 2 bulk; another lane is refused.
//
// # TLV
//
//	 0          1          3
//	+-+--------+----------+-----------------+
//	|C| kind   | length   | body            |     C = critical, length of the body alone
//	| | 7 bits | u16      | length bytes    |
//	+-+--------+----------+-----------------+
//
// The first TLV is CLOCK {view u64, sent u64 ms since the sender's incarnation began}; CLOCK stands nowhere else. That clock
// goes on while the machine is suspended, and no step of the wall clock moves it. A receiver refuses what was on its way for more
// than 5 s. It knows that of a clock base of the link, which datagrams lower, and which only a proof of freshness raises: a PROBE
// that echoes one of its own on this link, or the echo of its nonce. A sender echoes in each PROBE the newest one that it
// received, also one that it refused as too old. A receiver reads and checks all TLVs before it applies any; what is wrong in one
// refuses all.
//
// Forward compatibility. An unknown kind is skipped if its critical bit is 0 and refuses the datagram if it is 1; a known kind is
// read whatever its bit. A body of one value may grow at its end: what a receiver doesn't know behind the fields that it
// knows is skipped. Dictionary entries grow the same way, and entries of unknown tags are skipped. A record grows by its extension
// bytes. Reserved bits must be 0. Flags of a record that a receiver doesn't know it keeps and ignores. Major versions don't mix.
// Minor 1 added the flag that asks for an ACK and the digest of BULK_END. Minor 2 changed PROBE and DIGEST, added DIGEST_REPLY, made
// sequence hints shorter, without windows and with window scales, and says by HINT 8 that a packet acknowledged the FIN of the
// other direction: no release had minor 1.
//
// Kinds (C: sent as critical; *: may stand once; +: the body repeats until the TLV ends):
//
//	 1 CLOCK C*         2 HELLO C*       3 HELLO_ACK C*    4 SESSION C+     5 CLOSE C+       6 AGE C+
//	 7 ACTIVE C reserved 8 HINT C+       9 ACK +          10 NACK_VERSION C+ 11 GAP         12 DIGEST +
//	13 DIGEST_LIST +   14 BULK_BEGIN *  15 BULK_END C*    16 QUERY +       17 ANSWER C+     18 TEMPLATE C reserved
//	19 LADDR_USE       20 FENCED C*     21 PROBE *        22 DICTIONARY C  23 PAD           24 DELTA C reserved
//	25 DIGEST_REPLY +
//
// Variable-length numbers ("var") are 32 bits in groups of 7, the lowest first, the high bit of each byte but the last set.
//
// # Dictionary
//
// What the records of one datagram share stands once, before the TLVs that refer to it. A datagram is self-contained. An entry is
//
//	 0     3      8
//	+-----+------+---------------+
//	| tag | len  | len bytes     |
//	+-----+------+---------------+
//
// with the tag in the upper bits. Entries count per tag from 0, over all DICTIONARY TLVs of the datagram, 255 at most (15 profiles).
//
//	1 profile   mode u8 (1-5), state u8 (0-14), bits u8, flags u16, timeout var (seconds, at most 30 days), term var
//	2 service   protocol u8, address with port, service id var
//	3 server    service entry u8, address with port, server id var: zigzag of its difference to the server entry before (first: to 0)
//	4 laddr     address
//	5 owner     node id u32, inc u64
//	6 base      u48, unix milliseconds that short births count from; one at most
//
// An address in an entry is
//
//	 0        3   4        8
//	+--------+---+--------+----------------+-------------+
//	| family | P | shared | bytes          | port u16    |
//	+--------+---+--------+----------------+-------------+
//
// with the family (4, 6) in the lower bits. The first shared bytes (0-3, 0-15) are those of the address in the entry before
// of this tag and family, and don't stand here; before the first they are 0. P: the port is that of the entry before of this
// tag (before the first: 0), and doesn't stand here. A laddr has no port and no P.
//
// # Record
//
//	 0         4       6   7
//	+---------+-------+---+---+
//	| profile | laddr | M | F |
//	+---------+-------+---+---+
//
//	profile   entry 0-14; 15: the profile follows the more byte, in the form of its entry
//	laddr     entry 0-2; 3: the reference has a byte of its own; 0 if F
//	M         a more byte follows
//	F         tuples in full
//
//	[more u8]          1 sequence hints  2 owner  4 bucket  8 extension  16 long birth; other bits 0
//	[profile]
//	F=0: server entry u8, [laddr entry u8; 255: the reply goes to the client itself], client address of the service's family,
//	     client port u16, [local port u16 if there is a laddr]
//	F=1: original key, reply key, service id var, server id var
//	birth              u32 = (ms since base)<<8 | counter below 256; long: u64 = unix ms<<16 | counter
//	idle u16           see below
//	ver var
//	[bucket u8]        absent: the low 8 bits of the reply's destination port
//	[owner entry u8]   absent: the sender, in the incarnation of the header
//	[hints]            what u8, then what its bits say: 1 next u32 of client to server, 2 next u32 of server to client, 4 ack var of
//	                   client to server, 8 ack var of server to client, 16 scales u8; other bits 0. Next is the sequence number after
//	                   the last byte seen of a direction, ack the highest one that it acknowledged: zigzag of its difference to the
//	                   next of the other direction (which is 0 if it doesn't stand here); without the bit it is equal. Scales are
//	                   window scales plus one, client's in the lower four bits; 0: not known. 4, 8 and a scale of a direction stand
//	                   with its next only. Hints travel with live records of SESSION, NACK_VERSION and ANSWER, not in the bulk lane.
//	[extension]        length u8, that many bytes, skipped by this version
//
// A compact record of bulk is 17 bytes for IPv4 and 29 for IPv6. A key is {family u8, protocol u8, source address, port u16, destination
// address, port u16}; both addresses are of its family. ICMP has its identifier as both ports.
//
// Idle is milliseconds below 2048; else the upper 5 bits are e and the lower 11 m, and it is (2048+m)<<(e-1) milliseconds.
// Senders round up, so a value that goes round never makes a session younger.
//
// # Bodies
//
//	SESSION, CLOSE, AGE, NACK_VERSION   records. CLOSE names its birth by both tuples, too
//	DIGEST_LIST   round u32, records: a leaf that was unequal in two rounds, in as many datagrams as it takes
//	HINT          key u8…, direction<<7 | what u8 (1 SYN-ACK, 2 handshake ACK, 4 FIN, 8 FIN of the other direction acknowledged, 16 RST, 32 activity; bit 6 is 0),
//	              bucket u8, birth u64, idle u16, [with FIN: sequence number after it u32]
//	ACK           cluster hash of the original key u64, birth u64, owner inc u64, owner id u32, bucket u8, term var, ver var
//	              the answer to a SESSION whose flags have bit 15, once that version or a later one is held: it names what is held.
//	              Who doesn't know the bit ignores it and never answers
//	QUERY         id u64, bucket u8, key of the packet that missed
//	ANSWER        id u64, found u8 (1: a record follows; 0: bucket u8, key as asked)
//	DIGEST        round u32, bucket u8, what u8, 4 sums u64: leaf = bucket*4 + 2 bits of the cluster hash; see below
//	DIGEST_REPLY  round u32, bucket u8, states u8: 2 bits for each leaf, the lowest first: 0 unequal, 1 can't tell, 2 equal,
//	              3 equal, and the receiver knows of nothing that it misses of the leaf from other members
//	HELLO, HELLO_ACK  nonce 16 B, echo 16 B, config digest u64, features u64 (none defined: 0), least major u8, greatest major u8,
//	              minor u8, MTU u16
//	PROBE         seq u32, echoed seq u32, held for u32 ms, state u8 (1 ready, 2 degraded, 4 desync, 8 draining), wall clock u64 unix ms,
//	              closed u32, aged u32, floor u32, per lane: salt u32, highest sent u64, highest contiguous received u64
//	              closed, aged: the age in ms, plus one, of the moment before which every member has what the sender closed, or
//	              aged; floor: the age, plus one, of the oldest aged session that it holds, those apart that wait for all
//	              others to be gone; 0: not known
//	GAP           salt u32, lane u8, count u8 (at most 16), per range: from u64, to u64, both included
//	BULK_BEGIN, BULK_END  snapshot u64, records u64, tombstones u64, digest u64, orphans included u8. The digest is a sum over the
//	              SESSION records of the bulk, 0 if it isn't said: BULK_BEGIN can't know it. With m(a, b) = both halves of a*b
//	              xored and h(key) the cluster hash under the key 0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7, a record's part is
//	              m(m(m(birth, h(original)|1) ^ h(reply), term<<32 ^ ver ^ 0x9e6c63d0876a9a47) ^ owner inc, owner id ^ 0xd1b54a32d192ed03)
//	LADDR_USE     family u8, prefix length u8, address, holder inc u64, holder id u32, records u32, tombstones u32, fenced for u32 ms
//	FENCED        fenced inc u64, by inc u64 (0: by removal), view u64, echo 16 B
//	PAD           anything
//
// LADDR_USE tells each peer, once a second, what the sender holds of a block whose holder it has fenced or has not in its view, for
// the coordinator to hear it from the peer when it doesn't reach the sender. The address is the lowest of the block, the length that of
// the least prefix that covers all of it: a block that is a prefix goes by it. Fenced for is as of the count that the numbers are from.
// A datagram holds the next blocks in turn; a round that doesn't hold all goes on with the rest.
//
// # Digests
//
// A worker sums the records with a mapping that it holds, announced ones that are no tombstones, by owner and leaf. What of a
// DIGEST is
//
//	 0     2     3         4        8
//	+-----+-----+---------+--------+
//	| of  | ask | orphans | unsure |
//	+-----+-----+---------+--------+
//
//	of       0 records that the sender owns, 1 that nobody in its view owns, 2 all that it holds; 3 is skipped
//	ask      the sender wants the receiver's DIGEST soon (with of = 0)
//	orphans  of the same round a body of of = 1 follows; else the sender holds no such record in this bucket (with of = 0)
//	unsure   a bit for each leaf, the lowest first: something that the sender did not tell itself changed the sums in the
//	         last 200 ms (of = 2: anything did), so that a difference proves nothing
//
// DIGEST travels in the live lane. It holds what the sender held when it had said all messages of that worker that stand before,
// in the lane or in the datagram (messages are applied before digests), and none that stands behind; so a sender puts no message
// into a datagram behind a digest. A receiver that has all datagrams before it, and behind it none with messages, compares the
// same state, whatever changes a second there are. An equal sum proves that a leaf is equal, however it came; an unequal one proves something only
// if its datagram came in that order, and if the receiver did not change what it compares by another word than the sender's in
// the last 200 ms. Who can't tell says so, and after some such rounds takes the leaf for unequal. Sums of of = 0 are compared
// with what the receiver holds of the sender's, and each is answered by DIGEST_REPLY in the control lane. Those of orphans are
// compared where both have the same view, those of all where neither side's leaf changed in the last 200 ms.
//
// A leaf that was unequal in two rounds is listed by both sides: each sends what it holds of it. DIGEST is never sent again; a
// GAP for it is answered like any other. The round is a number that rises with each round of the worker that sends it; it
// names what DIGEST_REPLY and DIGEST_LIST speak of.
//
// # Bounds
//
// A datagram is 1200 to 9000 bytes of UDP payload for a sender, and at most 9000 for a receiver, which gives at most 562 messages, 256
// digests, 1500 answers to them, 6 gaps and 64 laddr uses a datagram. There is no count that can promise more than a datagram holds: bodies that
// repeat end with their TLV, and the one count (GAP) is checked against its bound and the body's length.
package syncwire
