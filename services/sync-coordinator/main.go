// Command sync-coordinator decides on the cluster's membership: identities, views, sync addresses, leases, keys.
package main

import (
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/coordinator"
)

func main() { kit.Run("sync-coordinator", coordinator.Process()) }
