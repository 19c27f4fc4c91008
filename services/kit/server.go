package kit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// MaxMessage is the greatest gRPC message in bytes, either way: a configuration of 10 000 services with 100 servers each
// fits.
const MaxMessage = 128 << 20

// stopTimeout bounds the time that calls under way get at the end.
const stopTimeout = 5 * time.Second

// Service is something that answers gRPC and runs until its context ends.
type Service interface {
	// Register adds the gRPC services. Called once, before the server takes calls.
	Register(grpc.ServiceRegistrar)
	// Run works until ctx ends, then returns nil. Streams that the service serves end with it.
	Run(ctx context.Context) error
}

// ServerConfig of a gRPC server.
type ServerConfig struct {
	// Listen is host:port; port 0 takes a free one.
	Listen string
	// TLS is the server's side of mutual TLS; nil serves in clear and ignores Policy.
	TLS *tls.Config
	// Policy says which roles may call what. Health is open to every identity, reflection to operators and services.
	Policy pki.Policy
	// Log gets a line per call (debug; warn when it failed by a fault of ours).
	Log *slog.Logger
	// Metrics gets the counters of calls; nil counts nothing.
	Metrics prometheus.Registerer
}

// Server is a gRPC server with everything around it. Register services on it, then Serve.
type Server struct {
	*grpc.Server

	lis    net.Listener
	health *health.Server
	log    *slog.Logger
}

// Listen binds the address and builds the server; calls are taken only by Serve.
func Listen(cfg ServerConfig) (*Server, error) {
	lis, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	calls, err := newCallMetrics(cfg.Metrics)
	if err != nil {
		lis.Close()
		return nil, err
	}
	unary := []grpc.UnaryServerInterceptor{observeUnary(cfg.Log, calls), recoverUnary(cfg.Log)}
	stream := []grpc.StreamServerInterceptor{observeStream(cfg.Log, calls), recoverStream(cfg.Log)}
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
		policy := withCommon(cfg.Policy)
		unary = append(unary, policy.Unary())
		stream = append(stream, policy.Stream())
	}
	s := &Server{
		Server: grpc.NewServer(
			grpc.Creds(creds),
			grpc.ChainUnaryInterceptor(unary...),
			grpc.ChainStreamInterceptor(stream...),
			grpc.MaxRecvMsgSize(MaxMessage),
			grpc.MaxSendMsgSize(MaxMessage),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		),
		lis:    lis,
		health: health.NewServer(),
		log:    cfg.Log,
	}
	healthpb.RegisterHealthServer(s.Server, s.health)
	return s, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.lis.Addr() }

// SetServing sets what grpc.health.v1 says of one service; Serve sets all of them at its beginning and end.
func (s *Server) SetServing(service string, serving bool) {
	st := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		st = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, st)
}

// Serve takes calls until ctx ends. Then health says NOT_SERVING, streams of services that end with ctx end, calls under
// way get five seconds, and the rest is cut off.
func (s *Server) Serve(ctx context.Context) error {
	reflection.Register(s.Server)
	for name := range s.GetServiceInfo() {
		s.SetServing(name, true)
	}
	s.SetServing("", true)
	stopped := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-served:
			return
		case <-ctx.Done():
		}
		s.health.Shutdown()
		cut := time.AfterFunc(stopTimeout, s.Stop)
		defer cut.Stop()
		s.GracefulStop()
	}()
	err := s.Server.Serve(s.lis)
	close(served)
	<-stopped
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// Close cuts everything off; for servers that never came to Serve.
func (s *Server) Close() { s.Stop() }

// withCommon lets every identity ask for health, and operators and services for reflection, unless the policy says
// otherwise.
func withCommon(p pki.Policy) pki.Policy {
	out := pki.Policy{
		"/" + healthpb.Health_ServiceDesc.ServiceName + "/": {pki.RoleDataplane, pki.RoleService, pki.RoleGateway, pki.RoleOperator, pki.RoleViewer},
	}
	for _, d := range []grpc.ServiceDesc{reflectionv1.ServerReflection_ServiceDesc, reflectionv1alpha.ServerReflection_ServiceDesc} {
		out["/"+d.ServiceName+"/"] = []pki.Role{pki.RoleService, pki.RoleOperator}
	}
	for k, v := range p {
		out[k] = v
	}
	return out
}
