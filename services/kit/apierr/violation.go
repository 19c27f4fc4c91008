package apierr

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// maxViolations bounds the size of an answer to a request that is wrong throughout.
const maxViolations = 100

// Violations gathers everything that is wrong with a request, so that the caller hears it all at once.
type Violations struct {
	list []*errdetails.BadRequest_FieldViolation
	more int
}

// Add notes that a field is wrong. Path is as in JSON with proto names: "virtual_service.port", "services[3].vip".
func (v *Violations) Add(path, format string, args ...any) {
	if len(v.list) == maxViolations {
		v.more++
		return
	}
	v.list = append(v.list, &errdetails.BadRequest_FieldViolation{Field: path, Description: fmt.Sprintf(format, args...)})
}

// Empty says whether nothing was added.
func (v *Violations) Empty() bool { return len(v.list) == 0 }

// Err is nil when nothing was added, else an INVALID_ARGUMENT that lists the fields.
func (v *Violations) Err() error {
	if v.Empty() {
		return nil
	}
	first := v.list[0]
	msg := first.GetField() + ": " + first.GetDescription()
	if n := len(v.list) - 1 + v.more; n > 0 {
		msg = fmt.Sprintf("%s (and %d more)", msg, n)
	}
	s := status.New(BadRequest.Code, msg)
	d, err := s.WithDetails(
		&errdetails.ErrorInfo{Reason: BadRequest.Name, Domain: Domain},
		&errdetails.BadRequest{FieldViolations: v.list},
	)
	if err == nil {
		s = d
	}
	return s.Err()
}

// Fields returns the paths of an error's field violations.
func Fields(err error) []string {
	s, ok := status.FromError(err)
	if !ok {
		return nil
	}
	var out []string
	for _, d := range s.Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, f := range b.GetFieldViolations() {
				out = append(out, f.GetField())
			}
		}
	}
	return out
}
