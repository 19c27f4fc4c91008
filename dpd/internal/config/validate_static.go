package config

import (
	"fmt"
	"net/netip"
)

func (c *checker) static(s *Static) {
	if len(s.Peers) > 0 {
		c.fail("static.peers", "is not supported by this version: other members need a coordinator")
	}
	c.blocks(s)
	c.services(s)
}

func (c *checker) blocks(s *Static) {
	ids, addresses := map[uint32]bool{}, map[netip.Addr]bool{}
	for i, b := range s.Blocks {
		path := fmt.Sprintf("static.laddr_blocks[%d]", i)
		if ids[b.ID] && b.ID != 0 {
			c.fail(path+".id", "%d is given twice", b.ID)
		}
		ids[b.ID] = true
		if b.Holder != 0 && b.Holder != s.NodeID && len(s.Peers) == 0 {
			c.fail(path+".holder", "%d is no member", b.Holder)
		}
		for j, a := range b.Addresses {
			if addresses[a] {
				c.fail(fmt.Sprintf("%s.addresses[%d]", path, j), "%v is given twice", a)
			}
			addresses[a] = true
		}
	}
}

func (c *checker) services(s *Static) {
	type endpoint struct {
		vip      netip.Addr
		port     int
		protocol Protocol
	}
	ids, servers, names := map[uint32]bool{}, map[uint32]bool{}, map[string]bool{}
	endpoints := map[endpoint]string{}
	for i := range s.Services {
		v := &s.Services[i]
		path := fmt.Sprintf("static.services[%d]", i)
		if ids[v.ID] && v.ID != 0 {
			c.fail(path+".id", "%d is given twice", v.ID)
		}
		if names[v.Name] && v.Name != "" {
			c.fail(path+".name", "%q is given twice", v.Name)
		}
		ids[v.ID], names[v.Name] = true, true
		e := endpoint{v.VIP, v.Port, v.Protocol}
		if other, taken := endpoints[e]; taken && v.VIP.IsValid() {
			c.fail(path+".vip", "%v port %d/%s is already that of service %q", v.VIP, v.Port, v.Protocol, other)
		}
		endpoints[e] = v.Name
		for j, r := range v.Servers {
			at := fmt.Sprintf("%s.servers[%d]", path, j)
			if servers[r.ID] && r.ID != 0 {
				c.fail(at+".id", "%d is given twice", r.ID)
			}
			servers[r.ID] = true
			if r.Address.IsValid() && v.VIP.IsValid() && r.Address.Is4() != v.VIP.Is4() {
				c.fail(at+".address", "%v is not of the family of %v", r.Address, v.VIP)
			}
		}
	}
}
