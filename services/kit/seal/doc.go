// Package seal keeps secrets sealed where a service stores them, under a key that comes from a file beside the service
// and never goes into the store.
//
// # Key file
//
// Text of mode 0600: one key of 32 random bytes in a line, as 64 hexadecimal digits; a line may be empty, or begin with #.
// One key or two. The first seals; both open. To change the key where several processes share the file, each step at
// all of them before the next:
//
//	old ──> old new ──> new old ──> new        (the last when everything has been sealed anew)
//
// One process may begin with "new old".
//
// # Sealed value
//
//	offset  bytes
//	     0      3  "HFS"
//	     3      1  version, 1
//	     4      8  key id: HKDF-SHA256(key, info "holdfast seal 1 id")
//	    12     12  nonce, random
//	    24      n  AES-256-GCM of the secret under HKDF-SHA256(key, info "holdfast seal 1 key"), n bytes
//	  24+n     16  tag
//
// Associated data are the first 12 bytes, then the names of the bucket and the entry, each after its length in bytes as
// u16 big-endian. So a value opens only in the entry that it was sealed for, and only as the version that it says it is.
// An older value of the same entry opens there: sealing hides and authenticates, it is no memory of what came last.
//
// Nonces are random, so one key is good for 2^32 values; a service that seals ten a second needs thirteen years for them.
package seal
