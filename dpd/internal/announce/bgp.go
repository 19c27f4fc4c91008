package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// BGPConfig is what the speaker needs to know.
type BGPConfig struct {
	ASN         uint32
	RouterID    netip.Addr // IPv4
	NextHopV4   netip.Addr // invalid: no IPv4 routes
	NextHopV6   netip.Addr // invalid: no IPv6 routes
	Peers       []BGPPeer
	HoldSeconds int
}

// BGPPeer is one router. One session carries both families (RFC 4760), whatever family it runs over.
type BGPPeer struct {
	Address netip.Addr
	ASN     uint32
}

// BGP is a Speaker by gobgp. It opens sessions and listens on no port.
type BGP struct {
	config BGPConfig
	server *server.BgpServer
}

// NewBGP starts the speaker; sessions come up in the background and are opened again whenever they fall.
func NewBGP(config BGPConfig, log *slog.Logger) (*BGP, error) {
	if config.ASN == 0 || !config.RouterID.Is4() || len(config.Peers) == 0 {
		return nil, errors.New("announce: BGP needs an AS, an IPv4 router id and a peer")
	}
	b := &BGP{config: config, server: server.NewBgpServer(server.LoggerOption(log, nil))}
	go b.server.Serve()
	ctx := context.Background()
	err := b.server.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: config.ASN, RouterId: config.RouterID.String(), ListenPort: -1,
	}})
	if err != nil {
		return nil, fmt.Errorf("announce: start BGP: %w", err)
	}
	for _, p := range config.Peers {
		if err := b.server.AddPeer(ctx, &api.AddPeerRequest{Peer: b.peer(p)}); err != nil {
			b.server.Stop()
			return nil, fmt.Errorf("announce: add peer %v: %w", p.Address, err)
		}
	}
	return b, nil
}

func (b *BGP) peer(p BGPPeer) *api.Peer {
	family := func(afi api.Family_Afi) *api.AfiSafi {
		return &api.AfiSafi{Config: &api.AfiSafiConfig{
			Enabled: true, Family: &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST},
		}}
	}
	hold := uint64(b.config.HoldSeconds)
	return &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.ASN},
		// gobgp waits 30 s after a fallen session and 120 s between attempts unless told; a router that comes back must not
		// wait for its routes that long.
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: hold, KeepaliveInterval: max(hold/3, 1), ConnectRetry: 2, IdleHoldTimeAfterReset: 1,
		}},
		AfiSafis: []*api.AfiSafi{family(api.Family_AFI_IP), family(api.Family_AFI_IP6)},
	}
}

// path is the route in BGP's words. gobgp puts our AS in front once more when it sends to an external peer.
func (b *BGP) path(r Route) (*apiutil.Path, error) {
	nlri, err := bgp.NewIPAddrPrefix(r.Prefix)
	if err != nil {
		return nil, err
	}
	attrs := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if r.Prepend > 0 {
		own := make([]uint32, r.Prepend)
		for i := range own {
			own[i] = b.config.ASN
		}
		segment := bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, own)
		attrs = append(attrs, bgp.NewPathAttributeAsPath([]bgp.AsPathParamInterface{segment}))
	}
	family := bgp.RF_IPv4_UC
	if r.Prefix.Addr().Is4() {
		next, err := bgp.NewPathAttributeNextHop(b.config.NextHopV4)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, next)
	} else {
		family = bgp.RF_IPv6_UC
		reach, err := bgp.NewPathAttributeMpReachNLRI(family, []bgp.PathNLRI{{NLRI: nlri}}, b.config.NextHopV6)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, reach)
	}
	return &apiutil.Path{Family: family, Nlri: nlri, Attrs: attrs}, nil
}

// Announce implements Speaker.
func (b *BGP) Announce(r Route) error {
	p, err := b.path(r)
	if err != nil {
		return err
	}
	_, err = b.server.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{p}})
	return err
}

// Withdraw implements Speaker.
func (b *BGP) Withdraw(prefix netip.Prefix) error {
	p, err := b.path(Route{Prefix: prefix})
	if err != nil {
		return err
	}
	return b.server.DeletePath(apiutil.DeletePathRequest{Paths: []*apiutil.Path{p}})
}

// Peers implements Speaker.
func (b *BGP) Peers() []PeerState {
	var list []PeerState
	err := b.server.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		address, err := netip.ParseAddr(p.GetConf().GetNeighborAddress())
		if err != nil {
			return
		}
		state := p.GetState().GetSessionState()
		list = append(list, PeerState{
			Address: address, ASN: p.GetConf().GetPeerAsn(),
			State:       strings.ToLower(strings.TrimPrefix(state.String(), "SESSION_STATE_")),
			Established: state == api.PeerState_SESSION_STATE_ESTABLISHED,
		})
	})
	if err != nil {
		return nil // the server is stopping
	}
	return list
}

// Stop implements Speaker.
func (b *BGP) Stop() { b.server.Stop() }
