// Command conntrack-query answers questions about sessions for the whole cluster.
package main

import (
	"github.com/holdfast-lb/holdfast/services/conntrack-query/query"
	"github.com/holdfast-lb/holdfast/services/kit"
)

func main() { kit.Run("conntrack-query", query.Process()) }
