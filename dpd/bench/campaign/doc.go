// Package campaign runs random troubles over the real parts of a cluster in one process, in virtual time: the packet
// threads of several nodes (package mesh) under the real membership machine of the coordinator. Its tests hold it.
//
//	coordinator (membership.Machine) <── reports ── nodes (a small model of dpd/node)
//	        └── views, blocks, keys, bulk orders ──────┘ │ mesh: real workers, tables, rings, sync threads
//	clients and servers (models with a sequence of bytes) ── packets, lost, late, repeated, by any node
//
// What is a model here: clients, servers, routes, and what joins a node's threads to the coordinator.
package campaign
