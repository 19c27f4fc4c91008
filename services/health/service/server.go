package service

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/page"
)

// ListHealth lists verdicts by name.
func (s *Service) ListHealth(_ context.Context, r *healthv1.ListHealthRequest) (*healthv1.ListHealthResponse, error) {
	if err := serviceName(r.GetVirtualService()); err != nil {
		return nil, err
	}
	scope := "backends\x00" + r.GetVirtualService()
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	list, next := cut(s.verdicts.list(r.GetVirtualService()), (*healthv1.BackendHealth).GetRealServer, scope, after, size)
	return &healthv1.ListHealthResponse{Backends: list, NextPageToken: next}, nil
}

// WatchHealth streams verdicts: all now, then those that change.
func (s *Service) WatchHealth(r *healthv1.WatchHealthRequest, out grpc.ServerStreamingServer[healthv1.WatchHealthResponse]) error {
	if err := serviceName(r.GetVirtualService()); err != nil {
		return err
	}
	var token atomic.Uint64
	send := func(kind dpdv1.WatchKind, list []*healthv1.BackendHealth) error {
		return out.Send(&healthv1.WatchHealthResponse{Kind: kind, Backends: list, ResumeToken: fmt.Sprint(token.Add(1))})
	}
	err := s.verdicts.hub.Serve(out.Context(),
		func() error {
			return send(dpdv1.WatchKind_WATCH_KIND_BOOKMARK, s.verdicts.list(r.GetVirtualService()))
		},
		func(b *healthv1.BackendHealth) error {
			if v := r.GetVirtualService(); v != "" && !strings.HasPrefix(b.GetRealServer(), v+"/") {
				return nil
			}
			return send(dpdv1.WatchKind_WATCH_KIND_UPDATE, []*healthv1.BackendHealth{b})
		})
	if out.Context().Err() != nil {
		return status.FromContextError(out.Context().Err()).Err()
	}
	return err
}

// ListNodeHealth lists the liveness of data planes.
func (s *Service) ListNodeHealth(context.Context, *healthv1.ListNodeHealthRequest) (*healthv1.ListNodeHealthResponse, error) {
	nodes, known := s.nodes.list()
	if !known {
		return nil, apierr.New(apierr.DirectoryUnknown, "the nodes are not known yet")
	}
	return &healthv1.ListNodeHealthResponse{Nodes: nodes}, nil
}

func serviceName(name string) error {
	if id, ok := strings.CutPrefix(name, servicePrefix); name != "" && (!ok || !validID(id)) {
		var v apierr.Violations
		v.Add("virtual_service", "%q is not virtualServices/NAME", name)
		return v.Err()
	}
	return nil
}
