package coordinator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/apierr"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

type poolPages struct {
	schedulerv1.AddressPoolServiceClient
	pages map[string]*schedulerv1.ListAddressPoolsResponse
}

func (p poolPages) ListAddressPools(_ context.Context, r *schedulerv1.ListAddressPoolsRequest, _ ...grpc.CallOption) (*schedulerv1.ListAddressPoolsResponse, error) {
	if page := p.pages[r.GetPageToken()]; page != nil {
		return page, nil
	}
	return nil, errors.New("away")
}

func TestPoolsAreReadFromEveryPage(t *testing.T) {
	t.Parallel()
	sip := &schedulerv1.AddressPool{Name: "addressPools/sip", Purpose: schedulerv1.PoolPurpose_POOL_PURPOSE_SIP, Prefixes: []string{"10.0.0.0/24", "10.0.1.7"}}
	laddr := &schedulerv1.AddressPool{Name: "addressPools/l6", Purpose: schedulerv1.PoolPurpose_POOL_PURPOSE_LADDR, Prefixes: []string{"fd00::/120"}, BlockSize: 4}
	got, err := readPools(t.Context(), poolPages{pages: map[string]*schedulerv1.ListAddressPoolsResponse{
		"":  {AddressPools: []*schedulerv1.AddressPool{sip}, NextPageToken: "x"},
		"x": {AddressPools: []*schedulerv1.AddressPool{laddr}},
	}})
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if got[0].Kind != membership.PoolSip || got[0].Name != "sip" || got[0].Prefixes[1].String() != "10.0.1.7/32" {
		t.Errorf("%+v", got[0])
	}
	if got[1].Kind != membership.PoolLaddr || got[1].BlockSize != 4 {
		t.Errorf("%+v", got[1])
	}
	for name, page := range map[string]*schedulerv1.ListAddressPoolsResponse{
		"an unknown purpose":        {AddressPools: []*schedulerv1.AddressPool{{Name: "addressPools/x"}}},
		"a bad prefix":              {AddressPools: []*schedulerv1.AddressPool{{Purpose: 1, Prefixes: []string{"10.0.0.0/33"}}}},
		"a page that does not come": {NextPageToken: "y"},
	} {
		if _, err := readPools(t.Context(), poolPages{pages: map[string]*schedulerv1.ListAddressPoolsResponse{"": page}}); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func TestAProcessWithoutAKeyFileOfItsOwnDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wide := filepath.Join(dir, "wide")
	if err := os.WriteFile(wide, []byte(strings.Repeat("17", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, file, want string }{
		{"none named", "", "openssl rand"},
		{"one that is not there", filepath.Join(dir, "kek"), filepath.Join(dir, "kek")},
		{"one that others read", wide, "0644"},
	} {
		p := Process()
		fs := flag.NewFlagSet("test", flag.ContinueOnError)
		p.Flags(fs)
		if err := fs.Parse([]string{"--kek-file", row.file}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.New(t.Context(), &kit.Env{}); err == nil || !strings.Contains(err.Error(), "--kek-file") || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("made: %v", left)
	}
}

func TestPolicyNamesEveryMethodForSomeone(t *testing.T) {
	t.Parallel()
	p := Policy()
	for _, m := range syncv1.CoordinatorService_ServiceDesc.Methods {
		full := "/" + syncv1.CoordinatorService_ServiceDesc.ServiceName + "/" + m.MethodName
		own := slices.Contains([]string{"Join", "Leave", "DrainNode", "GetOperation"}, m.MethodName)
		if p.Allows(full, pki.RoleDataplane) != own {
			t.Errorf("%s for a data plane: %v", full, !own)
		}
		if changes := []string{"Join", "Leave", "DrainNode", "BulkSync"}; slices.Contains(changes, m.MethodName) == p.Allows(full, pki.RoleViewer) {
			t.Errorf("%s for a viewer: %v", full, p.Allows(full, pki.RoleViewer))
		}
	}
}

func TestADataPlaneSpeaksForItselfAlone(t *testing.T) {
	t.Parallel()
	as := func(role pki.Role, name string) context.Context {
		ca, err := pki.NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := ca.Issue(pki.Identity{Role: role, Name: name}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(leaf.Cert)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain := []*x509.Certificate{cert}
		return peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}}})
	}
	c := newWorld(t).start("one")
	for _, tc := range []struct {
		name    string
		ctx     context.Context
		refused bool
	}{
		{"its own name", as(pki.RoleDataplane, "lb-a"), false},
		{"another name", as(pki.RoleDataplane, "lb-b"), true},
		{"an operator", as(pki.RoleOperator, "someone"), false},
	} {
		_, drain := c.DrainNode(tc.ctx, &syncv1.DrainNodeRequest{Name: "nodes/lb-a"})
		_, join := c.Join(tc.ctx, &syncv1.JoinRequest{NodeName: "lb-a"})
		if apierr.Is(drain, apierr.RoleDenied) != tc.refused || apierr.Is(join, apierr.RoleDenied) != tc.refused {
			t.Errorf("%s: %v, %v", tc.name, drain, join)
		}
	}
}
