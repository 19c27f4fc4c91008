// Command health checks real servers and watches data planes.
package main

import (
	"github.com/holdfast-lb/holdfast/services/health/service"
	"github.com/holdfast-lb/holdfast/services/kit"
)

func main() { kit.Run("health", service.Process()) }
