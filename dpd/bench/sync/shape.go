package main

import "fmt"

// measureShapes measures P11 for clusters from small to large: what sessions share stands once in a
// datagram, so the more services, servers and local addresses there are, the more of each datagram
// is dictionary.
func measureShapes(rep *report) error {
	for _, s := range []shape{{1, 2, 8}, {10, 10, 8}, {100, 10, 8}} {
		for _, row := range []struct {
			family uint8
			mtu    int
			goal   float64
		}{{4, 8000, 18}, {4, 1400, 22}, {6, 8000, 30}, {6, 1400, 34}} {
			w, err := newWork(row.family, row.mtu, s)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("wire bytes a session in bulk, IPv%d, MTU %d, %v services, servers, laddrs", row.family, row.mtu, s)
			rep.atMost("P11", name, "B", w.bytesOfSession(), 80, row.goal)
		}
	}
	return nil
}
