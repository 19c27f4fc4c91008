package control

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func goodService() *dpdv1.Service {
	return &dpdv1.Service{
		Id: 1, Name: "web", Vip: "192.0.2.1", Port: 80, Protocol: dpdv1.Protocol_PROTOCOL_TCP,
		Mode: dpdv1.ForwardingMode_FORWARDING_MODE_FULLNAT, Algorithm: dpdv1.Algorithm_ALGORITHM_WRR,
		Timeouts: &dpdv1.Timeouts{TcpEstablishedSeconds: 90}, Expire: dpdv1.ExpireAction_EXPIRE_ACTION_RST,
		Servers: []*dpdv1.Server{
			{Id: 1, Name: "a", Address: "10.0.0.1", Port: 8080, Weight: 1},
			{Id: 2, Name: "b", Address: "10.0.0.2", Port: 8080, Weight: 3, State: dpdv1.ServerState_SERVER_STATE_DOWN},
		},
	}
}

func TestAGoodSnapshotArrivesWhole(t *testing.T) {
	p := &fakePlane{}
	silent := goodService()
	silent.Id, silent.Vip, silent.Servers, silent.Expire = 2, "192.0.2.2", nil, dpdv1.ExpireAction_EXPIRE_ACTION_SILENT
	r, err := dial(t, p, nil).ApplyConfig(t.Context(), &dpdv1.ApplyConfigRequest{Revision: 4, Services: []*dpdv1.Service{goodService(), silent}})
	if err != nil || r.Revision != 4 || !r.Changed {
		t.Fatalf("%v %v", r, err)
	}
	s := p.config.Services[0]
	if s.VIP.String() != "192.0.2.1:80" || s.Proto != flow.ProtoTCP || s.Mode != flow.FullNAT || s.Algorithm != WeightedRoundRobin ||
		s.Timeouts[flow.TCPEstablished] != 90 || s.Timeouts[flow.TCPFinWait] != 0 {
		t.Errorf("service: %+v", s)
	}
	if !s.Reset || p.config.Services[1].Reset {
		t.Error("which service resets what expires is lost")
	}
	if b := s.Servers[1]; b.Addr.String() != "10.0.0.2:8080" || b.Weight != 3 || b.State != Down || s.Servers[0].State != Up {
		t.Errorf("servers: %+v", s.Servers)
	}
}

