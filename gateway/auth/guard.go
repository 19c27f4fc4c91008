package auth

import (
	"context"
	"log/slog"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// CallTimeout bounds unary calls to services.
const CallTimeout = 30 * time.Second

// Guard is a client connection that calls only what the caller in the context may call, and logs every call that needs
// more than a viewer.
type Guard struct {
	Conn grpc.ClientConnInterface
	Log  *slog.Logger
}

var _ grpc.ClientConnInterface = Guard{}

// Invoke makes a unary call.
func (g Guard) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := check(ctx, method)
	if err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout)
		defer cancel()
		err = g.Conn.Invoke(ctx, method, args, reply, opts...)
	}
	if Needs[method] > Viewer {
		c := CallerOf(ctx)
		g.Log.Info("audit", "caller", c.Name, "role", c.Role.String(), "method", path.Base(method), "code", status.Code(err).String())
	}
	return err
}

// NewStream makes a stream.
func (g Guard) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := check(ctx, method); err != nil {
		return nil, err
	}
	return g.Conn.NewStream(ctx, desc, method, opts...)
}

func check(ctx context.Context, method string) error {
	c := CallerOf(ctx)
	needs, ok := Needs[method]
	switch {
	case c.Role == Nobody:
		return apierr.New(apierr.NoIdentity, "a bearer token or a client certificate is needed")
	case !ok:
		return apierr.New(apierr.RoleDenied, "%s is not for callers of the gateway", path.Base(method))
	case c.Role < needs:
		return apierr.New(apierr.RoleDenied, "%s needs the role %s, %s is %s", path.Base(method), needs, c.Name, c.Role)
	}
	return nil
}
