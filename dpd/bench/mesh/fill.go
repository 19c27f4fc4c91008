package mesh

import (
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
)

// Fill puts n established sessions of node owner into the tables of a node that has had no view yet. They get no packets.
func (m *Mesh) Fill(node, owner, n int) error {
	most := m.cfg.Servers * m.cfg.Laddrs * portsOfServer
	if n > most {
		return fmt.Errorf("mesh: %d sessions, want at most %d", n, most)
	}
	to := m.Nodes[node]
	s := flow.Session{
		Owner: life(owner), Term: 1, Ver: 2, Service: 1, Mode: flow.FullNAT, State: flow.TCPEstablished, Flags: flow.Synced, Timeout: 3600,
	}
	const meta = flow.ProtoTCP<<8 | flow.IPv4
	for k := range n {
		bucket, rest := k&0xff, k>>8
		high, rest := rest%(portsOfServer>>8), rest/(portsOfServer>>8)
		srv, local := rest%m.cfg.Servers, rest/m.cfg.Servers
		port := uint64((high+4)<<8 | bucket)
		client := uint64(12<<24 | k&(1<<24-1))
		s.Orig = flow.Key{Addr: [4]uint64{client<<32 | vipWord}, Meta: uint64(1024+k>>24)<<48 | tcpPort<<32 | meta}
		s.Reply = flow.Key{
			Addr: [4]uint64{(serverNet+uint64(srv)+1)<<32 | laddrNet + uint64(owner)<<8 + uint64(local) + 1},
			Meta: (8000+tcpPort)<<48 | port<<32 | meta,
		}
		s.Birth, s.Server, s.Bucket = flow.Birth((firstWall-3_600_000)<<16+k), uint32(srv+1), flow.Bucket(bucket)
		w := to.buckets.Worker(uint8(bucket))
		if err := to.insert(w, &s); err != nil {
			return fmt.Errorf("session %d: %w", k, err)
		}
	}
	return nil
}

// portsOfServer is how many ports a local address has for one server.
const portsOfServer = 252 << 8

func (n *Node) insert(w int, s *flow.Session) error {
	t := n.Tables[w]
	if t.Len() == 0 {
		if err := t.SetSelf(n.life); err != nil {
			return err
		}
	}
	if ports := n.Workers[w].Ports(); ports.Holds(&s.Reply) {
		ports.Mark(s.Reply)
	}
	_, err := t.Insert(s)
	return err
}
