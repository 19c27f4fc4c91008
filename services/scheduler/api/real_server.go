package api

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/kit/page"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// anyParent as a parent's id lists the children of all parents (AIP-159).
const anyParent = "-"

// RealServers answers RealServerService.
type RealServers struct {
	schedulerv1.UnimplementedRealServerServiceServer
	Store Store
}

// CreateRealServer adds one.
func (a *RealServers) CreateRealServer(ctx context.Context, r *schedulerv1.CreateRealServerRequest) (*schedulerv1.RealServer, error) {
	if err := required("real_server", r.GetRealServer() == nil); err != nil {
		return nil, err
	}
	parent, err := parseName("parent", r.GetParent(), serviceCollection)
	if err != nil {
		return nil, err
	}
	spec, err := serverSpec(r.GetRealServer())
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		return s.CreateServer(at, parent[0], r.GetRealServerId(), r.GetRequestId(), spec)
	})
	if err != nil {
		return nil, err
	}
	return child(c, r.GetRealServerId()), nil
}

// child is a server of a changed service.
func child(c desired.Change, id string) *schedulerv1.RealServer {
	x, _ := c.Service.Server(id)
	return serverResource(c.ID, x)
}

// GetRealServer reads one.
func (a *RealServers) GetRealServer(_ context.Context, r *schedulerv1.GetRealServerRequest) (*schedulerv1.RealServer, error) {
	ids, err := parseName("name", r.GetName(), serviceCollection, serverCollection)
	if err != nil {
		return nil, err
	}
	var out *schedulerv1.RealServer
	err = a.Store.Read(func(s *desired.State) error {
		_, x, err := s.FindServer(ids[0], ids[1])
		if err == nil {
			out = serverResource(ids[0], x)
		}
		return err
	})
	return out, err
}

// ListRealServers lists a page, of one service or of all.
func (a *RealServers) ListRealServers(_ context.Context, r *schedulerv1.ListRealServersRequest) (*schedulerv1.ListRealServersResponse, error) {
	parent, err := parseName("parent", r.GetParent(), serviceCollection)
	if err != nil {
		return nil, err
	}
	scope := "ListRealServers " + parent[0]
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	afterService, afterServer, _ := strings.Cut(after, "/")
	out := &schedulerv1.ListRealServersResponse{}
	last := ""
	err = a.Store.Read(func(s *desired.State) error {
		var services []*desired.Service
		if parent[0] == anyParent {
			services = s.Services()
		} else if x, err := s.Service(parent[0]); err == nil {
			services = []*desired.Service{x}
		} else {
			return err
		}
		for _, svc := range services {
			if svc.ID < afterService {
				continue
			}
			for _, x := range svc.Servers {
				if svc.ID == afterService && x.ID <= afterServer {
					continue
				}
				if len(out.RealServers) == size {
					out.NextPageToken = page.Token(scope, last)
					return nil
				}
				out.RealServers, last = append(out.RealServers, serverResource(svc.ID, x)), svc.ID+"/"+x.ID
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateRealServer changes the masked fields.
func (a *RealServers) UpdateRealServer(ctx context.Context, r *schedulerv1.UpdateRealServerRequest) (*schedulerv1.RealServer, error) {
	patch := r.GetRealServer()
	if err := required("real_server", patch == nil); err != nil {
		return nil, err
	}
	ids, err := parseName("real_server.name", patch.GetName(), serviceCollection, serverCollection)
	if err != nil {
		return nil, err
	}
	c, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, at desired.At) (desired.Change, error) {
		_, old, err := s.FindServer(ids[0], ids[1])
		if err != nil {
			return desired.Change{}, err
		}
		merged, err := merge(r.GetUpdateMask(), serverResource(ids[0], old), patch)
		if err != nil {
			return desired.Change{}, err
		}
		spec, err := serverSpec(merged)
		if err != nil {
			return desired.Change{}, err
		}
		return s.UpdateServer(at, ids[0], ids[1], patch.GetEtag(), spec)
	})
	if err != nil {
		return nil, err
	}
	return child(c, ids[1]), nil
}

// DeleteRealServer removes one.
func (a *RealServers) DeleteRealServer(ctx context.Context, r *schedulerv1.DeleteRealServerRequest) (*emptypb.Empty, error) {
	ids, err := parseName("name", r.GetName(), serviceCollection, serverCollection)
	if err != nil {
		return nil, err
	}
	if _, err := decide(ctx, a.Store, r.GetValidateOnly(), func(s *desired.State, _ desired.At) (desired.Change, error) {
		return s.DeleteServer(ids[0], ids[1], r.GetEtag())
	}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
