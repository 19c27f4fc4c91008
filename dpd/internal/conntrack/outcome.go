package conntrack

// Outcome is what Touch tells beside having updated the record: a set of facts, empty for the ordinary packet.
type Outcome uint32

const (
	// StateChanged says that the protocol state is another than before.
	StateChanged Outcome = 1 << iota
	// HandshakeDone says that the session is no longer embryonic: TCP's handshake is done, or the server answered a datagram. The
	// server is alive.
	HandshakeDone
	// Ending is the first believed FIN or RST of either side: the end of the session begins.
	Ending
	// Closed says, once, that both FINs are acknowledged or a RST was believed.
	Closed
	// BitsChanged says that a sticky bit was set that was not.
	BitsChanged
	// Foreign says that another node owns the session.
	Foreign
	// HitSoftTomb says that the record is a soft tombstone; it was not updated.
	HitSoftTomb
	// HitReplyOnly says that the record is reply-only.
	HitReplyOnly
	// FirstLocalPacket is the first packet here of a session that came from a peer.
	FirstLocalPacket
	// SynOnExisting is a client's SYN that is not a repetition of this session's own. The record was not updated.
	SynOnExisting
	// Doubted is a RST or FIN that does not continue what was seen of its direction: forward it; the session lives on
	// under a short timer.
	Doubted
	// DupAck is one more acknowledgement without news in answer to another one, after many, as in an ACK storm.
	DupAck
	// ServerDead says that the server refused the connection.
	ServerDead
	// ServerAlive says that the server answered for the first time (UDP; for TCP see HandshakeDone).
	ServerAlive
	// Untracked says that the flags of the packet make no sense for TCP; state and sequence hints were left alone.
	Untracked
	// FinAcked says that the packet was the first to acknowledge the other side's FIN.
	FinAcked
	// OtherFin is the believed FIN of a side after the end was begun by the other one.
	OtherFin
)
