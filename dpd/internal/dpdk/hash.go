package dpdk

// Hash says by what the device itself spreads packets over the worker queues.
type Hash uint8

const (
	// HashNone: the device does not spread, or by rules of its own (a kernel fanout).
	HashNone Hash = iota
	// HashBoth: by both ends of the flow; software puts most packets right.
	HashBoth
	// HashClient: by source address and port under the cluster's key, as buckets are made.
	HashClient
)

// String is the name in metrics and logs.
func (h Hash) String() string {
	switch h {
	case HashBoth:
		return "both_ends"
	case HashClient:
		return "source"
	}
	return "none"
}
