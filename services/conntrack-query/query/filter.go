package query

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	conntrackv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/conntrack/v1"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
)

// Bounds of a filter.
const (
	maxFilterLen   = 2048 // bytes
	maxComparisons = 16
)

// Filter is a conjunction of comparisons, the subset of AIP-160 that ListSessions documents:
//
//	filter     = [ comparison { "AND" comparison } ]
//	comparison = field op value
//	op         = "=" | "!=" | "<" | "<=" | ">" | ">="     (the last four for idle and ports)
//	value      = word of letters, digits and . _ : / - , or a string in double quotes
type Filter struct {
	conds []cond
}

type cond struct {
	field  string
	op     string
	text   string
	prefix netip.Prefix
	number uint64
	idle   time.Duration
	proto  dpdv1.Protocol
	state  dpdv1.SessionState
}

// ParseFilter reads a filter; an empty one matches everything.
func ParseFilter(s string) (*Filter, error) {
	if len(s) > maxFilterLen {
		return nil, fmt.Errorf("the filter has more than %d bytes", maxFilterLen)
	}
	toks, err := tokens(s)
	if err != nil {
		return nil, err
	}
	f := &Filter{}
	for len(toks) > 0 {
		if len(f.conds) > 0 {
			if toks[0].quoted || toks[0].text != "AND" {
				return nil, fmt.Errorf("AND is expected instead of %q", toks[0].text)
			}
			toks = toks[1:]
		}
		if len(toks) < 3 {
			return nil, fmt.Errorf("a comparison is a field, an operator and a value")
		}
		if len(f.conds) == maxComparisons {
			return nil, fmt.Errorf("more than %d comparisons", maxComparisons)
		}
		c, err := comparison(toks[0], toks[1], toks[2])
		if err != nil {
			return nil, err
		}
		f.conds = append(f.conds, c)
		toks = toks[3:]
	}
	return f, nil
}

// Empty says whether everything matches.
func (f *Filter) Empty() bool { return len(f.conds) == 0 }

// Named says whether it asks for virtual services or real servers by their names.
func (f *Filter) Named() bool {
	return slices.ContainsFunc(f.conds, func(c cond) bool { return c.field == "virtual_service" || c.field == "real_server" })
}

type token struct {
	text   string
	op     bool
	quoted bool
}

func tokens(s string) ([]token, error) {
	var out []token
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			i++
		case c == '"':
			end := strings.IndexByte(s[i+1:], '"')
			if end < 0 {
				return nil, fmt.Errorf("a string is not closed")
			}
			out = append(out, token{text: s[i+1 : i+1+end], quoted: true})
			i += end + 2
		case strings.IndexByte("=!<>", c) >= 0:
			n := 1
			if i+1 < len(s) && s[i+1] == '=' && c != '=' {
				n = 2
			}
			if s[i:i+n] == "!" {
				return nil, fmt.Errorf("operator %q is not known", "!")
			}
			out = append(out, token{text: s[i : i+n], op: true})
			i += n
		case wordByte(c):
			j := i
			for j < len(s) && wordByte(s[j]) {
				j++
			}
			out = append(out, token{text: s[i:j]})
			i = j
		default:
			return nil, fmt.Errorf("character %q is not expected", rune(c))
		}
	}
	return out, nil
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:/-", c) >= 0
}

func comparison(field, op, value token) (cond, error) {
	if field.op || field.quoted || !op.op || value.op {
		return cond{}, fmt.Errorf("%q %q %q is no comparison", field.text, op.text, value.text)
	}
	c := cond{field: field.text, op: op.text, text: value.text}
	ordered := false
	var err error
	switch c.field {
	case "protocol":
		c.proto, err = enum(c.text, "PROTOCOL_", dpdv1.Protocol_value, dpdv1.Protocol(0))
	case "state":
		c.state, err = enum(c.text, "SESSION_STATE_", dpdv1.SessionState_value, dpdv1.SessionState(0))
	case "client.address", "vip.address", "laddr.address", "server.address":
		c.prefix, err = prefix(c.text)
	case "client.port", "vip.port", "laddr.port", "server.port":
		ordered = true
		c.number, err = strconv.ParseUint(c.text, 10, 16)
	case "owner":
		c.text = withPrefix(c.text, "nodes/")
	case "virtual_service":
		c.text = withPrefix(c.text, "virtualServices/")
	case "real_server":
		if !strings.HasPrefix(c.text, "virtualServices/") {
			err = fmt.Errorf("want virtualServices/SERVICE/realServers/SERVER")
		}
	case "idle":
		ordered = true
		if c.idle, err = time.ParseDuration(c.text); err == nil && c.idle < 0 {
			err = fmt.Errorf("is negative")
		}
	default:
		return cond{}, fmt.Errorf("field %q is not known", c.field)
	}
	if err != nil {
		return cond{}, fmt.Errorf("%s: value %q: %w", c.field, c.text, err)
	}
	if !ordered && c.op != "=" && c.op != "!=" {
		return cond{}, fmt.Errorf("%s: operator %q does not apply", c.field, c.op)
	}
	return c, nil
}