func TestBadSnapshotsNameTheFieldAndChangeNothing(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(*dpdv1.ApplyConfigRequest)
		field string
	}{
		{"no revision", func(q *dpdv1.ApplyConfigRequest) { q.Revision = 0 }, "revision"},
		{"no id", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Id = 0 }, "services[0].id"},
		{"no VIP", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Vip = "" }, "services[0].vip"},
		{"a host name for a VIP", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Vip = "example.org" }, "services[0].vip"},
		{"a multicast VIP", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Vip = "224.0.0.1" }, "services[0].vip"},
		{"a 4-in-6 VIP", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Vip = "::ffff:192.0.2.1" }, "services[0].vip"},
		{"port zero", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Port = 0 }, "services[0].port"},
		{"port out of range", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Port = 65536 }, "services[0].port"},
		{"ICMP as a service", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Protocol = dpdv1.Protocol_PROTOCOL_ICMP }, "services[0].protocol"},
		{"a mode of a later version", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Mode = dpdv1.ForwardingMode_FORWARDING_MODE_DR }, "services[0].mode"},
		{"an unknown algorithm", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Algorithm = 99 }, "services[0].algorithm"},
		{"a timeout beyond a month", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Timeouts.UdpSeconds = 1 << 31 }, "services[0].timeouts.udp_seconds"},
		{"an unknown way to expire", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Expire = 9 }, "services[0].expire"},
		{"resets over UDP", func(q *dpdv1.ApplyConfigRequest) {
			q.Services[0].Protocol, q.Services[0].Expire = dpdv1.Protocol_PROTOCOL_UDP, dpdv1.ExpireAction_EXPIRE_ACTION_RST
		}, "services[0].expire"},
		{"a VIP twice", func(q *dpdv1.ApplyConfigRequest) {
			s := proto.CloneOf(q.Services[0])
			s.Id, s.Servers = 2, nil
			q.Services = append(q.Services, s)
		}, "services[1].vip"},
		{"a service id twice", func(q *dpdv1.ApplyConfigRequest) {
			s := proto.CloneOf(q.Services[0])
			s.Vip, s.Servers = "192.0.2.2", nil
			q.Services = append(q.Services, s)
		}, "services[1].id"},
		{"a server id twice", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Servers[1].Id = 1 }, "services[0].servers[1].id"},
		{"a server twice", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Servers[1].Address = "10.0.0.1" }, "services[0].servers[1].address"},
		{"a server of another family", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Servers[1].Address = "fd00::1" }, "services[0].servers[1].address"},
		{"a weight out of range", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Servers[0].Weight = 65536 }, "services[0].servers[0].weight"},
		{"an unknown server state", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Servers[0].State = 9 }, "services[0].servers[0].state"},
		{"a name that never ends", func(q *dpdv1.ApplyConfigRequest) { q.Services[0].Name = strings.Repeat("x", 300) }, "services[0].name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := &fakePlane{}
			q := &dpdv1.ApplyConfigRequest{Revision: 1, Services: []*dpdv1.Service{goodService()}}
			row.spoil(q)
			_, err := dial(t, p, nil).ApplyConfig(t.Context(), q)
			word, fields := reason(err)
			if status.Code(err) != codes.InvalidArgument || word != "INVALID_FIELD" || !slices.Contains(fields, row.field) {
				t.Errorf("%v: %s %v, want the field %s", err, word, fields, row.field)
			}
			if p.config.Revision != 0 {
				t.Error("it was applied all the same")
			}
		})
	}
}

func TestEveryFaultOfASnapshotIsSaidAtOnce(t *testing.T) {
	q := &dpdv1.ApplyConfigRequest{Revision: 1, Services: []*dpdv1.Service{goodService()}}
	q.Services[0].Port, q.Services[0].Vip, q.Services[0].Servers[0].Weight = 0, "x", 1<<20
	_, err := dial(t, &fakePlane{}, nil).ApplyConfig(t.Context(), q)
	if _, fields := reason(err); len(fields) != 3 {
		t.Errorf("fields: %v", fields)
	}
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	p := &fakePlane{}
	r, err := dial(t, p, nil).ApplyConfig(t.Context(), &dpdv1.ApplyConfigRequest{Revision: 4, ValidateOnly: true, Services: []*dpdv1.Service{goodService()}})
	if err != nil || r.Changed || p.config.Revision != 0 {
		t.Errorf("%v %v %+v", r, err, p.config)
	}
}

func goodView() *dpdv1.Membership {
	me := &dpdv1.NodeLife{Id: 1, Incarnation: 5}
	return &dpdv1.Membership{
		View: 7,
		Self: &dpdv1.SelfAssignment{Life: me, SipV4: "10.9.0.1", SyncPort: 7946, State: dpdv1.MemberState_MEMBER_STATE_JOINING},
		Members: []*dpdv1.Member{
			{Life: me, Name: "lb-a", SipV4: "10.9.0.1", SyncPort: 7946, State: dpdv1.MemberState_MEMBER_STATE_JOINING},
			{Life: &dpdv1.NodeLife{Id: 2, Incarnation: 1}, Name: "lb-b", SipV4: "10.9.0.2", SipV6: "fd09::2", SyncPort: 7946, State: dpdv1.MemberState_MEMBER_STATE_ADMITTED},
		},
		LaddrBlocks: []*dpdv1.LaddrBlock{{Id: 1, Addresses: []string{"10.8.0.1", "fd08::1"}, Holder: me, Epoch: 1, Allocatable: true}},
		Fenced:      []*dpdv1.NodeLife{{Id: 1, Incarnation: 4}},
	}
}

