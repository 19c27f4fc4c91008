package kit

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// callMetrics count calls by service, method and code, and the time of unary calls.
type callMetrics struct {
	handled *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newCallMetrics(reg prometheus.Registerer) (*callMetrics, error) {
	m := &callMetrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_grpc_handled_total", Help: "gRPC calls that ended, by code.",
		}, []string{"service", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_grpc_unary_seconds", Help: "Time of unary gRPC calls.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"service", "method"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.handled, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register call metrics: %w", err)
		}
	}
	return m, nil
}

// observe counts and logs a call that ended.
func (m *callMetrics) observe(ctx context.Context, log *slog.Logger, full string, begun time.Time, unary bool, err error) {
	service, method := path.Base(path.Dir(full)), path.Base(full)
	code, took := status.Code(err), time.Since(begun)
	m.handled.WithLabelValues(service, method, code.String()).Inc()
	if unary {
		m.seconds.WithLabelValues(service, method).Observe(took.Seconds())
	}
	level := slog.LevelDebug
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		level = slog.LevelWarn
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("service", service), slog.String("method", method), slog.String("code", code.String()), slog.Duration("took", took)}
	if id, ok := pki.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("caller", id.String()))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	log.LogAttrs(ctx, level, "call", attrs...)
}

func observeUnary(log *slog.Logger, m *callMetrics) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		begun := time.Now()
		resp, err := next(ctx, req)
		m.observe(ctx, log, info.FullMethod, begun, true, err)
		return resp, err
	}
}

func observeStream(log *slog.Logger, m *callMetrics) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		begun := time.Now()
		err := next(srv, ss)
		m.observe(ss.Context(), log, info.FullMethod, begun, false, err)
		return err
	}
}

func recoverUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() { recovered(log, info.FullMethod, recover(), &err) }()
		return next(ctx, req)
	}
}

func recoverStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { recovered(log, info.FullMethod, recover(), &err) }()
		return next(srv, ss)
	}
}

// recovered turns a panic into INTERNAL; the caller learns nothing of its text, which may hold anything.
func recovered(log *slog.Logger, method string, p any, err *error) {
	if p == nil {
		return
	}
	log.Error("panic in a call", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	*err = apierr.New(apierr.Internal, "%s failed; the log has more", path.Base(method))
}
