package snapshot

import (
	"fmt"
	"net/netip"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

func service(uid uint32, id string, servers ...desired.Server) *desired.Service {
	return &desired.Service{
		ID: id,
		Spec: desired.ServiceSpec{
			Endpoint: desired.Endpoint{VIP: netip.MustParseAddr("2001:db8::80"), Port: 443, Protocol: desired.UDP},
			Mode:     desired.FullNAT, Algorithm: desired.WLC, Timeouts: desired.Timeouts{UDP: 5, TCPClose: 6},
		},
		Meta:    desired.Meta{UID: uid},
		Servers: servers,
	}
}

func server(uid uint32, id string, admin desired.Admin, health desired.Health) desired.Server {
	return desired.Server{
		ID: id, Meta: desired.Meta{UID: uid}, Health: health,
		Spec: desired.ServerSpec{Address: netip.MustParseAddr("2001:db8::1"), Port: 1, Weight: 9, MaxConnections: 3, Admin: admin},
	}
}

func TestCompileIsWhatADataPlaneIsToApply(t *testing.T) {
	var c Compiler
	got := c.Compile(7, []*desired.Service{
		service(9, "a", server(4, "x", desired.Enabled, desired.Unknown), server(3, "y", desired.Enabled, desired.Down)),
		service(2, "b", server(5, "z", desired.Draining, desired.Down), server(6, "zz", desired.Enabled, desired.Up)),
	})
	var want dpdv1.ApplyConfigRequest
	common := `"vip":"2001:db8::80","port":443,"protocol":"PROTOCOL_UDP","mode":"FORWARDING_MODE_FULLNAT","algorithm":"ALGORITHM_WLC","expire":"EXPIRE_ACTION_SILENT","timeouts":{"udpSeconds":5,"tcpCloseSeconds":6}`
	srv := func(id int, name, state string) string {
		return fmt.Sprintf(`{"id":%d,"name":%q,"address":"2001:db8::1","port":1,"weight":9,"maxConnections":3,"state":"SERVER_STATE_%s"}`, id, name, state)
	}
	text := `{"revision":7,"services":[
		{"id":2,"name":"b",` + common + `,"servers":[` + srv(5, "z", "DRAIN") + `,` + srv(6, "zz", "UP") + `]},
		{"id":9,"name":"a",` + common + `,"servers":[` + srv(3, "y", "DOWN") + `,` + srv(4, "x", "UP") + `]}]}`
	if err := protojson.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got.Request, &want) || got.Servers != 4 {
		t.Errorf("got %v", got.Request)
	}
}

func TestAServiceThatResetsSaysSo(t *testing.T) {
	s := service(1, "a")
	s.Spec.Protocol, s.Spec.Expire = desired.TCP, desired.RST
	var c Compiler
	if got := c.Compile(1, []*desired.Service{s}).Request.Services[0]; got.GetExpire() != dpdv1.ExpireAction_EXPIRE_ACTION_RST {
		t.Errorf("got %v", got.GetExpire())
	}
}

func TestUnchangedServicesAreCompiledOnce(t *testing.T) {
	var c Compiler
	a, b := service(1, "a"), service(2, "b")
	first := c.Compile(1, []*desired.Service{a, b})
	changed := *b
	second := c.Compile(2, []*desired.Service{a, &changed})
	if first.Request.GetServices()[0] != second.Request.GetServices()[0] || first.Request.GetServices()[1] == second.Request.GetServices()[1] {
		t.Error("the wrong service was compiled again")
	}
	if len(c.done) != 2 {
		t.Errorf("%d services are kept", len(c.done))
	}
}

func BenchmarkCompileOneChangeOfTenThousandServices(b *testing.B) {
	var c Compiler
	list := make([]*desired.Service, 10_000)
	for i := range list {
		servers := make([]desired.Server, 100)
		for j := range servers {
			servers[j] = server(uint32(i*100+j), fmt.Sprint(j), desired.Enabled, desired.Up)
		}
		list[i] = service(uint32(i+1), fmt.Sprint(i), servers...)
	}
	c.Compile(1, list)
	for b.Loop() {
		changed := *list[0]
		list[0] = &changed
		c.Compile(2, list)
	}
}