func TestViewsAreCheckedBeforeAnythingChanges(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(*dpdv1.Membership)
		field string
	}{
		{"a good one", func(*dpdv1.Membership) {}, ""},
		{"no view number", func(m *dpdv1.Membership) { m.View = 0 }, "membership.view"},
		{"no own life", func(m *dpdv1.Membership) { m.Self.Life = nil }, "membership.self.life.id"},
		{"this node is missing", func(m *dpdv1.Membership) { m.Members = m.Members[1:] }, "membership.members"},
		{"this node is missing, a former life of it fenced", func(m *dpdv1.Membership) {
			m.Members = m.Members[1:]
			m.Fenced[0] = &dpdv1.NodeLife{Id: m.GetSelf().GetLife().GetId(), Incarnation: m.GetSelf().GetLife().GetIncarnation() - 1}
		}, "membership.members"},
		{"another life of this node", func(m *dpdv1.Membership) { m.Members[0].Life = &dpdv1.NodeLife{Id: 1, Incarnation: 6} }, "membership.members[0].life"},
		{"one id twice", func(m *dpdv1.Membership) { m.Members[1].Life.Id = 1 }, "membership.members[1].life.id"},
		{"one sync address twice", func(m *dpdv1.Membership) { m.Members[1].SipV4 = "10.9.0.1" }, "membership.members[1].sip_v4"},
		{"an IPv6 address as sip_v4", func(m *dpdv1.Membership) { m.Members[1].SipV4 = "fd00::1" }, "membership.members[1].sip_v4"},
		{"a member without sync address", func(m *dpdv1.Membership) { m.Members[1].SipV4, m.Members[1].SipV6 = "", "" }, "membership.members[1]"},
		{"a member without state", func(m *dpdv1.Membership) { m.Members[1].State = 0 }, "membership.members[1].state"},
		{"an empty block", func(m *dpdv1.Membership) { m.LaddrBlocks[0].Addresses = nil }, "membership.laddr_blocks[0].addresses"},
		{"an address in two blocks", func(m *dpdv1.Membership) {
			m.LaddrBlocks = append(m.LaddrBlocks, &dpdv1.LaddrBlock{Id: 2, Addresses: []string{"10.8.0.1"}})
		}, "membership.laddr_blocks[1].addresses[0]"},
		{"a block id twice", func(m *dpdv1.Membership) {
			m.LaddrBlocks = append(m.LaddrBlocks, &dpdv1.LaddrBlock{Id: 1, Addresses: []string{"10.8.0.2"}})
		}, "membership.laddr_blocks[1].id"},
		{"a former holder without incarnation", func(m *dpdv1.Membership) {
			m.LaddrBlocks[0].FormerHolder = &dpdv1.NodeLife{Id: 3}
		}, "membership.laddr_blocks[0].former_holder.incarnation"},
		{"a fenced life without incarnation", func(m *dpdv1.Membership) { m.Fenced[0].Incarnation = 0 }, "membership.fenced[0].incarnation"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, m := &fakePlane{}, goodView()
			row.spoil(m)
			_, err := dial(t, p, nil).ApplyMembership(t.Context(), &dpdv1.ApplyMembershipRequest{Membership: m})
			if row.field == "" {
				if err != nil || p.membership.View != 7 || p.membership.Self.Name != "lb-a" || len(p.membership.Blocks) != 1 {
					t.Fatalf("%v %+v", err, p.membership)
				}
				return
			}
			if _, fields := reason(err); !slices.Contains(fields, row.field) || p.membership.View != 0 {
				t.Errorf("%v names %v, want %s; applied view %d", err, fields, row.field, p.membership.View)
			}
		})
	}
}

