// Package api answers the scheduler's gRPC services: requests become decisions on the desired state, records become
// resources.
package api

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"go.einride.tech/aip/fieldmask"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

const (
	serviceCollection = "virtualServices"
	serverCollection  = "realServers"
	poolCollection    = "addressPools"
)

func serviceName(id string) string { return serviceCollection + "/" + id }
func serverName(service, id string) string {
	return serviceName(service) + "/" + serverCollection + "/" + id
}
func poolName(id string) string { return poolCollection + "/" + id }

// parseName splits a resource name of the given collections into its ids.
func parseName(field, name string, collections ...string) ([]string, error) {
	parts := strings.Split(name, "/")
	ok := len(parts) == 2*len(collections)
	var ids []string
	for i := 0; ok && i < len(parts); i += 2 {
		ok = parts[i] == collections[i/2] && parts[i+1] != ""
		ids = append(ids, parts[i+1])
	}
	if !ok {
		var v apierr.Violations
		v.Add(field, "is not of the form %s/{id}", strings.Join(collections, "/{id}/"))
		return nil, v.Err()
	}
	return ids, nil
}

// required refuses a request without its resource.
func required(field string, missing bool) error {
	var v apierr.Violations
	if missing {
		v.Add(field, "is required")
	}
	return v.Err()
}

// merge applies the masked fields of patch to a copy of old. Output fields, names and etags in a mask are passed over: a
// caller may send back what it has read.
func merge[T proto.Message](mask *fieldmaskpb.FieldMask, old, patch T) (T, error) {
	var v apierr.Violations
	if err := fieldmask.Validate(mask, old); err != nil {
		v.Add("update_mask", "%v", err)
		var none T
		return none, v.Err()
	}
	kept := &fieldmaskpb.FieldMask{}
	for _, p := range mask.GetPaths() {
		switch p {
		case "name", "uid", "etag", "health", "create_time", "update_time":
		default:
			kept.Paths = append(kept.Paths, p)
		}
	}
	out := proto.CloneOf(old)
	if len(mask.GetPaths()) == 0 || len(kept.GetPaths()) > 0 {
		fieldmask.Update(kept, out, patch)
	}
	return out, nil
}

func parseAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{} // validation says that it is no address
	}
	return a
}

// parsePort gives 0, which validation refuses, for what is out of range.
func parsePort(p uint32) uint16 {
	if p > math.MaxUint16 {
		return 0
	}
	return uint16(p)
}

var protocols = map[dpdv1.Protocol]desired.Protocol{
	dpdv1.Protocol_PROTOCOL_TCP: desired.TCP,
	dpdv1.Protocol_PROTOCOL_UDP: desired.UDP,
}

var modes = map[dpdv1.ForwardingMode]desired.Mode{
	dpdv1.ForwardingMode_FORWARDING_MODE_UNSPECIFIED: desired.FullNAT,
	dpdv1.ForwardingMode_FORWARDING_MODE_FULLNAT:     desired.FullNAT,
}

var algorithms = map[dpdv1.Algorithm]desired.Algorithm{
	dpdv1.Algorithm_ALGORITHM_UNSPECIFIED: desired.RR,
	dpdv1.Algorithm_ALGORITHM_RR:          desired.RR,
	dpdv1.Algorithm_ALGORITHM_WRR:         desired.WRR,
	dpdv1.Algorithm_ALGORITHM_WLC:         desired.WLC,
}

// unknownExpire is what validation refuses.
const unknownExpire desired.Expire = "unknown"

func expiry(p dpdv1.ExpireAction) desired.Expire {
	switch p {
	case dpdv1.ExpireAction_EXPIRE_ACTION_UNSPECIFIED, dpdv1.ExpireAction_EXPIRE_ACTION_SILENT:
		return desired.Silent
	case dpdv1.ExpireAction_EXPIRE_ACTION_RST:
		return desired.RST
	}
	return unknownExpire
}

func expireAction(e desired.Expire) dpdv1.ExpireAction {
	if e == desired.RST {
		return dpdv1.ExpireAction_EXPIRE_ACTION_RST
	}
	return dpdv1.ExpireAction_EXPIRE_ACTION_SILENT
}

var admins = map[schedulerv1.AdminState]desired.Admin{
	schedulerv1.AdminState_ADMIN_STATE_UNSPECIFIED: desired.Enabled,
	schedulerv1.AdminState_ADMIN_STATE_ENABLED:     desired.Enabled,
	schedulerv1.AdminState_ADMIN_STATE_DRAINING:    desired.Draining,
}

var purposes = map[schedulerv1.PoolPurpose]desired.Purpose{
	schedulerv1.PoolPurpose_POOL_PURPOSE_LADDR: desired.Laddr,
	schedulerv1.PoolPurpose_POOL_PURPOSE_SIP:   desired.SIP,
}

// back finds the enum value of a core value; values named UNSPECIFIED are inputs only.
func back[K ~int32, V comparable](m map[K]V, v V) K {
	for k, x := range m {
		if x == v && k != 0 {
			return k
		}
	}
	return 0
}

// timeouts are the fields of SessionTimeouts beside those of the core value.
func timeouts(p *schedulerv1.SessionTimeouts, t *desired.Timeouts) []struct {
	name string
	from **durationpb.Duration
	to   *uint32
} {
	return []struct {
		name string
		from **durationpb.Duration
		to   *uint32
	}{
		{"tcp_syn_recv", &p.TcpSynRecv, &t.TCPSynRecv}, {"tcp_established", &p.TcpEstablished, &t.TCPEstablished},
		{"tcp_fin_wait", &p.TcpFinWait, &t.TCPFinWait}, {"tcp_close_wait", &p.TcpCloseWait, &t.TCPCloseWait},
		{"tcp_time_wait", &p.TcpTimeWait, &t.TCPTimeWait}, {"tcp_close", &p.TcpClose, &t.TCPClose},
		{"tcp_last_ack", &p.TcpLastAck, &t.TCPLastAck}, {"udp", &p.Udp, &t.UDP},
	}
}