func enum[E ~int32](text, lead string, values map[string]int32, none E) (E, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, lead) {
		name = lead + name
	}
	v, ok := values[name]
	if !ok || E(v) == none {
		return none, fmt.Errorf("is not known")
	}
	return E(v), nil
}

func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("is no address and no prefix")
	}
	return p.Masked(), nil
}

func withPrefix(s, lead string) string {
	if strings.HasPrefix(s, lead) {
		return s
	}
	return lead + s
}

// Match says whether a merged session fulfils every comparison.
func (f *Filter) Match(s *conntrackv1.Session) bool {
	for i := range f.conds {
		if !f.conds[i].match(s) {
			return false
		}
	}
	return true
}

func (c *cond) match(s *conntrackv1.Session) bool {
	end := map[string]*dpdv1.Endpoint{"client": s.GetClient(), "vip": s.GetVip(), "laddr": s.GetLaddr(), "server": s.GetServer()}
	name, part, _ := strings.Cut(c.field, ".")
	switch part {
	case "address":
		a, err := netip.ParseAddr(end[name].GetAddress())
		return c.equal(err == nil && c.prefix.Contains(a))
	case "port":
		return c.order(uint64(end[name].GetPort()), c.number)
	}
	switch c.field {
	case "protocol":
		return c.equal(s.GetProtocol() == c.proto)
	case "state":
		return c.equal(s.GetState() == c.state)
	case "owner":
		return c.equal(s.GetOwner() == c.text)
	case "virtual_service":
		return c.equal(s.GetVirtualService() == c.text)
	case "real_server":
		return c.equal(s.GetRealServer() == c.text)
	case "idle":
		return c.order(uint64(s.GetIdle().AsDuration()), uint64(c.idle))
	}
	return false
}

func (c *cond) equal(same bool) bool { return same == (c.op == "=") }

func (c *cond) order(a, b uint64) bool {
	switch c.op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

// Names resolves resource names to the ids that data planes use.
type Names interface {
	ServiceID(name string) (uint32, bool)
	ServerID(name string) (uint32, bool)
	NodeID(name string) (uint32, bool)
}

// Tuple is the part of the filter that a data plane can apply before sessions are merged: what is the same on every node
// for the life of a session. The rest has to look at the merged session, since a replica may be behind its owner.
func (f *Filter) Tuple() *dpdv1.SessionFilter {
	out := &dpdv1.SessionFilter{}
	for i := range f.conds {
		f.conds[i].pushTuple(out)
	}
	return out
}

// pushTuple narrows out by the comparison where it can, and says whether that says all of it.
func (c *cond) pushTuple(out *dpdv1.SessionFilter) bool {
	if c.op != "=" {
		return false
	}
	address := map[string]*string{
		"client.address": &out.ClientPrefix, "vip.address": &out.VipPrefix,
		"laddr.address": &out.LaddrPrefix, "server.address": &out.ServerPrefix,
	}
	port := map[string]*uint32{
		"client.port": &out.ClientPort, "vip.port": &out.VipPort, "laddr.port": &out.LaddrPort, "server.port": &out.ServerPort,
	}
	switch {
	case c.field == "protocol" && len(out.Protocols) == 0:
		out.Protocols = []dpdv1.Protocol{c.proto}
	case address[c.field] != nil && *address[c.field] == "":
		*address[c.field] = c.prefix.String()
	case port[c.field] != nil && *port[c.field] == 0 && c.number != 0:
		*port[c.field] = uint32(c.number)
	default:
		return false
	}
	return true
}

// Exact is the whole filter in the data plane's own words, for calls that act on what matches there. It fails where the
// words are missing, and for names that do not exist.
func (f *Filter) Exact(names Names) (*dpdv1.SessionFilter, error) {
	out := &dpdv1.SessionFilter{}
	for i := range f.conds {
		c := &f.conds[i]
		if c.pushTuple(out) {
			continue
		}
		var err error
		switch {
		case c.field == "state" && c.op == "=" && len(out.States) == 0:
			out.States = []dpdv1.SessionState{c.state}
		case c.field == "owner" && c.op == "=" && len(out.OwnerIds) == 0:
			out.OwnerIds, err = resolve(c.text, names.NodeID)
		case c.field == "virtual_service" && c.op == "=" && len(out.ServiceIds) == 0:
			out.ServiceIds, err = resolve(c.text, names.ServiceID)
		case c.field == "real_server" && c.op == "=" && len(out.ServerIds) == 0:
			out.ServerIds, err = resolve(c.text, names.ServerID)
		case c.field == "idle" && c.op == ">=" && out.MinIdleMs == 0 && c.idle.Milliseconds() <= 1<<32-1:
			out.MinIdleMs = uint32(c.idle.Milliseconds())
		default:
			err = fmt.Errorf("%s %s can't be used here, or not twice", c.field, c.op)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func resolve(name string, find func(string) (uint32, bool)) ([]uint32, error) {
	id, ok := find(name)
	if !ok {
		return nil, fmt.Errorf("%s does not exist", name)
	}
	return []uint32{id}, nil
}