func TestAViewThatCallsTheReceiverOverNeedNotHaveIt(t *testing.T) {
	p, m := &fakePlane{}, goodView()
	m.Members = m.Members[1:]
	m.Fenced[0] = proto.CloneOf(m.GetSelf().GetLife())
	_, err := dial(t, p, nil).ApplyMembership(t.Context(), &dpdv1.ApplyMembershipRequest{Membership: m})
	if err != nil || !p.membership.Over() {
		t.Fatalf("%v %+v", err, p.membership)
	}
	for _, row := range []struct {
		name  string
		spoil func(m *Membership)
	}{
		{"it is a member", func(m *Membership) { m.Members = append(m.Members, m.Self) }},
		{"another node is fenced", func(m *Membership) { m.Fenced[0].ID++ }},
		{"a former life is fenced", func(m *Membership) { m.Fenced[0].Inc-- }},
	} {
		q := p.membership
		q.Fenced = slices.Clone(q.Fenced)
		if row.spoil(&q); q.Over() {
			t.Error(row.name)
		}
	}
}

func TestKeysAreCheckedAndNeverRepeatedInErrors(t *testing.T) {
	secret := []byte(strings.Repeat("secret! ", 4))
	good := func() *dpdv1.KeySet {
		return &dpdv1.KeySet{Generation: 2, Keys: []*dpdv1.ClusterKey{{Id: 3, Secret: secret}}, ActiveKeyId: 3, RssKey: make([]byte, 40), DigestKey: make([]byte, 16)}
	}
	for _, row := range []struct {
		name  string
		spoil func(*dpdv1.KeySet)
		field string
	}{
		{"a good one", func(*dpdv1.KeySet) {}, ""},
		{"no generation", func(k *dpdv1.KeySet) { k.Generation = 0 }, "keys.generation"},
		{"no key", func(k *dpdv1.KeySet) { k.Keys = nil }, "keys.keys"},
		{"three keys", func(k *dpdv1.KeySet) { k.Keys = append(k.Keys, k.Keys[0], k.Keys[0]) }, "keys.keys"},
		{"a short key", func(k *dpdv1.KeySet) { k.Keys[0].Secret = secret[:31] }, "keys.keys[0].secret"},
		{"a key that was never filled", func(k *dpdv1.KeySet) { k.Keys[0].Secret = make([]byte, 32) }, "keys.keys[0].secret"},
		{"a key id beyond the header's field", func(k *dpdv1.KeySet) { k.Keys[0].Id = 70000 }, "keys.keys[0].id"},
		{"an active key that is not there", func(k *dpdv1.KeySet) { k.ActiveKeyId = 9 }, "keys.active_key_id"},
		{"a short RSS key", func(k *dpdv1.KeySet) { k.RssKey = k.RssKey[1:] }, "keys.rss_key"},
		{"a short digest key", func(k *dpdv1.KeySet) { k.DigestKey = nil }, "keys.digest_key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, k := &fakePlane{}, good()
			row.spoil(k)
			_, err := dial(t, p, nil).ApplyKeys(t.Context(), &dpdv1.ApplyKeysRequest{Keys: k})
			if row.field == "" {
				if err != nil || p.keys.Generation != 2 {
					t.Fatalf("%v %+v", err, p.keys)
				}
				return
			}
			if _, fields := reason(err); !slices.Contains(fields, row.field) || p.keys.Generation != 0 {
				t.Errorf("%v names %v, want %s", err, fields, row.field)
			}
			if strings.Contains(err.Error(), "secret!") {
				t.Error("the error repeats the secret")
			}
		})
	}
}

func TestRefusalsOfThePlaneHaveStableReasons(t *testing.T) {
	for _, r := range reasons {
		p := &fakePlane{fail: r.err}
		_, err := dial(t, p, nil).ApplyMembership(t.Context(), &dpdv1.ApplyMembershipRequest{Membership: goodView()})
		if word, _ := reason(err); word != r.reason || status.Code(err) != r.code {
			t.Errorf("%v became %v %s", r.err, status.Code(err), word)
		}
		if got := metadata(err)["field"]; got != r.field {
			t.Errorf("%s names the field %q, want %q", r.reason, got, r.field)
		}
	}
	if word, _ := reason(fault(errors.New("surprise"))); word != "INTERNAL" {
		t.Errorf("an unknown error became %s", word)
	}
}

