package membership

import "errors"

// Refusals. The service maps each to a gRPC code and a stable reason.
var (
	ErrName         = errors.New("membership: name must be 1 to 63 of a-z, 0-9, '-' and begin and end with a letter or digit")
	ErrAddress      = errors.New("membership: control address must be host:port")
	ErrTooMany      = errors.New("membership: bound reached")
	ErrNoSip        = errors.New("membership: no pool has a free sync address")
	ErrUnknownNode  = errors.New("membership: no node of that name or id")
	ErrStaleInc     = errors.New("membership: incarnation is not the node's newest")
	ErrNotMember    = errors.New("membership: node is not in the view")
	ErrPhase        = errors.New("membership: not possible in the node's phase")
	ErrPoolExists   = errors.New("membership: pool exists already")
	ErrPoolUnknown  = errors.New("membership: no pool of that name")
	ErrPoolPrefix   = errors.New("membership: pool prefixes must be valid, masked and non-empty")
	ErrPoolOverlap  = errors.New("membership: prefix overlaps another pool")
	ErrPoolKind     = errors.New("membership: pool kind must be sip or laddr")
	ErrBlockSize    = errors.New("membership: block size must be 1 to 256 and fit the prefixes")
	ErrPoolInUse    = errors.New("membership: pool has addresses in use")
	ErrKeysInChange = errors.New("membership: a key rotation is still going on")
)
