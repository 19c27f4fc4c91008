package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Validate holds c to every range and relation that Load would. The error is an *Error without lines.
func (c *Config) Validate() error { return asError("", c.problems()) }

// problems lists them all: first by the tags of each field, then the relations between fields.
func (c *Config) problems() []Problem {
	k := checker{}
	k.walk(reflect.ValueOf(c).Elem(), "", "")
	k.tls("control.tls", c.Control.TLS)
	k.tls("nats.tls", c.NATS.TLS)
	k.control(c)
	k.eal(c)
	k.ports(c)
	k.bgp(c)
	k.sync(c)
	if c.Static != nil {
		k.static(c.Static)
	}
	return k.problems
}

func (c *checker) tls(path string, t TLS) {
	given := 0
	for _, f := range []string{t.Cert, t.Key, t.CA} {
		if f != "" {
			given++
		}
	}
	if given != 0 && given != 3 {
		c.fail(path, "cert, key and ca belong together; %d of 3 are given", given)
	}
}

func (c *checker) control(cfg *Config) {
	switch {
	case cfg.Static == nil && len(cfg.Control.Coordinators) == 0:
		c.fail("control.coordinators", "either a coordinator or static is required")
	case cfg.Static != nil && len(cfg.Control.Coordinators) > 0:
		c.fail("static", "is not possible together with control.coordinators")
	}
	if len(cfg.Control.Coordinators) > 0 && !cfg.Control.Listen.IsValid() {
		c.fail("control.listen", "is required with control.coordinators")
	}
	if a := cfg.Control.Advertise; a.IsValid() && (a.Port() == 0 || a.Addr().IsUnspecified()) {
		c.fail("control.advertise", "%v can't be dialled", a)
	}
	if l := cfg.Control.Listen; l.IsValid() && l.Addr().IsUnspecified() && !cfg.Control.Advertise.IsValid() && len(cfg.Control.Coordinators) > 0 {
		c.fail("control.advertise", "is required when control.listen is %v", l)
	}
	if u := cfg.NATS.URL; u != "" {
		for _, one := range strings.Split(u, ",") {
			if !strings.HasPrefix(one, "nats://") && !strings.HasPrefix(one, "tls://") {
				c.fail("nats.url", "%q begins neither with nats:// nor with tls://", one)
			}
		}
	}
}

func (c *checker) eal(cfg *Config) {
	if cfg.EAL.NoHuge && cfg.EAL.MemoryMB == 0 {
		c.fail("eal.memory_mb", "is required with eal.no_huge")
	}
	if len(cfg.EAL.Cores) == 0 {
		c.fail("eal.cores", "needs at least 1")
	}
	seen := map[int]bool{}
	for i, n := range cfg.EAL.Cores {
		if seen[n] {
			c.fail(fmt.Sprintf("eal.cores[%d]", i), "%d is given twice", n)
		}
		seen[n] = true
	}
	for i, v := range cfg.EAL.VDevs {
		if strings.ContainsAny(v, " \t") {
			c.fail(fmt.Sprintf("eal.vdevs[%d]", i), "%q has spaces", v)
		}
	}
}

// devices are the names that ports may use.
func (c *Config) devices() []string {
	names := slices.Clone(c.EAL.PCI)
	for _, v := range c.EAL.VDevs {
		name, _, _ := strings.Cut(v, ",")
		names = append(names, name)
	}
	return names
}

func (c *checker) ports(cfg *Config) {
	devices := cfg.devices()
	names, used, addresses := map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		path := fmt.Sprintf("ports[%d]", i)
		if names[p.Name] && p.Name != "" {
			c.fail(path+".name", "%q is given twice", p.Name)
		}
		names[p.Name] = true
		if p.Device != "" && !slices.Contains(devices, p.Device) {
			c.fail(path+".device", "%q is neither in eal.vdevs nor in eal.pci", p.Device)
		} else if used[p.Device] && p.Device != "" {
			c.fail(path+".device", "%q is given twice", p.Device)
		}
		used[p.Device] = true
		for j, a := range p.Addresses {
			at := fmt.Sprintf("%s.addresses[%d]", path, j)
			addr := a.Addr()
			switch {
			case !a.IsValid():
				c.fail(at, "is no prefix")
			case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback():
				c.fail(at, "%v is no address of a host", addr)
			case addr.Is4() && a.Bits() < 31 && addr == a.Masked().Addr():
				c.fail(at, "%v is the address of the network itself", a)
			case addresses[addr]:
				c.fail(at, "%v is given twice", addr)
			}
			addresses[addr] = true
		}
		c.routes(p, path)
	}
}

