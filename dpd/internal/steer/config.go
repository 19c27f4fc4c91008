package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// ErrConfig refuses a steering configuration that contradicts itself.
var ErrConfig = errors.New("steer: bad configuration")

// MaxVIPRules is how many VIP prefixes of a family get rules of their own. Beyond it one rule spreads everything of that
// family which no other rule takes: devices hold few rules, and what is for no service is dropped by any worker.
const MaxVIPRules = 256

// Config is what the rule list is made from.
type Config struct {
	Key       Key            // the cluster's RSS key
	Map       Map            // buckets to workers; worker n receives on queue n
	SyncQueue uint16         // receive queue of the sync thread, above those of the workers
	SyncPort  uint16         // UDP port of session sync
	Sips      []netip.Addr   // this node's sync addresses
	Laddrs    []netip.Prefix // local addresses of all nodes: any node may get any reply
	VIPs      []netip.Prefix // of all services
}

// Workers is the number of workers of a map.
func (m *Map) Workers() int {
	return int(slices.Max(m[:])) + 1
}

// Validate checks the configuration; all errors are ErrConfig.
func (c *Config) Validate() error {
	n := c.Map.Workers()
	if n > MaxWorkers {
		return fmt.Errorf("%w: %d workers, want at most %d", ErrConfig, n, MaxWorkers)
	}
	if int(c.SyncQueue) < n {
		return fmt.Errorf("%w: sync queue %d is a worker's, there are %d", ErrConfig, c.SyncQueue, n)
	}
	if c.SyncPort == 0 && len(c.Sips) > 0 {
		return fmt.Errorf("%w: a sync address without a sync port", ErrConfig)
	}
	for _, a := range c.Sips {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("%w: %v is no sync address", ErrConfig, a)
		}
	}
	for _, list := range [][]netip.Prefix{c.Laddrs, c.VIPs} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
				return fmt.Errorf("%w: %v is no prefix", ErrConfig, p)
			}
		}
	}
	for _, l := range c.Laddrs {
		for _, a := range c.Sips {
			if l.Contains(a) {
				return fmt.Errorf("%w: sync address %v lies within the local addresses %v", ErrConfig, a, l)
			}
		}
		for _, v := range c.VIPs {
			// A VIP prefix around a laddr is no contradiction (one of /0 is around all): the laddr has precedence.
			if l.Contains(v.Addr()) && v.Bits() >= l.Bits() {
				return fmt.Errorf("%w: VIP %v lies within the local addresses %v", ErrConfig, v, l)
			}
		}
	}
	return nil
}

// Rules is the steering list, by falling precedence. It is a pure function: equal configurations give equal lists.
func Rules(c *Config) ([]Rule, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var out []Rule
	for _, a := range sortedAddrs(c.Sips) {
		out = append(out, Rule{
			Purpose: Sync, Priority: prioSync, Family: family(a), Dst: netip.PrefixFrom(a, a.BitLen()),
			Proto: flow.ProtoUDP, Port: c.SyncPort, PortMask: 0xffff, Queue: c.SyncQueue,
		})
	}
	protos := [...]uint8{flow.ProtoTCP, flow.ProtoUDP}
	blocks := c.Map.blocks()
	for _, p := range disjoint(c.Laddrs) {
		for _, proto := range protos {
			for _, b := range blocks {
				out = append(out, Rule{
					Purpose: LocalPort, Priority: prioLocalPort, Family: family(p.Addr()), Dst: p,
					Proto: proto, Port: b.value, PortMask: b.mask, Queue: uint16(b.worker),
				})
			}
		}
	}
	// One worker needs no hash, and devices without RSS rules take a queue.
	var rss *RSS
	if c.Map.Workers() > 1 {
		rss = &RSS{Key: c.Key}
		for b := range rss.RETA {
			rss.RETA[b] = uint16(c.Map[b])
		}
	}
	for _, p := range coalesce(disjoint(c.VIPs)) {
		for _, proto := range protos {
			out = append(out, Rule{
				Purpose: ClientHash, Priority: prioClientHash, Family: family(p.Addr()), Dst: p, Proto: proto, RSS: rss,
			})
		}
	}
	return append(out, Rule{Purpose: CatchAll, Priority: prioCatchAll}), nil
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return flow.IPv4
	}
	return flow.IPv6
}

func sortedAddrs(in []netip.Addr) []netip.Addr {
	out := slices.Clone(in)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// disjoint sorts prefixes and leaves out those within others.
func disjoint(in []netip.Prefix) []netip.Prefix {
	s := slices.Clone(in)
	slices.SortFunc(s, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	// Sorted so, a prefix stands before all that it contains, and nothing foreign stands between.
	out := s[:0]
	for _, p := range s {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// coalesce replaces the prefixes of a family that has too many by one for all.
func coalesce(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		n := len(out)
		for _, p := range in {
			if p.Addr().Is4() == all.Addr().Is4() {
				out = append(out, p)
			}
		}
		if len(out)-n > MaxVIPRules {
			out = append(out[:n], all)
		}
	}
	return out
}
