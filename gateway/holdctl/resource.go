package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// column of a table: a heading and the path of the value in the JSON of a resource.
type column struct{ head, path string }

// resource is a kind of thing that the API has.
type resource struct {
	name    string // on the command line
	aliases []string
	// list is the path of the collection; "%s" stands for the parent's id.
	list string
	// items is the field of a list's answer that holds the resources; empty: the answer itself is one resource.
	items string
	// idParam is the query parameter of a creation that holds the id; empty: it can't be made.
	idParam string
	// watch is the path of the stream; empty: it can't be watched. watchItems is the field of a message that holds resources.
	watch, watchItems string
	columns           []column
}

var resources = []resource{
	{
		name: "services", aliases: []string{"service", "vs"}, list: "/v1/virtualServices", items: "virtualServices", idParam: "virtual_service_id",
		columns: []column{{"NAME", "name"}, {"UID", "uid"}, {"VIP", "vip"}, {"PORT", "port"}, {"PROTOCOL", "protocol"}, {"ALGORITHM", "algorithm"}},
	},
	{
		name: "servers", aliases: []string{"server", "rs"}, list: "/v1/virtualServices/%s/realServers", items: "realServers", idParam: "real_server_id",
		columns: []column{{"NAME", "name"}, {"UID", "uid"}, {"ADDRESS", "address"}, {"PORT", "port"}, {"WEIGHT", "weight"}, {"ADMIN", "adminState"}, {"HEALTH", "health"}},
	},
	{
		name: "pools", aliases: []string{"pool"}, list: "/v1/addressPools", items: "addressPools", idParam: "address_pool_id",
		columns: []column{{"NAME", "name"}, {"PURPOSE", "purpose"}, {"PREFIXES", "prefixes"}, {"BLOCK", "blockSize"}},
	},
	{
		name: "nodes", aliases: []string{"node"}, list: "/v1/nodes", items: "nodes", watch: "/v1/membership:watch", watchItems: "nodes",
		columns: []column{{"NAME", "name"}, {"ID", "id"}, {"INCARNATION", "incarnation"}, {"STATE", "state"}, {"CONTROL", "controlAlive"}, {"SIP4", "sipV4"}, {"SIP6", "sipV6"}, {"OWNED", "sync.sessionsOwned"}, {"HELD", "sync.sessionsHeld"}, {"DETAIL", "detail"}},
	},
	{
		name: "sessions", aliases: []string{"session"}, list: "/v1/sessions", items: "sessions",
		columns: []column{{"PROTOCOL", "protocol"}, {"CLIENT", "client"}, {"VIP", "vip"}, {"LADDR", "laddr"}, {"SERVER", "server"}, {"STATE", "state"}, {"OWNER", "owner"}, {"TERM", "term"}, {"IDLE", "idle"}, {"REPLICAS", "replicas"}},
	},
	{
		name: "checks", aliases: []string{"check"}, list: "/v1/healthChecks", items: "healthChecks", idParam: "health_check_id",
		columns: []column{{"NAME", "name"}, {"SERVICE", "virtualService"}, {"TYPE", "type"}, {"INTERVAL", "interval"}, {"TIMEOUT", "timeout"}, {"RISE", "rise"}, {"FALL", "fall"}},
	},
	{
		name: "backends", aliases: []string{"backend"}, list: "/v1/backends", items: "backends", watch: "/v1/backends:watch", watchItems: "backends",
		columns: []column{{"SERVER", "realServer"}, {"ADDRESS", "address"}, {"PORT", "port"}, {"STATE", "state"}, {"SINCE", "stateTime"}, {"ERROR", "lastError"}},
	},
	{
		name: "rollout", list: "/v1/rollout", watch: "/v1/rollout:watch", watchItems: "rollout",
		columns: []column{{"REVISION", "revision"}, {"SERVICES", "services"}, {"SERVERS", "servers"}, {"NODES", "nodes"}},
	},
	{
		name: "operations", aliases: []string{"operation"}, list: "/v1/operations", items: "operations",
		columns: []column{{"NAME", "name"}, {"VERB", "metadata.verb"}, {"TARGET", "metadata.target"}, {"DONE", "done"}, {"DETAIL", "metadata.detail"}},
	},
}

func findResource(name string) (resource, error) {
	var names []string
	for _, r := range resources {
		if r.name == name || slices.Contains(r.aliases, name) {
			return r, nil
		}
		names = append(names, r.name)
	}
	return resource{}, fmt.Errorf("%q is none of %s", name, strings.Join(names, ", "))
}

// collection is the path of the collection and the id of name in it. The name of a server is SERVICE/SERVER.
func (r resource) collection(name string) (path, id string, err error) {
	if !strings.Contains(r.list, "%s") {
		return r.list, name, nil
	}
	parent, id, ok := strings.Cut(name, "/")
	if !ok || parent == "" || id == "" {
		return "", "", fmt.Errorf("%q is not of the form SERVICE/SERVER", name)
	}
	return fmt.Sprintf(r.list, url.PathEscape(parent)), id, nil
}

// one is the path of one resource.
func (r resource) one(name string) (string, error) {
	if r.items == "" {
		return "", fmt.Errorf("there is only one %s", r.name)
	}
	path, id, err := r.collection(name)
	if err != nil {
		return "", err
	}
	return path + "/" + url.PathEscape(id), nil
}

// all is the path of the whole collection, of all parents.
func (r resource) all() string { return strings.ReplaceAll(r.list, "%s", "-") }
