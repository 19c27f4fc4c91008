package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit/page"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// Store is where decisions are made and kept.
type Store interface {
	Read(func(*desired.State) error) error
	Change(ctx context.Context, decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error)
	Preview(decide func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error)
}

// decide stores a decision, or only makes it.
func decide(ctx context.Context, s Store, validateOnly bool, f func(*desired.State, desired.At) (desired.Change, error)) (desired.Change, error) {
	if validateOnly {
		return s.Preview(f)
	}
	return s.Change(ctx, f)
}

// VirtualServices answers VirtualServiceService.
type VirtualServices struct {
	schedulerv1.UnimplementedVirtualServiceServiceServer
	Store Store
}

// CreateVirtualService adds one.
func (a *VirtualServices) CreateVirtualService(ctx context.Context, r *schedulerv1.CreateVirtualServiceRequest) (*schedulerv1.VirtualService, error) {
	if err := required("virtual_service", r.GetVirtualService() == nil); err != nil {
		return nil, err
	}
	spec, err := serviceSpec(r.GetVirtualService())
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		return s.CreateService(at, r.GetVirtualServiceId(), r.GetRequestId(), spec)
	})
	if err != nil {
		return nil, err
	}
	return serviceResource(c.Service), nil
}

// GetVirtualService reads one.
func (a *VirtualServices) GetVirtualService(_ context.Context, r *schedulerv1.GetVirtualServiceRequest) (*schedulerv1.VirtualService, error) {
	ids, err := parseName("name", r.GetName(), serviceCollection)
	if err != nil {
		return nil, err
	}
	var out *schedulerv1.VirtualService
	err = a.Store.Read(func(s *desired.State) error {
		x, err := s.Service(ids[0])
		if err == nil {
			out = serviceResource(x)
		}
		return err
	})
	return out, err
}

// ListVirtualServices lists a page.
func (a *VirtualServices) ListVirtualServices(_ context.Context, r *schedulerv1.ListVirtualServicesRequest) (*schedulerv1.ListVirtualServicesResponse, error) {
	const scope = "ListVirtualServices"
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	out := &schedulerv1.ListVirtualServicesResponse{}
	lastID := ""
	err = a.Store.Read(func(s *desired.State) error {
		for _, x := range s.Services() {
			if x.ID <= after {
				continue
			}
			if len(out.VirtualServices) == size {
				out.NextPageToken = page.Token(scope, lastID)
				return nil
			}
			out.VirtualServices, lastID = append(out.VirtualServices, serviceResource(x)), x.ID
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateVirtualService changes the masked fields.
func (a *VirtualServices) UpdateVirtualService(ctx context.Context, r *schedulerv1.UpdateVirtualServiceRequest) (*schedulerv1.VirtualService, error) {
	patch := r.GetVirtualService()
	if err := required("virtual_service", patch == nil); err != nil {
		return nil, err
	}
	ids, err := parseName("virtual_service.name", patch.GetName(), serviceCollection)
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		old, err := s.Service(ids[0])
		if err != nil {
			return desired.Change{}, err
		}
		merged, err := merge(r.GetUpdateMask(), serviceResource(old), patch)
		if err != nil {
			return desired.Change{}, err
		}
		spec, err := serviceSpec(merged)
		if err != nil {
			return desired.Change{}, err
		}
		return s.UpdateService(at, ids[0], patch.GetEtag(), spec)
	})
	if err != nil {
		return nil, err
	}
	return serviceResource(c.Service), nil
}

// DeleteVirtualService removes one.
func (a *VirtualServices) DeleteVirtualService(ctx context.Context, r *schedulerv1.DeleteVirtualServiceRequest) (*emptypb.Empty, error) {
	ids, err := parseName("name", r.GetName(), serviceCollection)
	if err != nil {
		return nil, err
	}
	if _, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, _ desired.At) (desired.Change, error) {
		return s.DeleteService(ids[0], r.GetEtag(), r.GetForce())
	}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
