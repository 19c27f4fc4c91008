package query

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// Name is the resource name of the session with that original tuple.
func Name(t *dpdv1.Tuple) string {
	proto := strings.ToLower(strings.TrimPrefix(t.GetProtocol().String(), "PROTOCOL_"))
	return fmt.Sprintf("sessions/%s,%s,%d,%s,%d", proto,
		t.GetSource().GetAddress(), t.GetSource().GetPort(), t.GetDestination().GetAddress(), t.GetDestination().GetPort())
}

// ParseName reads a resource name; the tuple may be of either direction.
func ParseName(name string) (*dpdv1.Tuple, error) {
	rest, ok := strings.CutPrefix(name, "sessions/")
	part := strings.Split(rest, ",")
	if !ok || len(part) != 5 {
		return nil, fmt.Errorf("%q is not sessions/PROTOCOL,SOURCE,PORT,DESTINATION,PORT", name)
	}
	proto := dpdv1.Protocol(dpdv1.Protocol_value["PROTOCOL_"+strings.ToUpper(part[0])])
	if proto == dpdv1.Protocol_PROTOCOL_UNSPECIFIED || strings.ToLower(part[0]) != part[0] {
		return nil, fmt.Errorf("protocol %q is not known", part[0])
	}
	src, err := endpoint(part[1], part[2])
	if err != nil {
		return nil, err
	}
	dst, err := endpoint(part[3], part[4])
	if err != nil {
		return nil, err
	}
	return &dpdv1.Tuple{Protocol: proto, Source: src, Destination: dst}, nil
}

func endpoint(address, port string) (*dpdv1.Endpoint, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return nil, fmt.Errorf("%q is no address", address)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port", port)
	}
	return &dpdv1.Endpoint{Address: a.Unmap().String(), Port: uint32(p)}, nil
}
