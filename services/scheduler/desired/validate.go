package desired

import (
	"net/netip"
	"regexp"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// maxTimeout is the longest session timeout, 30 days in seconds.
const maxTimeout = 30 * 24 * 3600

// maxRequestID bounds a request id, in bytes.
const maxRequestID = 64

var idPattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

func validateID(v *apierr.Violations, path, id string) {
	if !idPattern.MatchString(id) {
		v.Add(path, "must be 1 to 63 of a-z, 0-9 and '-', begin with a letter and not end with '-'")
	}
}

func validateRequestID(v *apierr.Violations, id string) {
	if len(id) > maxRequestID {
		v.Add("request_id", "has more than %d characters", maxRequestID)
	}
}

// validateAddress refuses what no service, server or pool can use.
func validateAddress(v *apierr.Violations, path string, a netip.Addr) {
	switch {
	case !a.IsValid():
		v.Add(path, "is not an IPv4 or IPv6 address")
	case a.Zone() != "":
		v.Add(path, "%v has a zone", a)
	case a.Is4In6():
		v.Add(path, "%v is an IPv4 address in IPv6 form", a)
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		v.Add(path, "%v is not a unicast address that can be routed", a)
	}
}

func validatePort(v *apierr.Violations, path string, port uint16) {
	if port == 0 {
		v.Add(path, "is not 1 to 65535")
	}
}

func (s *ServiceSpec) validate(v *apierr.Violations) {
	validateAddress(v, "virtual_service.vip", s.VIP)
	validatePort(v, "virtual_service.port", s.Port)
	if s.Protocol != TCP && s.Protocol != UDP {
		v.Add("virtual_service.protocol", "is neither PROTOCOL_TCP nor PROTOCOL_UDP")
	}
	if s.Mode != FullNAT {
		v.Add("virtual_service.mode", "is not FORWARDING_MODE_FULLNAT")
	}
	switch s.Algorithm {
	case RR, WRR, WLC:
	default:
		v.Add("virtual_service.algorithm", "is not one of ALGORITHM_RR, ALGORITHM_WRR, ALGORITHM_WLC")
	}
	switch {
	case s.Expire != Silent && s.Expire != RST:
		v.Add("virtual_service.expire", "is not one of EXPIRE_ACTION_SILENT, EXPIRE_ACTION_RST")
	case s.Expire == RST && s.Protocol != TCP:
		v.Add("virtual_service.expire", "is EXPIRE_ACTION_RST, which only PROTOCOL_TCP has")
	}
	for _, t := range []struct {
		name string
		s    uint32
	}{
		{"tcp_syn_recv", s.Timeouts.TCPSynRecv}, {"tcp_established", s.Timeouts.TCPEstablished},
		{"tcp_fin_wait", s.Timeouts.TCPFinWait}, {"tcp_close_wait", s.Timeouts.TCPCloseWait},
		{"tcp_time_wait", s.Timeouts.TCPTimeWait}, {"tcp_close", s.Timeouts.TCPClose},
		{"tcp_last_ack", s.Timeouts.TCPLastAck}, {"udp", s.Timeouts.UDP},
	} {
		if t.s > maxTimeout {
			v.Add("virtual_service.timeouts."+t.name, "is longer than 30 days")
		}
	}
}

func (s *ServerSpec) validate(v *apierr.Violations, of *Service) {
	validateAddress(v, "real_server.address", s.Address)
	validatePort(v, "real_server.port", s.Port)
	if s.Address.IsValid() && of != nil && s.Address.Is4() != of.Spec.VIP.Is4() {
		v.Add("real_server.address", "is of another address family than the service's VIP")
	}
	if s.Admin != Enabled && s.Admin != Draining {
		v.Add("real_server.admin_state", "is neither ADMIN_STATE_ENABLED nor ADMIN_STATE_DRAINING")
	}
}
