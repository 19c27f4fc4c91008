// Package rest is the public face of the cluster: REST over the services' gRPC, with OpenAPI, streams as NDJSON or
// server-sent events, and errors as google.rpc.Status. It holds no state.
package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	healthv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/health/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/proto/gen/openapi"

	"github.com/holdfast-lb/holdfast/gateway/auth"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// Bounds of a request.
const (
	maxBody       = 4 << 20 // bytes
	maxHeader     = 64 << 10
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 5 * time.Second
)

// Backends are connections to the services.
type Backends struct {
	Scheduler, Coordinator, Conntrack, Health grpc.ClientConnInterface
}

// Config of a Gateway.
type Config struct {
	Backends Backends
	// Tokens are the bearer tokens; nil knows none.
	Tokens *auth.Tokens
	// TLS serves HTTPS; nil serves in clear. A client certificate is an identity where it is asked for.
	TLS *tls.Config
	Log *slog.Logger
}

// Gateway serves HTTP.
type Gateway struct {
	cfg     Config
	handler http.Handler
}

// New makes a gateway.
func New(cfg Config) (*Gateway, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonCodec()),
		runtime.WithMarshalerOption(mimeNDJSON, ndjsonCodec()),
		runtime.WithMarshalerOption(mimeEvents, eventCodec()),
		// Nothing of a request becomes gRPC metadata: services trust metadata more than they should trust a browser.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithDisablePathLengthFallback(),
	)
	ctx := context.Background()
	guard := func(c grpc.ClientConnInterface) grpc.ClientConnInterface { return auth.Guard{Conn: c, Log: cfg.Log} }
	b := cfg.Backends
	if err := errors.Join(
		schedulerv1.RegisterVirtualServiceServiceHandlerClient(ctx, mux, schedulerv1.NewVirtualServiceServiceClient(guard(b.Scheduler))),
		schedulerv1.RegisterRealServerServiceHandlerClient(ctx, mux, schedulerv1.NewRealServerServiceClient(guard(b.Scheduler))),
		schedulerv1.RegisterAddressPoolServiceHandlerClient(ctx, mux, schedulerv1.NewAddressPoolServiceClient(guard(b.Scheduler))),
		schedulerv1.RegisterRolloutServiceHandlerClient(ctx, mux, schedulerv1.NewRolloutServiceClient(guard(b.Scheduler))),
		syncv1.RegisterCoordinatorServiceHandlerClient(ctx, mux, syncv1.NewCoordinatorServiceClient(guard(b.Coordinator))),
		conntrackv1.RegisterSessionServiceHandlerClient(ctx, mux, conntrackv1.NewSessionServiceClient(guard(b.Conntrack))),
		healthv1.RegisterHealthServiceHandlerClient(ctx, mux, healthv1.NewHealthServiceClient(guard(b.Health))),
	); err != nil {
		return nil, fmt.Errorf("register REST handlers: %w", err)
	}
	g := &Gateway{cfg: cfg}
	root := http.NewServeMux()
	root.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	root.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openapi.JSON)
	})
	root.Handle("/", g.identify(mux))
	g.handler = http.MaxBytesHandler(root, maxBody)
	return g, nil
}

// ServerTLS is HTTPS for browsers and programs: a client certificate is optional, and an identity when it is shown.
func ServerTLS(creds *pki.Credentials) *tls.Config {
	cfg := creds.Server()
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	cfg.VerifyConnection = nil // the identity is looked at with each request
	return cfg
}

// Handler is the gateway without a listener.
func (g *Gateway) Handler() http.Handler { return g.handler }

// identify finds the caller. Requests that show no identity end here, so that they learn nothing, not even which paths
// exist.
func (g *Gateway) identify(mux *runtime.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := g.cfg.Tokens.Caller(r)
		// The token goes no further: the runtime would pass it on to the services.
		r.Header.Del("Authorization")
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
			runtime.HTTPError(r.Context(), mux, jsonCodec(), w, r, apierr.New(apierr.NoIdentity, "a bearer token or a client certificate is needed"))
			return
		}
		mux.ServeHTTP(w, r.WithContext(auth.WithCaller(r.Context(), c)))
	})
}

// Serve answers on lis until ctx ends. Streams end with ctx, other requests under way get five seconds.
func (g *Gateway) Serve(ctx context.Context, lis net.Listener) error {
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	s := &http.Server{
		Handler:           g.handler,
		TLSConfig:         g.cfg.TLS,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return streams },
		ErrorLog:          slog.NewLogLogger(g.cfg.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		endStreams()
		sctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if s.Shutdown(sctx) != nil {
			s.Close()
		}
	})
	var err error
	if g.cfg.TLS != nil {
		err = s.ServeTLS(lis, "", "")
	} else {
		err = s.Serve(lis)
	}
	if !stop() {
		<-stopped
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve REST: %w", err)
	}
	return nil
}