func serviceSpec(p *schedulerv1.VirtualService) (desired.ServiceSpec, error) {
	var v apierr.Violations
	out := desired.ServiceSpec{
		Endpoint:  desired.Endpoint{VIP: parseAddr(p.GetVip()), Port: parsePort(p.GetPort()), Protocol: protocols[p.GetProtocol()]},
		Mode:      modes[p.GetMode()],
		Algorithm: algorithms[p.GetAlgorithm()],
		Expire:    expiry(p.GetExpire()),
	}
	if p.GetTimeouts() != nil {
		for _, f := range timeouts(p.GetTimeouts(), &out.Timeouts) {
			d := *f.from
			if d == nil {
				continue
			}
			if s := d.AsDuration(); !d.IsValid() || s < time.Second || s%time.Second != 0 || s/time.Second > math.MaxUint32 {
				v.Add("virtual_service.timeouts."+f.name, "is not 1 s to 30 days in whole seconds")
			} else {
				*f.to = uint32(s / time.Second)
			}
		}
	}
	return out, v.Err()
}

func serviceResource(s *desired.Service) *schedulerv1.VirtualService {
	out := &schedulerv1.VirtualService{
		Name:       serviceName(s.ID),
		Uid:        s.Meta.UID,
		Vip:        s.Spec.VIP.String(),
		Port:       uint32(s.Spec.Port),
		Protocol:   back(protocols, s.Spec.Protocol),
		Mode:       back(modes, s.Spec.Mode),
		Algorithm:  back(algorithms, s.Spec.Algorithm),
		Expire:     expireAction(s.Spec.Expire),
		Etag:       s.Meta.ETag(),
		CreateTime: timestamppb.New(s.Meta.Created),
		UpdateTime: timestamppb.New(s.Meta.Updated),
	}
	if s.Spec.Timeouts != (desired.Timeouts{}) {
		out.Timeouts = &schedulerv1.SessionTimeouts{}
		t := s.Spec.Timeouts
		for _, f := range timeouts(out.Timeouts, &t) {
			if *f.to != 0 {
				*f.from = durationpb.New(time.Duration(*f.to) * time.Second)
			}
		}
	}
	return out
}

func serverSpec(p *schedulerv1.RealServer) (desired.ServerSpec, error) {
	var v apierr.Violations
	weight := uint32(1)
	if p.Weight != nil {
		weight = p.GetWeight()
	}
	if weight > math.MaxUint16 {
		v.Add("real_server.weight", "is %d, more than 65535", weight)
	}
	return desired.ServerSpec{
		Address:        parseAddr(p.GetAddress()),
		Port:           parsePort(p.GetPort()),
		Weight:         uint16(weight),
		MaxConnections: p.GetMaxConnections(),
		Admin:          admins[p.GetAdminState()],
	}, v.Err()
}

func serverResource(service string, s desired.Server) *schedulerv1.RealServer {
	health := schedulerv1.HealthState_HEALTH_STATE_UNSPECIFIED
	switch s.Health {
	case desired.Up:
		health = schedulerv1.HealthState_HEALTH_STATE_UP
	case desired.Down:
		health = schedulerv1.HealthState_HEALTH_STATE_DOWN
	}
	return &schedulerv1.RealServer{
		Name:           serverName(service, s.ID),
		Uid:            s.Meta.UID,
		Address:        s.Spec.Address.String(),
		Port:           uint32(s.Spec.Port),
		Weight:         proto.Uint32(uint32(s.Spec.Weight)),
		MaxConnections: s.Spec.MaxConnections,
		AdminState:     back(admins, s.Spec.Admin),
		Health:         health,
		Etag:           s.Meta.ETag(),
		CreateTime:     timestamppb.New(s.Meta.Created),
		UpdateTime:     timestamppb.New(s.Meta.Updated),
	}
}

func poolSpec(p *schedulerv1.AddressPool) (desired.PoolSpec, error) {
	var v apierr.Violations
	out := desired.PoolSpec{Purpose: purposes[p.GetPurpose()]}
	if p.GetBlockSize() > math.MaxUint16 {
		v.Add("address_pool.block_size", "is %d, more than 256", p.GetBlockSize())
	}
	out.BlockSize = uint16(p.GetBlockSize())
	if out.BlockSize == 0 && out.Purpose == desired.Laddr {
		out.BlockSize = 1
	}
	for i, s := range p.GetPrefixes() {
		x, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil || a.Zone() != "" {
				v.Add(fmt.Sprintf("address_pool.prefixes[%d]", i), "%q is neither a prefix nor an address", s)
				continue
			}
			x = netip.PrefixFrom(a, a.BitLen())
		}
		out.Prefixes = append(out.Prefixes, x)
	}
	return out, v.Err()
}

func poolResource(p *desired.Pool) *schedulerv1.AddressPool {
	out := &schedulerv1.AddressPool{
		Name:       poolName(p.ID),
		Purpose:    back(purposes, p.Spec.Purpose),
		BlockSize:  uint32(p.Spec.BlockSize),
		Etag:       p.Meta.ETag(),
		CreateTime: timestamppb.New(p.Meta.Created),
		UpdateTime: timestamppb.New(p.Meta.Updated),
	}
	for _, x := range p.Spec.Prefixes {
		out.Prefixes = append(out.Prefixes, x.String())
	}
	return out
}
