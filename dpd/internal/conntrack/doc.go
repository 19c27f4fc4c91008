// Package conntrack is the session table of one worker: millions of records off the Go heap, found by either tuple,
// updated per packet, aged by a bounded sweep.
//
//	key --keyed hash--> bucket (64 B)             record (64 B, by handle)    cold part (24 B)
//	                    8 fingerprints, 16 bit    IPv4: both tuples           birth, term, version, service, server
//	                    8 references: handle,     IPv6: client, ports, path   deadline (4 B, dense, for the sweep)
//	                    direction                 state, sequence hints       path (64 B, shared)
//	                    overflow count            last-seen tick              VIP, server, laddr of many IPv6 sessions
//
// An entry lives in its home bucket or, when that is full, in one other bucket that its fingerprint names; the home counts
// such entries, so that a look-up reads a second bucket only where there are some. The hash has a secret of the
// process: who can't guess it can't aim at a bucket.
//
// A look-up of random keys is nothing but cache misses, so LookupBatch takes a burst through stages (hash all and prefetch
// their buckets, match all and prefetch their records, compare all) in which the misses overlap. A worker calls the stages itself,
// with its own before and behind them.
//
// The table belongs to one goroutine: no locks, no clock (Advance and the now arguments bring the time), no allocation
// after New except when a node or an override is seen for the first time.
//
// Memory of a session, all in: 64 record + 24 cold + 4 deadline + 21.3 index (two entries at 0.75 load of 64-byte buckets of 8)
// = 113 bytes, IPv6 too: what its sessions have in common stands once, in a path. The lists of embryonic sessions add up to
// 9 bytes where there were ever as many of those as there may be.
package conntrack
