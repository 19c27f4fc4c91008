package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/page"
)

const checkPrefix = "healthChecks/"

// Defaults of a check.
const (
	defaultInterval = 2 * time.Second
	defaultTimeout  = time.Second
	defaultRise     = 2
	defaultFall     = 3
)

// CreateHealthCheck adds a check.
func (s *Service) CreateHealthCheck(ctx context.Context, r *healthv1.CreateHealthCheckRequest) (*healthv1.HealthCheck, error) {
	var v apierr.Violations
	if !validID(r.GetHealthCheckId()) {
		v.Add("health_check_id", "%q is not 1 to 63 of a-z, 0-9 and '-', beginning with a letter", r.GetHealthCheckId())
	}
	c := proto.CloneOf(r.GetHealthCheck())
	if c == nil {
		c = &healthv1.HealthCheck{}
	}
	c.Name = checkPrefix + r.GetHealthCheckId()
	complete(c)
	validate(&v, c)
	if err := v.Err(); err != nil {
		return nil, err
	}
	err := s.checks.change(ctx, func(all *healthv1.ListHealthChecksResponse) (bool, error) {
		i, found := find(all.HealthChecks, c.GetName())
		if found {
			return false, apierr.New(apierr.DuplicateName, "%s exists", c.GetName())
		}
		if len(all.HealthChecks) >= maxChecks {
			return false, apierr.New(apierr.LimitReached, "%d checks exist", maxChecks)
		}
		if err := oneCheck(all.HealthChecks, c); err != nil {
			return false, err
		}
		stamp(c, true)
		all.HealthChecks = slices.Insert(all.HealthChecks, i, c)
		return !r.GetValidateOnly(), nil
	})
	if err != nil {
		return nil, err
	}
	s.poke()
	return c, nil
}

// GetHealthCheck reads a check.
func (s *Service) GetHealthCheck(ctx context.Context, r *healthv1.GetHealthCheckRequest) (*healthv1.HealthCheck, error) {
	all, _, err := s.checks.read(ctx)
	if err != nil {
		return nil, err
	}
	i, found := find(all.HealthChecks, r.GetName())
	if !found {
		return nil, notFound(r.GetName())
	}
	return all.HealthChecks[i], nil
}

// ListHealthChecks lists checks by name.
func (s *Service) ListHealthChecks(ctx context.Context, r *healthv1.ListHealthChecksRequest) (*healthv1.ListHealthChecksResponse, error) {
	const scope = "healthChecks"
	size, after, err := page.Of(scope, r)
	if err != nil {
		return nil, err
	}
	all, _, err := s.checks.read(ctx)
	if err != nil {
		return nil, err
	}
	list, next := cut(all.HealthChecks, (*healthv1.HealthCheck).GetName, scope, after, size)
	return &healthv1.ListHealthChecksResponse{HealthChecks: list, NextPageToken: next}, nil
}

// UpdateHealthCheck changes fields of a check.
func (s *Service) UpdateHealthCheck(ctx context.Context, r *healthv1.UpdateHealthCheckRequest) (*healthv1.HealthCheck, error) {
	in := r.GetHealthCheck()
	var out *healthv1.HealthCheck
	err := s.checks.change(ctx, func(all *healthv1.ListHealthChecksResponse) (bool, error) {
		i, found := find(all.HealthChecks, in.GetName())
		if !found {
			return false, notFound(in.GetName())
		}
		old := all.HealthChecks[i]
		if in.GetEtag() != "" && in.GetEtag() != old.GetEtag() {
			return false, apierr.New(apierr.ETagMismatch, "%s was changed since it was read", in.GetName())
		}
		out = proto.CloneOf(old)
		var v apierr.Violations
		merge(&v, out, in, r.GetUpdateMask().GetPaths())
		complete(out)
		validate(&v, out)
		if err := v.Err(); err != nil {
			return false, err
		}
		if err := oneCheck(all.HealthChecks, out); err != nil {
			return false, err
		}
		stamp(out, false)
		all.HealthChecks[i] = out
		return !r.GetValidateOnly(), nil
	})
	if err != nil {
		return nil, err
	}
	s.poke()
	return out, nil
}

// DeleteHealthCheck removes a check; the default takes its place.
func (s *Service) DeleteHealthCheck(ctx context.Context, r *healthv1.DeleteHealthCheckRequest) (*emptypb.Empty, error) {
	err := s.checks.change(ctx, func(all *healthv1.ListHealthChecksResponse) (bool, error) {
		i, found := find(all.HealthChecks, r.GetName())
		if !found {
			return false, notFound(r.GetName())
		}
		if r.GetEtag() != "" && r.GetEtag() != all.HealthChecks[i].GetEtag() {
			return false, apierr.New(apierr.ETagMismatch, "%s was changed since it was read", r.GetName())
		}
		all.HealthChecks = slices.Delete(all.HealthChecks, i, i+1)
		return !r.GetValidateOnly(), nil
	})
	if err != nil {
		return nil, err
	}
	s.poke()
	return &emptypb.Empty{}, nil
}

