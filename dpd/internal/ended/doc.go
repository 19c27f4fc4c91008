// Package ended remembers sessions that were closed, after their records left the session table: who still has an older
// state of one must not bring it back, and its local port must not be given to another session yet.
//
//	entry 28 B: id, when it was closed, port in quarantine, next of its list, next of its bucket
//	index  4 B a bucket, one for each entry (linear hashing)
//
// So an ended session takes 32 bytes. Both lie in chunks that are never given back: what the cache has taken it uses
// again. The limit bounds it for good.
//
// A Cache belongs to one goroutine. It has no clock: callers bring times, and decide what leaves when. To that end each
// entry is in one List of the caller's, in the order of arrival.
package ended
