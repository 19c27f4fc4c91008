// Package syncseal authenticates and encrypts sync datagrams.
//
// A datagram is sealed with AES-128-GCM under a key of its own direction of its own link:
//
//	key   = HKDF-SHA256(secret = cluster key, salt = none, info = "holdfast sync 1" | sender u32 | receiver u32 | inc u64 | salt u32 | lane u8)
//	nonce = counter u64 | 4 zero bytes
//	associated data = the clear header (syncwire.Header)
//
// with all numbers little-endian. So a datagram that is reflected, sent to another receiver, or moved to another lane or
// life of its sender doesn't open. A salt is used once between a life and a receiver, the incarnation rises at each start of
// a node, and counters never go back within both: no nonce is used twice under one key.
//
// A salt is {number: 20 bits, proof: 12 bits}, see Ring.Salt. The numbers of one sender's salts for one receiver begin at a
// random one and rise. A receiver tries a salt without a good proof too, but much less often: older versions make such.
//
// Nothing is answered, counted in a window or believed before the tag was checked. The tag proves that a member made the
// datagram, not that it is fresh: the window refuses a counter seen before, and HELLO proves a salt by an echo (package syncer).
//
// Everything here belongs to the sync thread; nothing locks. Cluster keys live in memory only and are overwritten when they
// leave the ring; the key schedules inside crypto/aes can't be, they go with the garbage.
package syncseal
