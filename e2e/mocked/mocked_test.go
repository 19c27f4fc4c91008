package mocked

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

func TestNodesJoinAndAreAdmitted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a", "lb-b", "lb-c")
	blocks := map[uint32]bool{}
	for i, x := range p {
		h := x.held(x.life)
		if h == nil || !h.GetAllocatable() || blocks[h.GetId()] || x.applied().GetSelf().GetSipV4() == "" {
			t.Errorf("%s: block %v, self %v", x.name, h, x.applied().GetSelf())
			continue
		}
		blocks[h.GetId()] = true
		if !proto.Equal(x.keys, p[0].keys) || len(x.keys.GetKeys()) != 1 {
			t.Errorf("%s has other keys", x.name)
		}
		if len(x.bulk) != i {
			t.Errorf("%s was sent the stock of %d members, want %d", x.name, len(x.bulk), i)
		}
	}
	var list syncv1.ListNodesResponse
	if !b.get("/v1/nodes", &list) || len(list.GetNodes()) != 3 {
		t.Fatalf("%v", &list)
	}
	for _, n := range list.GetNodes() {
		if n.GetState() != syncv1.NodeState_NODE_STATE_ADMITTED || !n.GetControlAlive() || n.GetVersion() != "mock" || n.GetSync().GetView() == 0 {
			t.Errorf("%v", n)
		}
	}
}

func TestConfigReachesEveryNodeAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a", "lb-b")
	has := func(x *plane, servers int) bool {
		c := x.configured()
		return len(c.GetServices()) == 1 && c.GetServices()[0].GetVip() == "198.51.100.10" && len(c.GetServices()[0].GetServers()) == servers
	}
	b.web()
	b.until("both run it", func() bool { return has(p[0], 2) && has(p[1], 2) })
	var r schedulerv1.Rollout
	b.until("the rollout says so", func() bool {
		r.Reset()
		return b.get("/v1/rollout", &r) && len(r.GetNodes()) == 2 &&
			r.GetNodes()[0].GetRevision() == r.GetRevision() && r.GetNodes()[1].GetRevision() == r.GetRevision()
	})
	before, view := p[0].configured(), p[0].applied()

	b.stop()
	b.start()
	b.until("a higher view is applied", func() bool {
		return p[0].applied().GetView() > view.GetView() && p[1].applied().GetView() > view.GetView()
	})
	// Nobody joined again, and nothing else of the view changed.
	after := proto.CloneOf(p[0].applied())
	after.View = view.GetView()
	if !proto.Equal(after, view) {
		t.Errorf("the view changed:\n%v\n%v", view, after)
	}
	b.post("/v1/virtualServices/web/realServers?realServerId=s3", `{"address": "192.0.2.3", "port": 8080}`)
	b.until("a change after the restart arrives", func() bool { return has(p[0], 3) && has(p[1], 3) })
	if s, old := p[0].configured().GetServices()[0], before.GetServices()[0]; s.GetId() != old.GetId() || p[0].configured().GetRevision() <= before.GetRevision() {
		t.Errorf("service %d of revision %d, before %d of %d", s.GetId(), p[0].configured().GetRevision(), old.GetId(), before.GetRevision())
	}

	// One that joins later is given it at once.
	late := b.plane("lb-c")
	late.join()
	b.until("the late one runs it", func() bool { return has(late, 3) })
}

func TestRefusedConfigChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a")
	b.web()
	b.until("it is there", func() bool {
		return len(p[0].configured().GetServices()) == 1 && len(p[0].configured().GetServices()[0].GetServers()) == 2
	})
	before := p[0].configured()
	for name, c := range map[string]struct {
		path, body string
		code       int
		says       string
	}{
		"the same VIP, port and protocol": {"/v1/virtualServices?virtualServiceId=two", `{"vip": "198.51.100.10", "port": 80, "protocol": "PROTOCOL_UDP"}`, 400, "VIP_OVERLAP"},
		"the same name":                   {"/v1/virtualServices?virtualServiceId=web", `{"vip": "198.51.100.11", "port": 80, "protocol": "PROTOCOL_UDP"}`, 409, "DUPLICATE_NAME"},
		"a typo in the body":              {"/v1/virtualServices?virtualServiceId=two", `{"vipp": "198.51.100.11"}`, 400, "vipp"},
		"a weight out of range":           {"/v1/virtualServices/web/realServers?realServerId=s9", `{"address": "192.0.2.9", "port": 1, "weight": 65536}`, 400, "weight"},
		"an unknown service":              {"/v1/virtualServices/none/realServers?realServerId=s9", `{"address": "192.0.2.9", "port": 1}`, 404, "VIRTUAL_SERVICE_NOT_FOUND"},
		"an address that is leased":       {"/v1/addressPools?addressPoolId=more", `{"purpose": "POOL_PURPOSE_SIP", "prefixes": ["10.1.0.0/24"]}`, 400, "POOL_OVERLAP"},
	} {
		if code, data := b.call(http.MethodPost, c.path, c.body); code != c.code || !strings.Contains(string(data), c.says) {
			t.Errorf("%s: %d %s", name, code, data)
		}
	}
	if !proto.Equal(p[0].configured(), before) {
		t.Errorf("a refusal reached the node: %v", p[0].configured())
	}
}