func (c *checker) routes(p *Port, path string) {
	seen := map[netip.Prefix]bool{}
	for j, r := range p.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, j)
		if !r.To.IsValid() || !r.Via.IsValid() {
			continue // "is required" says it
		}
		if r.To != r.To.Masked() {
			c.fail(at+".to", "%v has bits beyond its length; %v perhaps", r.To, r.To.Masked())
		}
		if seen[r.To] {
			c.fail(at+".to", "%v is given twice", r.To)
		}
		seen[r.To] = true
		if r.To.Addr().Is4() != r.Via.Is4() {
			c.fail(at+".via", "%v is not of the family of %v", r.Via, r.To)
			continue
		}
		reachable := func(a netip.Prefix) bool { return a.Contains(r.Via) && a.Addr() != r.Via }
		if !r.Via.IsLinkLocalUnicast() && !slices.ContainsFunc(p.Addresses, reachable) {
			c.fail(at+".via", "%v is in none of the port's networks", r.Via)
		}
	}
}

func (c *checker) bgp(cfg *Config) {
	if cfg.Announce != AnnounceBGP {
		return
	}
	if cfg.BGP.ASN == 0 {
		c.fail("bgp.asn", "is required with announce: bgp")
	}
	if len(cfg.BGP.Peers) == 0 {
		c.fail("bgp.peers", "needs at least 1 with announce: bgp")
	}
	seen := map[netip.Addr]bool{}
	for i, p := range cfg.BGP.Peers {
		if seen[p.Address] && p.Address.IsValid() {
			c.fail(fmt.Sprintf("bgp.peers[%d].address", i), "%v is given twice", p.Address)
		}
		seen[p.Address] = true
	}
	if v4, _ := cfg.uplink(); !cfg.BGP.RouterID.IsValid() && !v4.IsValid() {
		c.fail("bgp.router_id", "is required when the first port has no IPv4 address")
	}
}

// uplink is the first address of each family of the first port.
func (c *Config) uplink() (v4, v6 netip.Addr) {
	if len(c.Ports) == 0 {
		return v4, v6
	}
	for _, a := range c.Ports[0].Addresses {
		switch addr := a.Addr(); {
		case addr.Is4() && !v4.IsValid():
			v4 = addr
		case addr.Is6() && !addr.IsLinkLocalUnicast() && !v6.IsValid():
			v6 = addr
		}
	}
	return v4, v6
}

// NextHops are those of announced routes: as configured, else the uplink's addresses. Either may be invalid (none).
func (c *Config) NextHops() (v4, v6 netip.Addr) {
	v4, v6 = c.uplink()
	if c.BGP.NextHopV4.IsValid() {
		v4 = c.BGP.NextHopV4
	}
	if c.BGP.NextHopV6.IsValid() {
		v6 = c.BGP.NextHopV6
	}
	return v4, v6
}

// RouterID is the BGP identifier: as configured, else the uplink's IPv4 address.
func (c *Config) RouterID() netip.Addr {
	if c.BGP.RouterID.IsValid() {
		return c.BGP.RouterID
	}
	v4, _ := c.uplink()
	return v4
}

func (c *checker) sync(cfg *Config) {
	if cfg.Static == nil || !cfg.Sync.Enabled {
		return
	}
	if !cfg.Static.SyncV4.IsValid() && !cfg.Static.SyncV6.IsValid() {
		c.fail("static.sync_v4", "sync_v4 or sync_v6 is required with sync.enabled")
	}
}
