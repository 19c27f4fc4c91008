package control

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxViolations bounds what one answer names; more are counted in the last one.
const maxViolations = 64

// violations gathers everything that is wrong with a request, so that its author sees all of it at once.
type violations struct {
	list []*errdetails.BadRequest_FieldViolation
	more int
}

func (v *violations) add(field, format string, args ...any) {
	if len(v.list) == maxViolations {
		v.more++
		return
	}
	v.list = append(v.list, &errdetails.BadRequest_FieldViolation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// err is nil, or INVALID_ARGUMENT with every violation.
func (v *violations) err() error {
	if len(v.list) == 0 {
		return nil
	}
	msg := fmt.Sprintf("%s: %s", v.list[0].Field, v.list[0].Description)
	if n := len(v.list) - 1 + v.more; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	st := status.New(codes.InvalidArgument, msg)
	if d, err := st.WithDetails(
		&errdetails.ErrorInfo{Reason: "INVALID_FIELD", Domain: "holdfast"},
		&errdetails.BadRequest{FieldViolations: v.list}); err == nil {
		st = d
	}
	return st.Err()
}

// addr parses an address; family 0 takes either. An empty text is refused unless optional.
func (v *violations) addr(field, text string, family uint8, optional bool) netip.Addr {
	if text == "" {
		if !optional {
			v.add(field, "is required")
		}
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || a.Zone() != "" || a.Is4In6():
		v.add(field, "%q is no IP address", text)
		return netip.Addr{}
	case family == flow.IPv4 && !a.Is4():
		v.add(field, "%v is no IPv4 address", a)
		return netip.Addr{}
	case family == flow.IPv6 && !a.Is6():
		v.add(field, "%v is no IPv6 address", a)
		return netip.Addr{}
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		v.add(field, "%v is no unicast address of a network", a)
		return netip.Addr{}
	}
	return a
}

func (v *violations) port(field string, n uint32) uint16 {
	if n < 1 || n > 65535 {
		v.add(field, "%d is outside 1..65535", n)
		return 0
	}
	return uint16(n)
}

// life takes a node life whose parts are both set.
func (v *violations) life(field string, l *dpdv1.NodeLife) flow.Node {
	if l.GetId() == 0 {
		v.add(field+".id", "must be 1 or more")
	}
	if l.GetIncarnation() == 0 {
		v.add(field+".incarnation", "must be 1 or more")
	}
	return flow.Node{ID: l.GetId(), Inc: l.GetIncarnation()}
}
