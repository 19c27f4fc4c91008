package pki

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Policy says which roles may call a method. Keys are full method names ("/pkg.Service/Method"), whole services
// ("/pkg.Service/") or "" for the rest; the most specific one counts. What no key covers is denied to all.
type Policy map[string][]Role

// Allows says whether a role may call a method.
func (p Policy) Allows(method string, role Role) bool {
	roles, ok := p[method]
	if !ok {
		if i := strings.LastIndexByte(method, '/'); i >= 0 {
			roles, ok = p[method[:i+1]]
		}
	}
	if !ok {
		roles = p[""]
	}
	return slices.Contains(roles, role)
}

// Check refuses a call whose caller has no identity or not the role.
func (p Policy) Check(ctx context.Context, method string) error {
	id, ok := FromContext(ctx)
	if !ok {
		return apierr.New(apierr.NoIdentity, "%s needs a client certificate with an identity", method)
	}
	if !p.Allows(method, id.Role) {
		return apierr.New(apierr.RoleDenied, "%s may not call %s", id, method)
	}
	return nil
}

// Unary enforces the policy on unary methods.
func (p Policy) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := p.Check(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// Stream enforces the policy on streams.
func (p Policy) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if err := p.Check(ss.Context(), info.FullMethod); err != nil {
			return err
		}
		return next(srv, ss)
	}
}