func collect(t *testing.T, c dpdv1.DataplaneServiceClient, q *dpdv1.ListSessionsRequest) (births []uint64, cursor []byte) {
	t.Helper()
	s, err := c.ListSessions(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return births, cursor
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Sessions) > chunkMax {
			t.Errorf("a chunk of %d", len(m.Sessions))
		}
		for _, x := range m.Sessions {
			births = append(births, x.Birth)
		}
		cursor = m.Cursor
	}
}

func TestPagesOfAListingJoinWithoutGapOrRepeat(t *testing.T) {
	self := flow.Node{ID: 1, Inc: 1}
	p := &fakePlane{self: self}
	for i := range 2500 {
		p.list = append(p.list, makeSession(i, self))
	}
	c := dial(t, p, nil)
	whole, end := collect(t, c, &dpdv1.ListSessionsRequest{})
	if len(whole) != 2250 || end != nil {
		t.Fatalf("%d sessions, cursor %x; tombstones must be left out", len(whole), end)
	}
	var joined []uint64
	var cursor []byte
	for {
		page, next := collect(t, c, &dpdv1.ListSessionsRequest{Limit: 700, Cursor: cursor})
		joined = append(joined, page...)
		if next == nil {
			break
		}
		cursor = next
	}
	if !slices.Equal(whole, joined) {
		t.Errorf("%d sessions in pages, %d at once", len(joined), len(whole))
	}
}

