package service

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	"github.com/holdfast-lb/holdfast/services/health/checker"
	"github.com/holdfast-lb/holdfast/services/health/verdict"
)

const (
	servicePrefix = "virtualServices/"
	callTimeout   = 5 * time.Second
	// maxTargets bounds the servers that are checked.
	maxTargets = 1_000_000
)

// aim reads services, servers and checks and sets the checker on what follows from them.
func (s *Service) aim(ctx context.Context, c *checker.Checker) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	all, _, err := s.checks.read(ctx)
	if err != nil {
		return err
	}
	protocols, err := s.readServices(ctx)
	if err != nil {
		return err
	}
	servers, err := s.readServers(ctx)
	if err != nil {
		return err
	}
	targets := targetsOf(all.HealthChecks, protocols, servers)
	if err := s.verdicts.only(ctx, targets); err != nil {
		return err
	}
	c.Set(probed(targets), s.verdicts.known)
	return nil
}

// watched is a server and how it is checked.
type watched struct {
	checker.Target
	server *schedulerv1.RealServer
}

func probed(in []watched) []checker.Target {
	out := make([]checker.Target, len(in))
	for i, t := range in {
		out[i] = t.Target
	}
	return out
}

func (s *Service) readServices(ctx context.Context) (map[string]dpdv1.Protocol, error) {
	out := map[string]dpdv1.Protocol{}
	req := &schedulerv1.ListVirtualServicesRequest{PageSize: 1000}
	for {
		page, err := s.services.ListVirtualServices(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list the virtual services: %w", err)
		}
		for _, v := range page.GetVirtualServices() {
			out[v.GetName()] = v.GetProtocol()
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" || len(out) > maxTargets {
			return out, nil
		}
	}
}

func (s *Service) readServers(ctx context.Context) ([]*schedulerv1.RealServer, error) {
	var out []*schedulerv1.RealServer
	req := &schedulerv1.ListRealServersRequest{Parent: servicePrefix + "-", PageSize: 1000}
	for {
		page, err := s.servers.ListRealServers(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list the real servers: %w", err)
		}
		out = append(out, page.GetRealServers()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" || len(out) > maxTargets {
			return out, nil
		}
	}
}

// targetsOf decides how each server is checked: by its service's check, else by the default, which is a TCP connection
// for TCP services and nothing for others.
func targetsOf(checks []*healthv1.HealthCheck, protocols map[string]dpdv1.Protocol, servers []*schedulerv1.RealServer) []watched {
	byService := map[string]*healthv1.HealthCheck{}
	for _, c := range checks {
		byService[c.GetVirtualService()] = c
	}
	var out []watched
	for _, r := range servers {
		service, _, ok := strings.Cut(r.GetName(), "/realServers/")
		protocol, known := protocols[service]
		if !ok || !known {
			continue // the service went between the two lists
		}
		c := byService[service]
		if c == nil {
			c = &healthv1.HealthCheck{Type: healthv1.CheckType_CHECK_TYPE_NONE}
			if protocol == dpdv1.Protocol_PROTOCOL_TCP {
				c.Type = healthv1.CheckType_CHECK_TYPE_TCP
			}
			complete(c)
		}
		port := r.GetPort()
		if c.GetPort() != 0 {
			port = c.GetPort()
		}
		out = append(out, watched{checker.Target{
			Name:     r.GetName(),
			Address:  net.JoinHostPort(r.GetAddress(), strconv.FormatUint(uint64(port), 10)),
			Interval: c.GetInterval().AsDuration(),
			Timeout:  c.GetTimeout().AsDuration(),
			Rule:     verdict.Rule{Rise: c.GetRise(), Fall: c.GetFall()},
			Off:      c.GetType() != healthv1.CheckType_CHECK_TYPE_TCP,
		}, r})
	}
	return out
}
