package conntrack

// Outcome is what Touch tells beside having updated the record: a set of facts, empty for the ordinary packet.
type Outcome uint32

const (
	// StateChanged: the protocol state is another than before.
	StateChanged Outcome = 1 << iota
	// HandshakeDone: the session is established and no longer embryonic; the server is alive.
	HandshakeDone
	// FirstFin: the first believed FIN of either side.
	FirstFin
	// Closed: both FINs are acknowledged, or a RST was believed. Said once.
	Closed
	// BitsChanged: a sticky bit was set that was not.
	BitsChanged
	// Foreign: another node owns the session.
	Foreign
	// HitSoftTomb, HitHardTomb: the record is a tombstone; it was not updated.
	HitSoftTomb
	HitHardTomb
	// HitReplyOnly: the record is reply-only.
	HitReplyOnly
	// FirstLocalPacket: the first packet here of a session that came from a peer.
	FirstLocalPacket
	// SynOnExisting: a client's SYN that is not a repetition of this session's own. The record was not updated.
	SynOnExisting
	// Doubted: a RST or FIN that does not continue what was seen of its direction: forward it; the session lives on under
	// a short timer.
	Doubted
	// DupAck: one more acknowledgement without news in answer to another one, after many, as in an ACK storm.
	DupAck
	// ServerDead: the server refused the connection.
	ServerDead
	// ServerAlive: the server answered for the first time (UDP; for TCP see HandshakeDone).
	ServerAlive
	// Untracked: the flags of the packet make no sense for TCP; state and sequence hints were left alone.
	Untracked
	// FinAcked: the packet was the first to acknowledge the other side's FIN.
	FinAcked
)
