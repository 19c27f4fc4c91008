// Package apierr turns refusals into gRPC statuses that programs can tell apart: each has a reason of one table in
// google.rpc.ErrorInfo, and bad requests list the fields at fault.
package apierr

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain is the ErrorInfo domain of every reason here.
const Domain = "holdfast"

// Reason is one row of the table: a stable UPPER_SNAKE name, the gRPC code that it always has, and what it means.
type Reason struct {
	Name string
	Code codes.Code
	Doc  string
}

// The table. A name, once released, keeps its code and meaning.
var (
	BadRequest             = reason("BAD_REQUEST", codes.InvalidArgument, "Fields of the request are missing or out of range; BadRequest lists each.")
	BadFilter              = reason("BAD_FILTER", codes.InvalidArgument, "The filter can't be understood.")
	BadPageToken           = reason("BAD_PAGE_TOKEN", codes.InvalidArgument, "The page token is not from this method with these arguments.")
	EmptyFilter            = reason("EMPTY_FILTER", codes.InvalidArgument, "A filter that matches everything is refused here.")
	VirtualServiceNotFound = reason("VIRTUAL_SERVICE_NOT_FOUND", codes.NotFound, "No such virtual service.")
	RealServerNotFound     = reason("REAL_SERVER_NOT_FOUND", codes.NotFound, "No such real server.")
	AddressPoolNotFound    = reason("ADDRESS_POOL_NOT_FOUND", codes.NotFound, "No such address pool.")
	HealthCheckNotFound    = reason("HEALTH_CHECK_NOT_FOUND", codes.NotFound, "No such health check.")
	NodeNotFound           = reason("NODE_NOT_FOUND", codes.NotFound, "No node of this name ever joined.")
	OperationNotFound      = reason("OPERATION_NOT_FOUND", codes.NotFound, "No such operation, or it is not kept any longer.")
	SessionNotFound        = reason("SESSION_NOT_FOUND", codes.NotFound, "No session has this tuple.")
	DuplicateName          = reason("DUPLICATE_NAME", codes.AlreadyExists, "The name is taken.")
	VIPOverlap             = reason("VIP_OVERLAP", codes.FailedPrecondition, "Another virtual service has this VIP, port and protocol.")
	ServerOverlap          = reason("SERVER_OVERLAP", codes.FailedPrecondition, "The virtual service has a server with this address and port.")
	PoolOverlap            = reason("POOL_OVERLAP", codes.FailedPrecondition, "An address is in another pool.")
	AddressIsVIP           = reason("ADDRESS_IS_VIP", codes.FailedPrecondition, "An address is both a VIP and of a pool.")
	ShrinksByHalf          = reason("SHRINKS_BY_HALF", codes.FailedPrecondition, "More than half of a pool would go; force does it.")
	NotEmpty               = reason("NOT_EMPTY", codes.FailedPrecondition, "It still has children; force removes them too.")
	LimitReached           = reason("LIMIT_REACHED", codes.ResourceExhausted, "As many as can be kept exist already.")
	CheckExists            = reason("CHECK_EXISTS", codes.FailedPrecondition, "The virtual service has a health check.")
	ETagMismatch           = reason("ETAG_MISMATCH", codes.Aborted, "It was changed since it was read; read it again.")
	Conflict               = reason("CONFLICT", codes.Aborted, "Another writer was faster, several times; try again.")
	StoreUnavailable       = reason("STORE_UNAVAILABLE", codes.Unavailable, "The key-value store does not answer.")
	StaleRevision          = reason("STALE_REVISION", codes.FailedPrecondition, "A newer configuration is in force.")
	StaleView              = reason("STALE_VIEW", codes.FailedPrecondition, "A newer view is in force.")
	StaleKeys              = reason("STALE_KEYS", codes.FailedPrecondition, "A newer key generation is in force.")
	RSSKeyChanged          = reason("RSS_KEY_CHANGED", codes.FailedPrecondition, "The node spreads packets by another RSS key; metadata names the field.")
	WrongLife              = reason("WRONG_LIFE", codes.FailedPrecondition, "The node is in another incarnation.")
	SIPPoolExhausted       = reason("SIP_POOL_EXHAUSTED", codes.ResourceExhausted, "No sync address is free.")
	JoinBackOff            = reason("JOIN_BACK_OFF", codes.ResourceExhausted, "The node's last lives were over before they were of use: it may join again when metadata's retry_after_ms are over.")
	LastNode               = reason("LAST_NODE", codes.FailedPrecondition, "No other node is admitted; force does it.")
	NodeNotInView          = reason("NODE_NOT_IN_VIEW", codes.FailedPrecondition, "The node is not in the view.")
	NotLeader              = reason("NOT_LEADER", codes.Unavailable, "This replica stands by; another one leads.")
	NodesUnreachable       = reason("NODES_UNREACHABLE", codes.Unavailable, "No data plane answered.")
	DirectoryUnknown       = reason("DIRECTORY_UNKNOWN", codes.Unavailable, "The service has just started and has not learnt yet which nodes, virtual services and real servers there are; try again.")
	SlowReader             = reason("SLOW_READER", codes.ResourceExhausted, "The watch was not read fast enough; start it again.")
	ShuttingDown           = reason("SHUTTING_DOWN", codes.Unavailable, "The process is stopping.")
	RoleDenied             = reason("ROLE_DENIED", codes.PermissionDenied, "The caller's role may not call this method.")
	NoIdentity             = reason("NO_IDENTITY", codes.Unauthenticated, "The caller showed no identity that is known here.")
	Internal               = reason("INTERNAL", codes.Internal, "A fault of the program; the log has more.")
)

var table []Reason

func reason(name string, code codes.Code, doc string) Reason {
	r := Reason{Name: name, Code: code, Doc: doc}
	table = append(table, r)
	return r
}

// Table returns every reason, in the order of their declaration.
func Table() []Reason { return append([]Reason(nil), table...) }

// New makes an error with the reason's code and a message for people.
func New(r Reason, format string, args ...any) error {
	return With(r, nil, format, args...)
}

// With is New with metadata for programs, such as the name of the resource in the way.
func With(r Reason, metadata map[string]string, format string, args ...any) error {
	s := status.New(r.Code, fmt.Sprintf(format, args...))
	if d, err := s.WithDetails(&errdetails.ErrorInfo{Reason: r.Name, Domain: Domain, Metadata: metadata}); err == nil {
		s = d
	}
	return s.Err()
}

// ReasonOf returns the name of an error's reason, from this process or a remote one; empty when it has none.
func ReasonOf(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return ""
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info.GetReason()
		}
	}
	return ""
}

// Is says whether an error has the reason.
func Is(err error, r Reason) bool { return ReasonOf(err) == r.Name }
