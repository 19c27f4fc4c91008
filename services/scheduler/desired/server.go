package desired

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

func (s *Service) find(id string) (int, bool) {
	return slices.BinarySearchFunc(s.Servers, id, func(x Server, id string) int { return strings.Compare(x.ID, id) })
}

// with is the service with one server put, replaced or (nil) taken away at i.
func (s *Service) with(i int, found bool, x *Server) *Service {
	out := *s
	out.Servers = slices.Clone(s.Servers)
	switch {
	case x == nil:
		out.Servers = slices.Delete(out.Servers, i, i+1)
	case found:
		out.Servers[i] = *x
	default:
		out.Servers = slices.Insert(out.Servers, i, *x)
	}
	return &out
}

// CreateServer decides on a new server of a service.
func (s *State) CreateServer(at At, service, id, requestID string, spec ServerSpec) (Change, error) {
	svc, err := s.Service(service)
	if err != nil {
		return Change{}, err
	}
	var v apierr.Violations
	validateID(&v, "real_server_id", id)
	validateRequestID(&v, requestID)
	spec.validate(&v, svc)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	i, found := svc.find(id)
	if found {
		if requestID != "" && svc.Servers[i].Meta.RequestID == requestID {
			return Change{Kind: KindService, ID: service, Service: svc, Nothing: true}, nil
		}
		return Change{}, apierr.New(apierr.DuplicateName, "virtual service %q has a real server %q already", service, id)
	}
	for _, o := range svc.Servers {
		if o.Spec.Address == spec.Address && o.Spec.Port == spec.Port {
			return Change{}, apierr.New(apierr.ServerOverlap, "real server %q has this address and port", o.ID)
		}
	}
	if len(svc.Servers) >= maxServers {
		return Change{}, apierr.New(apierr.LimitReached, "virtual service %q has %d real servers already", service, maxServers)
	}
	x := Server{ID: id, Spec: spec, Meta: at.created(requestID)}
	return Change{Kind: KindService, ID: service, Service: svc.with(i, false, &x)}, nil
}

// FindServer finds a service and a server of it.
func (s *State) FindServer(service, id string) (*Service, Server, error) {
	svc, err := s.Service(service)
	if err != nil {
		return nil, Server{}, err
	}
	x, ok := svc.Server(id)
	if !ok {
		return nil, Server{}, apierr.New(apierr.RealServerNotFound, "virtual service %q has no real server %q", service, id)
	}
	return svc, x, nil
}

// UpdateServer decides on a new spec of a server. Address and port can't change.
func (s *State) UpdateServer(at At, service, id, etag string, spec ServerSpec) (Change, error) {
	svc, old, err := s.FindServer(service, id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	var v apierr.Violations
	spec.validate(&v, svc)
	immutable(&v, "real_server.address", old.Spec.Address, spec.Address)
	immutable(&v, "real_server.port", old.Spec.Port, spec.Port)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	if spec == old.Spec {
		return Change{Kind: KindService, ID: service, Service: svc, Nothing: true}, nil
	}
	i, _ := svc.find(id)
	x := old
	x.Spec, x.Meta = spec, old.Meta.changed(at)
	return Change{Kind: KindService, ID: service, Service: svc.with(i, true, &x)}, nil
}

// DeleteServer decides on the end of a server.
func (s *State) DeleteServer(service, id, etag string) (Change, error) {
	svc, old, err := s.FindServer(service, id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	i, _ := svc.find(id)
	return Change{Kind: KindService, ID: service, Service: svc.with(i, true, nil)}, nil
}

// Verdict is what the checks say of a server. It names the address too, since a name may be another server by now; Unknown
// takes a verdict back, whatever the address.
type Verdict struct {
	Service, Server string
	Address         netip.Addr
	Port            uint16
	Health          Health
}

// Judge decides on verdicts about the servers of one service. Verdicts on servers that are not there are passed over. It
// leaves etags as they are: a flapping server must not fail an operator's update.
func (s *State) Judge(service string, verdicts []Verdict) Change {
	nothing := Change{Kind: KindService, ID: service, Nothing: true}
	svc := s.services[service]
	if svc == nil {
		return nothing
	}
	out := svc
	for _, v := range verdicts {
		i, ok := svc.find(v.Server)
		if !ok || v.Service != service {
			continue
		}
		x := out.Servers[i]
		elsewhere := x.Spec.Address != v.Address || x.Spec.Port != v.Port
		if x.Health == v.Health || elsewhere && v.Health != Unknown {
			continue
		}
		x.Health = v.Health
		out = out.with(i, true, &x)
	}
	if out == svc {
		return nothing
	}
	return Change{Kind: KindService, ID: service, Service: out}
}
