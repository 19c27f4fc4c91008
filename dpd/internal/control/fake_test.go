package control

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// fakePlane keeps what it is given and serves a list of sessions.
type fakePlane struct {
	self                flow.Node
	config              Config
	membership          Membership
	keys                Keys
	list                []flow.Session
	closed              int
	bulkTo              flow.Node
	bulkAsked, drainsMS uint32
	fail                error
}

func (p *fakePlane) Info() Info     { return Info{Name: "lb-a", Workers: 2} }
func (p *fakePlane) Status() Status { return Status{Self: p.self, State: StateAdmitted} }
func (p *fakePlane) Stats() Stats {
	return Stats{Node: []Counter{{"sync_rx", 3}}, Workers: []WorkerStats{{Drops: []Counter{{"drop_ttl", 1}}}}}
}
func (p *fakePlane) ApplyConfig(_ context.Context, c Config) (bool, error) {
	if p.fail != nil {
		return false, p.fail
	}
	p.config = c
	return true, nil
}
func (p *fakePlane) ApplyMembership(_ context.Context, m Membership) (bool, error) {
	if p.fail != nil {
		return false, p.fail
	}
	p.membership = m
	return true, nil
}
func (p *fakePlane) ApplyKeys(_ context.Context, k Keys) (bool, error) {
	if p.fail != nil {
		return false, p.fail
	}
	p.keys = k
	return true, nil
}
func (p *fakePlane) Revisions() (uint64, uint64, uint64) {
	return p.config.Revision, p.membership.View, p.keys.Generation
}
func (p *fakePlane) Sessions(_ context.Context, want func(*flow.Session) bool, each func(*flow.Session, int) bool) error {
	for i := range p.list {
		if want(&p.list[i]) && !each(&p.list[i], i%2) {
			break
		}
	}
	return p.fail
}
func (p *fakePlane) Session(_ context.Context, k flow.Key) (flow.Session, int, error) {
	for i := range p.list {
		if p.list[i].Orig == k || p.list[i].Reply == k {
			return p.list[i], i % 2, nil
		}
	}
	return flow.Session{}, 0, ErrNotFound
}
func (p *fakePlane) Close(_ context.Context, want func(*flow.Session) bool) (n uint64, err error) {
	for i := range p.list {
		if p.list[i].Owner == p.self && want(&p.list[i]) {
			n++
		}
	}
	p.closed += int(n)
	return n, nil
}

// Order is a stand-in for the cluster hash: any fixed function of the record does.
func (p *fakePlane) Order(s *flow.Session) uint64 { return uint64(s.Birth) * 0x9e3779b97f4a7c15 }
func (p *fakePlane) StartBulk(to flow.Node) error { p.bulkTo = to; return p.fail }
func (p *fakePlane) AskBulk() error               { p.bulkAsked++; return p.fail }
func (p *fakePlane) Drain(ms uint32) error        { p.drainsMS = ms; return p.fail }

func dial(t *testing.T, p Plane, changed func() <-chan struct{}) dpdv1.DataplaneServiceClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	New(p, changed).Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	c, err := grpc.NewClient("passthrough:///mem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return dpdv1.NewDataplaneServiceClient(c)
}

// reason is the stable word of an error, and the fields that it names.
func reason(err error) (word string, fields []string) {
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			word = d.Reason
		case *errdetails.BadRequest:
			for _, f := range d.FieldViolations {
				fields = append(fields, f.Field)
			}
		}
	}
	return word, fields
}

// metadata is what an error's ErrorInfo says for programs.
func metadata(err error) map[string]string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Metadata
		}
	}
	return nil
}

func makeSession(i int, self flow.Node) flow.Session {
	key := func(a, b string) flow.Key {
		k, err := flow.MakeKey(flow.ProtoTCP, netip.MustParseAddrPort(a), netip.MustParseAddrPort(b))
		if err != nil {
			panic(err)
		}
		return k
	}
	s := flow.Session{
		Orig:  key(fmt.Sprintf("198.51.100.%d:%d", i%250+1, 1000+i), "192.0.2.1:80"),
		Reply: key("10.0.0.9:8080", fmt.Sprintf("10.8.0.1:%d", 2000+i)),
		Birth: flow.Birth(i + 1), Owner: self, Term: 1, Ver: 1, Service: uint32(i%3 + 1), Server: uint32(i%5 + 1),
		State: flow.TCPEstablished, Mode: flow.FullNAT, Idle: uint32(i), Timeout: 60,
	}
	if i%2 == 1 {
		s.Owner = flow.Node{ID: 9, Inc: 9}
	}
	if i%10 == 9 {
		s.Flags = flow.SoftTomb
	}
	return s
}
