package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit/page"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// AddressPools answers AddressPoolService.
type AddressPools struct {
	schedulerv1.UnimplementedAddressPoolServiceServer
	Store Store
}

// CreateAddressPool adds one.
func (a *AddressPools) CreateAddressPool(ctx context.Context, r *schedulerv1.CreateAddressPoolRequest) (*schedulerv1.AddressPool, error) {
	if err := required("address_pool", r.GetAddressPool() == nil); err != nil {
		return nil, err
	}
	spec, err := poolSpec(r.GetAddressPool())
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		return s.CreatePool(at, r.GetAddressPoolId(), r.GetRequestId(), spec)
	})
	if err != nil {
		return nil, err
	}
	return poolResource(c.Pool), nil
}

// GetAddressPool reads one.
func (a *AddressPools) GetAddressPool(_ context.Context, r *schedulerv1.GetAddressPoolRequest) (*schedulerv1.AddressPool, error) {
	ids, err := parseName("name", r.GetName(), poolCollection)
	if err != nil {
		return nil, err
	}
	var out *schedulerv1.AddressPool
	err = a.Store.Read(func(s *desired.State) error {
		x, err := s.Pool(ids[0])
		if err == nil {
			out = poolResource(x)
		}
		return err
	})
	return out, err
}

// ListAddressPools lists a page.
func (a *AddressPools) ListAddressPools(_ context.Context, r *schedulerv1.ListAddressPoolsRequest) (*schedulerv1.ListAddressPoolsResponse, error) {
	const scope = "ListAddressPools"
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	out := &schedulerv1.ListAddressPoolsResponse{}
	lastID := ""
	err = a.Store.Read(func(s *desired.State) error {
		for _, x := range s.Pools() {
			if x.ID <= after {
				continue
			}
			if len(out.AddressPools) == size {
				out.NextPageToken = page.Token(scope, lastID)
				return nil
			}
			out.AddressPools, lastID = append(out.AddressPools, poolResource(x)), x.ID
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateAddressPool changes the masked fields.
func (a *AddressPools) UpdateAddressPool(ctx context.Context, r *schedulerv1.UpdateAddressPoolRequest) (*schedulerv1.AddressPool, error) {
	patch := r.GetAddressPool()
	if err := required("address_pool", patch == nil); err != nil {
		return nil, err
	}
	ids, err := parseName("address_pool.name", patch.GetName(), poolCollection)
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		old, err := s.Pool(ids[0])
		if err != nil {
			return desired.Change{}, err
		}
		merged, err := merge(r.GetUpdateMask(), poolResource(old), patch)
		if err != nil {
			return desired.Change{}, err
		}
		spec, err := poolSpec(merged)
		if err != nil {
			return desired.Change{}, err
		}
		return s.UpdatePool(at, ids[0], patch.GetEtag(), r.GetForce(), spec)
	})
	if err != nil {
		return nil, err
	}
	return poolResource(c.Pool), nil
}

// DeleteAddressPool removes one.
func (a *AddressPools) DeleteAddressPool(ctx context.Context, r *schedulerv1.DeleteAddressPoolRequest) (*emptypb.Empty, error) {
	ids, err := parseName("name", r.GetName(), poolCollection)
	if err != nil {
		return nil, err
	}
	if _, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, _ desired.At) (desired.Change, error) {
		return s.DeletePool(ids[0], r.GetEtag(), r.GetForce())
	}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
