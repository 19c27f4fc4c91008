// Package sim holds the deterministic simulator of the sync protocol: its tests drive several nodes of the real Shard,
// Sync and session table under a virtual clock, with clients and servers that open, move, idle and close, and with a
// network that loses, doubles, reorders, delays and cuts. A seed replays a run. There is nothing here but tests.
package sim
