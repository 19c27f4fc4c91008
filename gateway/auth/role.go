// Package auth says who calls the gateway and what each may do: roles, the role that each RPC needs, bearer tokens and
// client certificates.
package auth

import (
	"context"
	"fmt"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
)

// Role of a caller. Each role may do what the ones below it may.
type Role uint8

// The roles, lowest first. The zero value may do nothing.
const (
	Nobody   Role = iota
	Viewer        // reads
	Operator      // daily work: weights, drains, servers, checks
	Admin         // what can take traffic away from many: services, pools, sessions in bulk
)

var roleNames = map[Role]string{Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String is the name in token files.
func (r Role) String() string {
	if s, ok := roleNames[r]; ok {
		return s
	}
	return "nobody"
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for r, name := range roleNames {
		if name == s {
			return r, nil
		}
	}
	return Nobody, fmt.Errorf("%q is not one of viewer, operator, admin", s)
}

// Caller is who calls.
type Caller struct {
	Name string
	Role Role
}

type callerKey struct{}

// WithCaller puts the caller into a context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the caller of a context; without one, nobody.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Needs is the role that each public RPC needs. An RPC that is not here can't be called through the gateway.
var Needs = map[string]Role{
	schedulerv1.VirtualServiceService_CreateVirtualService_FullMethodName: Admin,
	schedulerv1.VirtualServiceService_GetVirtualService_FullMethodName:    Viewer,
	schedulerv1.VirtualServiceService_ListVirtualServices_FullMethodName:  Viewer,
	schedulerv1.VirtualServiceService_UpdateVirtualService_FullMethodName: Operator,
	schedulerv1.VirtualServiceService_DeleteVirtualService_FullMethodName: Admin,
	schedulerv1.RealServerService_CreateRealServer_FullMethodName:         Operator,
	schedulerv1.RealServerService_GetRealServer_FullMethodName:            Viewer,
	schedulerv1.RealServerService_ListRealServers_FullMethodName:          Viewer,
	schedulerv1.RealServerService_UpdateRealServer_FullMethodName:         Operator,
	schedulerv1.RealServerService_DeleteRealServer_FullMethodName:         Operator,
	schedulerv1.AddressPoolService_CreateAddressPool_FullMethodName:       Admin,
	schedulerv1.AddressPoolService_GetAddressPool_FullMethodName:          Viewer,
	schedulerv1.AddressPoolService_ListAddressPools_FullMethodName:        Viewer,
	schedulerv1.AddressPoolService_UpdateAddressPool_FullMethodName:       Admin,
	schedulerv1.AddressPoolService_DeleteAddressPool_FullMethodName:       Admin,
	schedulerv1.RolloutService_GetRollout_FullMethodName:                  Viewer,
	schedulerv1.RolloutService_WatchRollout_FullMethodName:                Viewer,
	syncv1.CoordinatorService_ListNodes_FullMethodName:                    Viewer,
	syncv1.CoordinatorService_GetNode_FullMethodName:                      Viewer,
	syncv1.CoordinatorService_DrainNode_FullMethodName:                    Operator,
	syncv1.CoordinatorService_BulkSync_FullMethodName:                     Operator,
	syncv1.CoordinatorService_ListOperations_FullMethodName:               Viewer,
	syncv1.CoordinatorService_GetOperation_FullMethodName:                 Viewer,
	syncv1.CoordinatorService_WatchMembership_FullMethodName:              Viewer,
	conntrackv1.SessionService_ListSessions_FullMethodName:                Viewer,
	conntrackv1.SessionService_GetSession_FullMethodName:                  Viewer,
	conntrackv1.SessionService_CountSessions_FullMethodName:               Viewer,
	conntrackv1.SessionService_DeleteSessions_FullMethodName:              Admin,
	healthv1.HealthService_CreateHealthCheck_FullMethodName:               Operator,
	healthv1.HealthService_GetHealthCheck_FullMethodName:                  Viewer,
	healthv1.HealthService_ListHealthChecks_FullMethodName:                Viewer,
	healthv1.HealthService_UpdateHealthCheck_FullMethodName:               Operator,
	healthv1.HealthService_DeleteHealthCheck_FullMethodName:               Operator,
	healthv1.HealthService_ListHealth_FullMethodName:                      Viewer,
	healthv1.HealthService_WatchHealth_FullMethodName:                     Viewer,
	healthv1.HealthService_ListNodeHealth_FullMethodName:                  Viewer,
}
