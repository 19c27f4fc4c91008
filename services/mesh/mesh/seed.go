package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
)

// maxSeed bounds a seed file, in bytes.
const maxSeed = 16 << 20

// Seed is desired state for the first start. Each section maps ids to resources in the JSON form of their protos:
//
//	addressPools:
//	  laddr4: {purpose: POOL_PURPOSE_LADDR, prefixes: ["10.1.0.0/24"], blockSize: 4}
//	virtualServices:
//	  web: {vip: "198.51.100.10", port: 80, protocol: PROTOCOL_TCP, realServers: {a: {address: "10.0.0.1", port: 8080}}}
//	healthChecks:
//	  web: {virtualService: "virtualServices/web", type: CHECK_TYPE_TCP}
//
// What is there already is left as it is: the API is where desired state is changed, not this file.
type Seed struct {
	pools    []*schedulerv1.CreateAddressPoolRequest
	services []*schedulerv1.CreateVirtualServiceRequest
	servers  []*schedulerv1.CreateRealServerRequest
	checks   []*healthv1.CreateHealthCheckRequest
}

// ReadSeed reads a seed file and reports everything in it that is not understood, with its line.
func ReadSeed(path string) (*Seed, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the seed: %w", err)
	}
	if info.Size() > maxSeed {
		return nil, fmt.Errorf("read the seed: %s has more than %d bytes", path, maxSeed)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the seed: %w", err)
	}
	s, err := ParseSeed(data)
	if err != nil {
		return nil, fmt.Errorf("read the seed %s: %w", path, err)
	}
	return s, nil
}

// ParseSeed reads the text of a seed file.
func ParseSeed(data []byte) (*Seed, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	s := &Seed{}
	if len(doc.Content) == 0 {
		return s, nil
	}
	var faults []error
	fault := func(n *yaml.Node, format string, args ...any) {
		faults = append(faults, fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...)))
	}
	sections := map[string]func(id string, n *yaml.Node){
		"addressPools": func(id string, n *yaml.Node) {
			p := &schedulerv1.AddressPool{}
			if err := decode(n, p); err != nil {
				fault(n, "%w", err)
			}
			s.pools = append(s.pools, &schedulerv1.CreateAddressPoolRequest{AddressPoolId: id, AddressPool: p})
		},
		"virtualServices": func(id string, n *yaml.Node) {
			rest, servers := without(n, "realServers")
			v := &schedulerv1.VirtualService{}
			if err := decode(rest, v); err != nil {
				fault(n, "%w", err)
			}
			s.services = append(s.services, &schedulerv1.CreateVirtualServiceRequest{VirtualServiceId: id, VirtualService: v})
			each(servers, fault, func(server string, n *yaml.Node) {
				r := &schedulerv1.RealServer{}
				if err := decode(n, r); err != nil {
					fault(n, "%w", err)
				}
				s.servers = append(s.servers, &schedulerv1.CreateRealServerRequest{Parent: "virtualServices/" + id, RealServerId: server, RealServer: r})
			})
		},
		"healthChecks": func(id string, n *yaml.Node) {
			c := &healthv1.HealthCheck{}
			if err := decode(n, c); err != nil {
				fault(n, "%w", err)
			}
			s.checks = append(s.checks, &healthv1.CreateHealthCheckRequest{HealthCheckId: id, HealthCheck: c})
		},
	}
	each(doc.Content[0], fault, func(name string, n *yaml.Node) {
		if sections[name] == nil {
			fault(n, "unknown section %q", name)
			return
		}
		each(n, fault, sections[name])
	})
	return s, errors.Join(faults...)
}

// each goes through a mapping in its order; nil is an empty one.
func each(n *yaml.Node, fault func(*yaml.Node, string, ...any), fn func(key string, n *yaml.Node)) {
	if n == nil || n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		fault(n, "a mapping is expected")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if seen[key] {
			fault(n.Content[i], "%q is there twice", key)
			continue
		}
		seen[key] = true
		fn(key, n.Content[i+1])
	}
}

// without is a mapping without one of its keys, and that key's value.
func without(n *yaml.Node, key string) (rest, value *yaml.Node) {
	out := *n
	out.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			value = n.Content[i+1]
			continue
		}
		out.Content = append(out.Content, n.Content[i], n.Content[i+1])
	}
	return &out, value
}

// decode reads a YAML value as the JSON form of a message; unknown fields are refused.
func decode(n *yaml.Node, m proto.Message) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(data, m)
}

// Apply makes what is not there. It waits for services that are not ready yet. A value that is refused in any state is
// an error; one that only what is there already stands against is left out, and said.
func (s *Seed) Apply(ctx context.Context, conn grpc.ClientConnInterface, log *slog.Logger) error {
	pools := schedulerv1.NewAddressPoolServiceClient(conn)
	services := schedulerv1.NewVirtualServiceServiceClient(conn)
	servers := schedulerv1.NewRealServerServiceClient(conn)
	checks := healthv1.NewHealthServiceClient(conn)
	made := 0
	create := func(what string, call func(context.Context) error) error {
		for {
			ctx1, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := call(ctx1)
			cancel()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			switch status.Code(err) {
			case codes.OK:
				made++
				return nil
			case codes.AlreadyExists:
				return nil
			case codes.FailedPrecondition, codes.NotFound, codes.ResourceExhausted:
				log.Error("left out of the seed", "resource", what, "error", err)
				return nil
			case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
			default:
				return fmt.Errorf("seed %s: %w", what, err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	for _, r := range s.pools {
		if err := create("address pool "+r.GetAddressPoolId(), func(ctx context.Context) error {
			_, err := pools.CreateAddressPool(ctx, r)
			return err
		}); err != nil {
			return err
		}
	}
	for _, r := range s.services {
		if err := create("virtual service "+r.GetVirtualServiceId(), func(ctx context.Context) error {
			_, err := services.CreateVirtualService(ctx, r)
			return err
		}); err != nil {
			return err
		}
	}
	for _, r := range s.servers {
		if err := create("real server "+r.GetParent()+"/"+r.GetRealServerId(), func(ctx context.Context) error {
			_, err := servers.CreateRealServer(ctx, r)
			return err
		}); err != nil {
			return err
		}
	}
	for _, r := range s.checks {
		if err := create("health check "+r.GetHealthCheckId(), func(ctx context.Context) error {
			_, err := checks.CreateHealthCheck(ctx, r)
			return err
		}); err != nil {
			return err
		}
	}
	log.Info("seed applied", "made", made)
	return nil
}
