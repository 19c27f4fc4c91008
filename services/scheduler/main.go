// Scheduler keeps the desired state (virtual services, real servers, address pools) and brings it to every data plane.
package main

import (
	"context"
	"flag"
	"fmt"

	"google.golang.org/grpc"

	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/scheduler/rollout"
	"github.com/holdfast-lb/holdfast/services/scheduler/service"
)

func main() {
	var coordinator string
	var cfg service.Config
	kit.Run("scheduler", kit.Process{
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&coordinator, "coordinator", "127.0.0.1:7302", "`host:port` of the sync-coordinator")
			fs.IntVar(&cfg.Replicas, "kv-replicas", 1, "`number` of replicas of the bucket, 1 to 5")
		},
		Policy: service.Policy(),
		New: func(_ context.Context, env *kit.Env) (kit.Service, error) {
			conn, err := kit.Dial(coordinator, env.ClientTLS(pki.RoleService))
			if err != nil {
				return nil, fmt.Errorf("dial the coordinator: %w", err)
			}
			return service.New(cfg, service.Deps{
				JS:    env.JS,
				Nodes: rollout.Coordinator{Client: syncv1.NewCoordinatorServiceClient(conn), Log: env.Log},
				Dial: func(address string) (*grpc.ClientConn, error) {
					return kit.Dial(address, env.ClientTLS(pki.RoleDataplane))
				},
				Log: env.Log,
			}), nil
		},
	})
}
