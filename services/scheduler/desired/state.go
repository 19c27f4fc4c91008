package desired

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Bounds of the state.
const (
	maxServices = 65535
	// maxServers per service keeps a record below the store's greatest value of 1 MiB.
	maxServers = 1000
)

// Change is one record to store: a service or a pool, or the deletion of one.
type Change struct {
	// Kind and ID name the record.
	Kind Kind
	ID   string
	// Service or Pool is the new record; both nil delete it.
	Service *Service
	Pool    *Pool
	// Nothing says that the state is as wanted already.
	Nothing bool
}

// Kind of a record.
type Kind string

// The kinds.
const (
	KindService Kind = "service"
	KindPool    Kind = "pool"
)

// At is where and when a decision is made: the sequence that the change will have in the store, and the time.
type At struct {
	Seq uint64
	Now time.Time
}

// State is the whole desired state. Not safe for concurrent use; the records in it are never changed in place, so a
// reader may keep them.
type State struct {
	services  map[string]*Service
	pools     map[string]*Pool
	endpoints map[Endpoint]string
}

// New is the empty state.
func New() *State {
	return &State{services: map[string]*Service{}, pools: map[string]*Pool{}, endpoints: map[Endpoint]string{}}
}

// Apply puts a stored change into the state.
func (s *State) Apply(c Change) {
	if c.Nothing {
		return
	}
	switch c.Kind {
	case KindService:
		if old := s.services[c.ID]; old != nil {
			delete(s.endpoints, old.Spec.Endpoint)
		}
		if c.Service == nil {
			delete(s.services, c.ID)
			return
		}
		s.services[c.ID] = c.Service
		s.endpoints[c.Service.Spec.Endpoint] = c.ID
	case KindPool:
		if c.Pool == nil {
			delete(s.pools, c.ID)
			return
		}
		s.pools[c.ID] = c.Pool
	}
}

// Service finds a service.
func (s *State) Service(id string) (*Service, error) {
	if x := s.services[id]; x != nil {
		return x, nil
	}
	return nil, apierr.New(apierr.VirtualServiceNotFound, "there is no virtual service %q", id)
}

// Pool finds a pool.
func (s *State) Pool(id string) (*Pool, error) {
	if x := s.pools[id]; x != nil {
		return x, nil
	}
	return nil, apierr.New(apierr.AddressPoolNotFound, "there is no address pool %q", id)
}

// Services are all services by id.
func (s *State) Services() []*Service {
	out := slices.Collect(maps.Values(s.services))
	slices.SortFunc(out, func(a, b *Service) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Pools are all pools by id.
func (s *State) Pools() []*Pool {
	out := slices.Collect(maps.Values(s.pools))
	slices.SortFunc(out, func(a, b *Pool) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// CreateService decides on a new service.
func (s *State) CreateService(at At, id, requestID string, spec ServiceSpec) (Change, error) {
	var v apierr.Violations
	validateID(&v, "virtual_service_id", id)
	validateRequestID(&v, requestID)
	spec.validate(&v)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	if old := s.services[id]; old != nil {
		if requestID != "" && old.Meta.RequestID == requestID {
			return Change{Kind: KindService, ID: id, Service: old, Nothing: true}, nil
		}
		return Change{}, apierr.New(apierr.DuplicateName, "there is a virtual service %q already", id)
	}
	if other, ok := s.endpoints[spec.Endpoint]; ok {
		return Change{}, apierr.With(apierr.VIPOverlap, map[string]string{"virtual_service": "virtualServices/" + other},
			"virtual service %q has this VIP, port and protocol", other)
	}
	for _, p := range s.Pools() {
		if p.Spec.contains(spec.VIP) {
			return Change{}, addressIsVIP(spec.VIP, p.ID)
		}
	}
	if len(s.services) >= maxServices {
		return Change{}, apierr.New(apierr.LimitReached, "there are %d virtual services already", maxServices)
	}
	return Change{Kind: KindService, ID: id, Service: &Service{ID: id, Spec: spec, Meta: at.created(requestID)}}, nil
}

// UpdateService decides on a new spec of a service. Endpoint can't change.
func (s *State) UpdateService(at At, id, etag string, spec ServiceSpec) (Change, error) {
	old, err := s.Service(id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	var v apierr.Violations
	spec.validate(&v)
	immutable(&v, "virtual_service.vip", old.Spec.VIP, spec.VIP)
	immutable(&v, "virtual_service.port", old.Spec.Port, spec.Port)
	immutable(&v, "virtual_service.protocol", old.Spec.Protocol, spec.Protocol)
	if err := v.Err(); err != nil {
		return Change{}, err
	}
	if spec == old.Spec {
		return Change{Kind: KindService, ID: id, Service: old, Nothing: true}, nil
	}
	x := *old
	x.Spec, x.Meta = spec, old.Meta.changed(at)
	return Change{Kind: KindService, ID: id, Service: &x}, nil
}

// DeleteService decides on the end of a service, and with force of its servers too.
func (s *State) DeleteService(id, etag string, force bool) (Change, error) {
	old, err := s.Service(id)
	if err != nil {
		return Change{}, err
	}
	if err := old.Meta.match(etag); err != nil {
		return Change{}, err
	}
	if len(old.Servers) > 0 && !force {
		return Change{}, apierr.New(apierr.NotEmpty, "virtual service %q has %d real servers", id, len(old.Servers))
	}
	return Change{Kind: KindService, ID: id}, nil
}

func addressIsVIP(a netip.Addr, pool string) error {
	return apierr.With(apierr.AddressIsVIP, map[string]string{"address_pool": "addressPools/" + pool},
		"%v is a VIP and an address of pool %q", a, pool)
}

func immutable[T comparable](v *apierr.Violations, path string, old, now T) {
	if old != now {
		v.Add(path, "can't change from %v", old)
	}
}
