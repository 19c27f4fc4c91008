package membership

import "errors"

// Refusals. The service maps each to a gRPC code and a stable reason.
var (
	ErrName         = errors.New("membership: name must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter")
	ErrAddress      = errors.New("membership: control address must be host:port")
	ErrFamily       = errors.New("membership: a node must want IPv4 or IPv6")
	ErrTooLong      = errors.New("membership: too many or too long facts about a node")
	ErrTooMany      = errors.New("membership: bound reached")
	ErrBackOff      = errors.New("membership: the node may not join again yet")
	ErrNoSip        = errors.New("membership: no pool has a free sync address")
	ErrUnknownNode  = errors.New("membership: no node of that name or id")
	ErrStaleInc     = errors.New("membership: incarnation is not the node's newest")
	ErrNotMember    = errors.New("membership: node is not in the view")
	ErrPhase        = errors.New("membership: not possible in the node's phase")
	ErrLastNode     = errors.New("membership: no other node is admitted")
	ErrPool         = errors.New("membership: pool is not usable")
	ErrKeysInChange = errors.New("membership: a key rotation is still going on")
)