func TestOneDeath(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	nc, err := nats.Connect(b.mesh.EventsURL(), nats.Secure(operator(b).Client(pki.RoleService)))
	b.must(err)
	defer nc.Close()
	sub, err := nc.SubscribeSync("holdfast.v1.node.lb-c.>")
	b.must(err)
	b.must(nc.Flush())
	p := b.cluster("lb-a", "lb-b", "lb-c")
	dead := p[2].life
	block := p[0].held(dead)
	for _, x := range p[:2] {
		x.edit(func() { x.left[block.GetId()], x.fenced = 3, 100 }) // sessions of the dead node live on
	}
	begun := time.Now()
	p[2].kill()
	told := func(x *plane) bool {
		return x.sees("lb-c") == absent && slices.ContainsFunc(x.applied().GetFenced(), func(l *dpdv1.NodeLife) bool { return proto.Equal(l, dead) })
	}
	b.until("both peers are told", func() bool { return told(p[0]) && told(p[1]) })
	t.Logf("peers told %v after the death", time.Since(begun).Round(time.Millisecond))
	if x := p[0].block(block.GetId()); x.GetHolder() != nil || x.GetAllocatable() {
		t.Errorf("the dead node's block: %v", x)
	}

	// The lease moves only when every member reports that nothing is left, and has fenced the dead life for 5 s.
	late := b.plane("lb-d")
	late.edit(func() { late.left[block.GetId()], late.fenced = 3, 100 })
	hold := func(what string) {
		t.Helper()
		b.until("the coordinator has heard: "+what, func() bool { return heard(b, p[0], block.GetId()) && heard(b, p[1], block.GetId()) })
		if x := p[0].block(block.GetId()); x.GetEpoch() != block.GetEpoch() {
			t.Errorf("%s: the lease moved: %v", what, x)
		}
	}
	hold("records are left at both")
	p[0].edit(func() { p[0].left[block.GetId()], p[0].fenced = 0, 6000 })
	hold("records are left at one")
	p[1].edit(func() { p[1].left[block.GetId()] = 0 })
	hold("one has fenced for 100 ms")
	p[1].edit(func() { p[1].fenced = 6000 })
	b.until("the block is free", func() bool { return p[0].block(block.GetId()).GetEpoch() > block.GetEpoch() })
	late.edit(func() { late.left[block.GetId()] = 0 })
	late.join()
	b.until("a joiner has it and allocates", func() bool {
		x := late.held(late.life)
		return x.GetId() == block.GetId() && x.GetAllocatable() && late.sees("lb-d") == admitted
	})

	var kinds []eventv1.NodeEventKind
	for !slices.Contains(kinds, eventv1.NodeEventKind_NODE_EVENT_KIND_REMOVED) {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("after %v: %v", kinds, err)
		}
		var e eventv1.NodeEvent
		b.must(proto.Unmarshal(msg.Data, &e))
		kinds = append(kinds, e.GetKind())
	}
	joined, let := slices.Index(kinds, eventv1.NodeEventKind_NODE_EVENT_KIND_JOINED), slices.Index(kinds, eventv1.NodeEventKind_NODE_EVENT_KIND_ADMITTED)
	lost := slices.Index(kinds, eventv1.NodeEventKind_NODE_EVENT_KIND_CONTROL_LOST)
	if joined != 0 || let < joined || lost < let {
		t.Errorf("events %v", kinds)
	}
}

// heard says whether the coordinator's last word of a node is what that node says of a block now.
func heard(b *bed, p *plane, block uint32) bool {
	var n syncv1.Node
	if !b.get("/v1/nodes/"+p.name, &n) {
		return false
	}
	now := p.status()
	use := func(s *dpdv1.SyncStatus) uint64 {
		for _, u := range s.GetBlockUsage() {
			if u.GetBlockId() == block {
				return u.GetRecords()
			}
		}
		return 1 << 63
	}
	return use(n.GetSync()) == use(now) && len(n.GetSync().GetFenced()) == 1 && n.GetSync().GetFenced()[0].GetAgeMs() == now.GetFenced()[0].GetAgeMs()
}

func operator(b *bed) *pki.Credentials {
	leaf, err := b.ca.Issue(pki.Identity{Role: pki.RoleOperator, Name: "test"}, time.Now())
	b.must(err)
	c, err := pki.New(b.ca.CertPEM(), leaf)
	b.must(err)
	return c
}

func TestADeadNodeComesBackAsAnotherLife(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a", "lb-b")
	old := p[1].life
	p[1].kill()
	b.until("it is out", func() bool { return p[0].sees("lb-b") == absent })
	p[1].listen("127.0.0.1:0")
	p[1].join()
	if p[1].life.GetId() != old.GetId() || p[1].life.GetIncarnation() <= old.GetIncarnation() {
		t.Errorf("came back as %v after %v", p[1].life, old)
	}
	b.until("it is admitted again", func() bool { return p[0].sees("lb-b") == admitted })
}

