// Package mesh runs whole packet threads of several nodes in one process, in virtual time: real
// workers over real session tables, local ports and shards, real sync threads over real links, real
// bounded rings between them. Devices and the router are memory; the clock is a number. One thread
// turns everything in a fixed order, so a run depends on the secrets of the tables alone.
//
//	clients, servers (Traffic)
//	      │ frames                    one millisecond: some rounds, in each
//	┌─────┴─────┐                     1. traffic sends what is due
//	│  router   │── sync datagrams    2. every worker turns, node by node
//	└─┬───┬───┬─┘                     3. every sync thread turns
//	node node node
//
// What is real: everything from a device's receive queue to its send queue. What is not: control
// plane, routes and memory of devices. The router sends what is for a local address to the node
// that holds it, and what clients send where Traffic wants it.
package mesh