func TestFiltersSelectByEveryFieldGiven(t *testing.T) {
	self := flow.Node{ID: 1, Inc: 1}
	p := &fakePlane{self: self}
	for i := range 300 {
		p.list = append(p.list, makeSession(i, self))
	}
	c := dial(t, p, nil)
	for _, row := range []struct {
		name string
		f    *dpdv1.SessionFilter
		want func(i int, s *flow.Session) bool
	}{
		{"client port", &dpdv1.SessionFilter{ClientPort: 1004}, func(i int, _ *flow.Session) bool { return i == 4 }},
		{"client address", &dpdv1.SessionFilter{ClientPrefix: "198.51.100.5"}, func(i int, _ *flow.Session) bool { return i%250 == 4 }},
		{"client prefix", &dpdv1.SessionFilter{ClientPrefix: "198.51.100.0/29"}, func(i int, _ *flow.Session) bool { return i%250 < 7 }},
		{"service and owner", &dpdv1.SessionFilter{ServiceIds: []uint32{2}, OwnerIds: []uint32{9}}, func(i int, s *flow.Session) bool { return s.Service == 2 && s.Owner.ID == 9 }},
		{"server", &dpdv1.SessionFilter{ServerIds: []uint32{1, 3}}, func(_ int, s *flow.Session) bool { return s.Server == 1 || s.Server == 3 }},
		{"state that nobody is in", &dpdv1.SessionFilter{States: []dpdv1.SessionState{dpdv1.SessionState_SESSION_STATE_TCP_CLOSE}}, func(int, *flow.Session) bool { return false }},
		{"local port", &dpdv1.SessionFilter{LaddrPort: 2010, LaddrPrefix: "10.8.0.0/16"}, func(i int, _ *flow.Session) bool { return i == 10 }},
		{"server prefix of another family", &dpdv1.SessionFilter{ServerPrefix: "fd00::/8"}, func(int, *flow.Session) bool { return false }},
		{"idle", &dpdv1.SessionFilter{MinIdleMs: 290}, func(i int, _ *flow.Session) bool { return i >= 290 }},
		{"protocol", &dpdv1.SessionFilter{Protocols: []dpdv1.Protocol{dpdv1.Protocol_PROTOCOL_UDP}}, func(int, *flow.Session) bool { return false }},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, _ := collect(t, c, &dpdv1.ListSessionsRequest{Filter: row.f})
			slices.Sort(got)
			var want []uint64
			for i := range p.list {
				if p.list[i].Flags&flow.Tomb == 0 && row.want(i, &p.list[i]) {
					want = append(want, uint64(p.list[i].Birth))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestBadListingsAreRefused(t *testing.T) {
	c := dial(t, &fakePlane{}, nil)
	for _, row := range []struct {
		name, field string
		q           *dpdv1.ListSessionsRequest
	}{
		{"a cursor of another length", "cursor", &dpdv1.ListSessionsRequest{Cursor: []byte("x")}},
		{"a limit beyond the bound", "limit", &dpdv1.ListSessionsRequest{Limit: limitMax + 1}},
		{"a prefix that is none", "filter.vip_prefix", &dpdv1.ListSessionsRequest{Filter: &dpdv1.SessionFilter{VipPrefix: "10.0.0.0/99"}}},
		{"a port beyond 65535", "filter.client_port", &dpdv1.ListSessionsRequest{Filter: &dpdv1.SessionFilter{ClientPort: 70000}}},
		{"a state that is none", "filter.states[0]", &dpdv1.ListSessionsRequest{Filter: &dpdv1.SessionFilter{States: []dpdv1.SessionState{0}}}},
	} {
		s, err := c.ListSessions(t.Context(), row.q)
		if err == nil {
			_, err = s.Recv()
		}
		if _, fields := reason(err); !slices.Contains(fields, row.field) {
			t.Errorf("%s: %v names %v", row.name, err, fields)
		}
	}
}

func TestASessionIsFoundByEitherTupleInEitherDirection(t *testing.T) {
	p := &fakePlane{list: []flow.Session{makeSession(0, flow.Node{ID: 1, Inc: 1})}}
	c := dial(t, p, nil)
	end := func(a string, port uint32) *dpdv1.Endpoint { return &dpdv1.Endpoint{Address: a, Port: port} }
	client, vip, server, laddr := end("198.51.100.1", 1000), end("192.0.2.1", 80), end("10.0.0.9", 8080), end("10.8.0.1", 2000)
	for _, pair := range [][2]*dpdv1.Endpoint{{client, vip}, {vip, client}, {server, laddr}, {laddr, server}} {
		r, err := c.GetSession(t.Context(), &dpdv1.GetSessionRequest{Tuple: &dpdv1.Tuple{Protocol: dpdv1.Protocol_PROTOCOL_TCP, Source: pair[0], Destination: pair[1]}})
		if err != nil || r.Session.Birth != 1 || r.Session.State != dpdv1.SessionState_SESSION_STATE_TCP_ESTABLISHED {
			t.Errorf("%v: %v %v", pair, r, err)
		}
	}
	_, err := c.GetSession(t.Context(), &dpdv1.GetSessionRequest{Tuple: &dpdv1.Tuple{Protocol: dpdv1.Protocol_PROTOCOL_TCP, Source: client, Destination: server}})
	if word, _ := reason(err); word != "SESSION_NOT_FOUND" {
		t.Errorf("an unknown tuple: %v", err)
	}
	_, err = c.GetSession(t.Context(), &dpdv1.GetSessionRequest{Tuple: &dpdv1.Tuple{Source: client, Destination: end("fd00::1", 80)}})
	if _, f := reason(err); !slices.Contains(f, "tuple.protocol") {
		t.Errorf("a bad tuple names %v", f)
	}
}

func TestDeletingEverythingByAnEmptyFilterIsRefused(t *testing.T) {
	self := flow.Node{ID: 1, Inc: 1}
	p := &fakePlane{self: self}
	for i := range 10 {
		p.list = append(p.list, makeSession(i, self))
	}
	c := dial(t, p, nil)
	if _, err := c.DeleteSessions(t.Context(), &dpdv1.DeleteSessionsRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an empty filter: %v", err)
	}
	f := &dpdv1.SessionFilter{VipPort: 80}
	r, err := c.DeleteSessions(t.Context(), &dpdv1.DeleteSessionsRequest{Filter: f, ValidateOnly: true})
	if err != nil || r.Count != 5 || p.closed != 0 {
		t.Errorf("count only: %v %v, closed %d", r, err, p.closed)
	}
	if r, err = c.DeleteSessions(t.Context(), &dpdv1.DeleteSessionsRequest{Filter: f}); err != nil || r.Count != 5 || p.closed != 5 {
		t.Errorf("%v %v, closed %d", r, err, p.closed)
	}
}

func TestAWatchBeginsWithABookmarkAndFollowsChanges(t *testing.T) {
	change := make(chan struct{}, 1)
	ch := make(chan struct{})
	first := true
	c := dial(t, &fakePlane{}, func() <-chan struct{} {
		if first {
			first = false
			return ch
		}
		return change
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := c.WatchSync(ctx, &dpdv1.WatchSyncRequest{IntervalMs: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil || m.Kind != dpdv1.WatchKind_WATCH_KIND_BOOKMARK || m.Status.State != dpdv1.NodeState_NODE_STATE_ADMITTED {
		t.Fatalf("%v %v", m, err)
	}
	close(ch)
	if m, err = s.Recv(); err != nil || m.Kind != dpdv1.WatchKind_WATCH_KIND_UPDATE {
		t.Fatalf("%v %v", m, err)
	}
	s, err = c.WatchSync(ctx, &dpdv1.WatchSyncRequest{IntervalMs: 5})
	if err == nil {
		_, err = s.Recv()
	}
	if _, f := reason(err); !slices.Contains(f, "interval_ms") {
		t.Errorf("an interval below the bound: %v", err)
	}
}

func TestBulkAndDrainReachThePlane(t *testing.T) {
	p := &fakePlane{}
	c := dial(t, p, nil)
	ctx := t.Context()
	if _, err := c.StartBulkSync(ctx, &dpdv1.StartBulkSyncRequest{Direction: &dpdv1.StartBulkSyncRequest_To{To: &dpdv1.NodeLife{Id: 2, Incarnation: 3}}}); err != nil || p.bulkTo != (flow.Node{ID: 2, Inc: 3}) {
		t.Errorf("%v %v", p.bulkTo, err)
	}
	if _, err := c.StartBulkSync(ctx, &dpdv1.StartBulkSyncRequest{Direction: &dpdv1.StartBulkSyncRequest_AskMembers{AskMembers: true}}); err != nil || p.bulkAsked != 1 {
		t.Errorf("%v %v", p.bulkAsked, err)
	}
	for _, q := range []*dpdv1.StartBulkSyncRequest{{}, {Direction: &dpdv1.StartBulkSyncRequest_To{To: &dpdv1.NodeLife{Id: 2}}}} {
		if _, err := c.StartBulkSync(ctx, q); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", q, err)
		}
	}
	if _, err := c.Drain(ctx, &dpdv1.DrainRequest{}); err != nil || p.drainsMS != 10_000 {
		t.Errorf("%v %v", p.drainsMS, err)
	}
	if _, err := c.Drain(ctx, &dpdv1.DrainRequest{QuietTimeoutMs: 4_000_000}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v", err)
	}
}

func TestInfoAndStatsArrive(t *testing.T) {
	c := dial(t, &fakePlane{self: flow.Node{ID: 4, Inc: 2}}, nil)
	i, err := c.GetInfo(t.Context(), &dpdv1.GetInfoRequest{})
	if err != nil || i.Name != "lb-a" || i.Workers != 2 || i.Sync.Self.Id != 4 || i.SipV4 != "" {
		t.Errorf("%v %v", i, err)
	}
	s, err := c.GetStats(t.Context(), &dpdv1.GetStatsRequest{})
	if err != nil || s.Counters[0].Value != 3 || s.Workers[0].Drops[0].Name != "drop_ttl" {
		t.Errorf("%v %v", s, err)
	}
}