func find(list []*healthv1.HealthCheck, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(c *healthv1.HealthCheck, n string) int { return strings.Compare(c.GetName(), n) })
}

func notFound(name string) error {
	return apierr.New(apierr.HealthCheckNotFound, "no health check %q", name)
}

// oneCheck refuses a second check of a virtual service.
func oneCheck(list []*healthv1.HealthCheck, c *healthv1.HealthCheck) error {
	for _, o := range list {
		if o.GetVirtualService() == c.GetVirtualService() && o.GetName() != c.GetName() {
			return apierr.New(apierr.CheckExists, "%s is checked by %s", c.GetVirtualService(), o.GetName())
		}
	}
	return nil
}

// complete fills in what was not given.
func complete(c *healthv1.HealthCheck) {
	if c.GetInterval() == nil {
		c.Interval = durationpb.New(defaultInterval)
	}
	if c.GetTimeout() == nil {
		c.Timeout = durationpb.New(min(defaultTimeout, c.GetInterval().AsDuration()))
	}
	if c.GetRise() == 0 {
		c.Rise = defaultRise
	}
	if c.GetFall() == 0 {
		c.Fall = defaultFall
	}
}

func validate(v *apierr.Violations, c *healthv1.HealthCheck) {
	if id, ok := strings.CutPrefix(c.GetVirtualService(), servicePrefix); !ok || !validID(id) {
		v.Add("health_check.virtual_service", "%q is not virtualServices/NAME", c.GetVirtualService())
	}
	if t := c.GetType(); t != healthv1.CheckType_CHECK_TYPE_TCP && t != healthv1.CheckType_CHECK_TYPE_NONE {
		v.Add("health_check.type", "must be TCP or NONE")
	}
	interval, timeout := c.GetInterval().AsDuration(), c.GetTimeout().AsDuration()
	if !c.GetInterval().IsValid() || interval < 100*time.Millisecond || interval > time.Hour {
		v.Add("health_check.interval", "must be 100 ms to 1 h")
	}
	if !c.GetTimeout().IsValid() || timeout < 10*time.Millisecond || timeout > time.Minute || timeout > interval {
		v.Add("health_check.timeout", "must be 10 ms to 1 min and not above the interval")
	}
	for field, n := range map[string]uint32{"rise": c.GetRise(), "fall": c.GetFall()} {
		if n > 100 {
			v.Add("health_check."+field, "must be 1 to 100")
		}
	}
	if c.GetPort() > 65535 {
		v.Add("health_check.port", "must be 0 to 65535")
	}
}

// merge takes the fields of the mask from in; without a mask those that are set, with "*" all.
func merge(v *apierr.Violations, out, in *healthv1.HealthCheck, mask []string) {
	fields := map[string]struct {
		set  bool
		take func()
	}{
		"virtual_service": {in.GetVirtualService() != "", func() { out.VirtualService = in.GetVirtualService() }},
		"type":            {in.GetType() != 0, func() { out.Type = in.GetType() }},
		"interval":        {in.GetInterval() != nil, func() { out.Interval = in.GetInterval() }},
		"timeout":         {in.GetTimeout() != nil, func() { out.Timeout = in.GetTimeout() }},
		"rise":            {in.GetRise() != 0, func() { out.Rise = in.GetRise() }},
		"fall":            {in.GetFall() != 0, func() { out.Fall = in.GetFall() }},
		"port":            {in.GetPort() != 0, func() { out.Port = in.GetPort() }},
	}
	all := slices.Equal(mask, []string{"*"})
	if all || len(mask) == 0 {
		for _, f := range fields {
			if all || f.set {
				f.take()
			}
		}
		return
	}
	for i, path := range mask {
		f, ok := fields[path]
		if !ok {
			v.Add(fmt.Sprintf("update_mask.paths[%d]", i), "%q can't be changed", path)
			continue
		}
		f.take()
	}
}

func stamp(c *healthv1.HealthCheck, created bool) {
	now := timestamppb.New(time.Now())
	if created {
		c.CreateTime = now
	}
	c.UpdateTime = now
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	c.Etag = hex.EncodeToString(b[:])
}

func validID(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// cut is a page of a list that is ordered by name.
func cut[T any](list []T, name func(T) string, scope, after string, size int) ([]T, string) {
	i := 0
	if after != "" {
		i, _ = slices.BinarySearchFunc(list, after+"\x00", func(x T, n string) int { return strings.Compare(name(x), n) })
	}
	if list = list[i:]; len(list) <= size {
		return list, ""
	}
	return list[:size], page.Token(scope, name(list[size-1]))
}