func session(port uint32, owner *dpdv1.NodeLife) *dpdv1.Session {
	return &dpdv1.Session{
		Original: &dpdv1.Tuple{Protocol: dpdv1.Protocol_PROTOCOL_UDP, Source: &dpdv1.Endpoint{Address: "192.0.2.100", Port: port}, Destination: &dpdv1.Endpoint{Address: "198.51.100.10", Port: 80}},
		Reply:    &dpdv1.Tuple{Protocol: dpdv1.Protocol_PROTOCOL_UDP, Source: &dpdv1.Endpoint{Address: "192.0.2.1", Port: 8080}, Destination: &dpdv1.Endpoint{Address: "10.1.0.1", Port: port}},
		Owner:    owner, Birth: 1 << 16, Term: 1, State: dpdv1.SessionState_SESSION_STATE_UDP_NORMAL,
	}
}

func TestSessionsOverREST(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a", "lb-b", "lb-c")
	b.web()
	b.until("names are known", func() bool { return len(p[0].configured().GetServices()) == 1 })
	service := p[0].configured().GetServices()[0].GetId()
	for _, x := range p {
		x.edit(func() {
			for port := uint32(1); port <= 30; port++ {
				s := session(port, p[port%2].life)
				s.ServiceId = service
				x.sessions = append(x.sessions, s)
			}
		})
	}
	b.until("sessions are listed from every node", func() bool { return b.seenAt("/v1/sessions/udp,192.0.2.100,7,198.51.100.10,80", len(p)) })
	var all []string
	token := ""
	for {
		var page conntrackv1.ListSessionsResponse
		if !b.get("/v1/sessions?page_size=8&page_token="+token, &page) {
			t.Fatal("no page")
		}
		for _, s := range page.GetSessions() {
			all = append(all, s.GetName())
			if len(s.GetReplicas()) != 3 || s.GetVip().GetPort() != 80 {
				t.Errorf("%v", s)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 30 {
		t.Fatalf("%d sessions", len(all))
	}
	b.until("sessions have their service's name", func() bool {
		var count conntrackv1.CountSessionsResponse
		return b.get("/v1/sessions:count?filter=virtual_service%3Dweb%20AND%20owner%3Dlb-b", &count) && count.GetTotal() == 15
	})
	var one conntrackv1.Session
	if !b.get("/v1/sessions/udp,192.0.2.100,7,198.51.100.10,80", &one) || one.GetOwner() != "nodes/lb-b" {
		t.Errorf("%v", &one)
	}

	// One that hangs is named and hangs nobody.
	p[2].edit(func() { p[2].hung = true })
	var page conntrackv1.ListSessionsResponse
	if !b.get("/v1/sessions?page_size=50", &page) || len(page.GetSessions()) != 30 {
		t.Fatalf("with one hung: %v", &page)
	}
	if e := page.GetNodeErrors(); len(e) != 1 || e[0].GetNode() != "nodes/lb-c" || e[0].GetCode() != "DEADLINE_EXCEEDED" {
		t.Errorf("node errors %v", e)
	}
	if code, data := b.call(http.MethodGet, "/v1/sessions?filter=nonsense", ""); code != 400 || !strings.Contains(string(data), "BAD_FILTER") {
		t.Errorf("%d %s", code, data)
	}
}

func TestSessionsAreDeletedAtEveryNode(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	p := b.cluster("lb-a", "lb-b")
	for i, x := range p {
		x.edit(func() { x.sessions = append(x.sessions, session(9, p[0].life)) })
		x.mock.EXPECT().DeleteSessions(gomock.Any(), clientPort(9)).Return(&dpdv1.DeleteSessionsResponse{Count: uint64(i)}, nil).Times(1)
	}
	b.until("the session is seen at both", func() bool { return b.seenAt("/v1/sessions/udp,192.0.2.100,9,198.51.100.10,80", len(p)) })
	if code, data := b.call(http.MethodPost, "/v1/sessions:delete", `{"filter": "client.port=9"}`); code != 200 || !strings.Contains(strings.ReplaceAll(string(data), " ", ""), `"count":"1"`) {
		t.Errorf("%d %s", code, data)
	}
}

// seenAt says whether a session is read from so many nodes. Whoever asks all nodes learns them from a watch, so it may know
// of one a moment later than that one itself.
func (b *bed) seenAt(path string, nodes int) bool {
	b.t.Helper()
	var s conntrackv1.Session
	return b.get(path, &s) && len(s.GetReplicas()) == nodes
}

// clientPort matches a deletion of the sessions of one client port.
type clientPort uint32

func (c clientPort) Matches(x any) bool {
	r, ok := x.(*dpdv1.DeleteSessionsRequest)
	return ok && proto.Equal(r.GetFilter(), &dpdv1.SessionFilter{ClientPort: uint32(c)})
}

func (c clientPort) String() string {
	return fmt.Sprintf("deletes client port %d and nothing else", uint32(c))
}
