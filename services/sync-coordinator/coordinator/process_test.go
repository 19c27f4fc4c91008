package coordinator

import (
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc"

	schedulerv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/scheduler/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
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

func TestPolicyNamesEveryMethodForSomeone(t *testing.T) {
	p := Policy()
	for _, m := range syncv1.CoordinatorService_ServiceDesc.Methods {
		full := "/" + syncv1.CoordinatorService_ServiceDesc.ServiceName + "/" + m.MethodName
		join := m.MethodName == "Join" || m.MethodName == "Leave"
		if p.Allows(full, pki.RoleDataplane) != join {
			t.Errorf("%s for a data plane: %v", full, !join)
		}
		if changes := []string{"Join", "Leave", "DrainNode", "BulkSync"}; slices.Contains(changes, m.MethodName) == p.Allows(full, pki.RoleViewer) {
			t.Errorf("%s for a viewer: %v", full, p.Allows(full, pki.RoleViewer))
		}
	}
}
