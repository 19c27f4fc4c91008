package topo

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// link is a veth pair: one end in namespace a, the other in b or, when bridge is set, a port of that bridge in b.
type link struct {
	a, devA    string
	b, devB    string
	bridge     string
	addressesA []netip.Prefix
	addressesB []netip.Prefix
}

func both(n, h int) []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(V4(n, h), 24), netip.PrefixFrom(V6(n, h), 64)}
}

func links(nodes int) []link {
	list := []link{
		{a: Client, devA: "eth0", b: Router, devB: "client0", addressesA: both(NetClient, hostClient), addressesB: both(NetClient, hostRouter)},
		{a: RS1, devA: "eth0", b: Router, devB: "rs1", bridge: "lan-rs", addressesA: both(NetRS, 11)},
		{a: RS2, devA: "eth0", b: Router, devB: "rs2", bridge: "lan-rs", addressesA: both(NetRS, 12)},
		{a: Router, devA: MgmtDevice, b: Mgmt, devB: "router", bridge: "mgmt", addressesA: both(NetMgmt, hostBGP)},
		{a: "", devA: HostLink, b: Mgmt, devB: "host", bridge: "mgmt", addressesA: both(NetMgmt, hostHost)},
	}
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprintf("lb%d", i)
		list = append(list,
			link{a: LB(i), devA: DataDevice, b: Router, devB: name, bridge: "lan-lb"},
			link{a: LB(i), devA: MgmtDevice, b: Mgmt, devB: name, bridge: "mgmt", addressesA: both(NetMgmt, LBHost(i))})
	}
	return list
}

// sysctls by namespace. The router spreads flows by their ports, not by addresses alone; nobody's kernel sends redirects,
// since sync datagrams enter and leave the router by one interface.
func sysctls(nodes int) map[string][]string {
	routing := []string{
		"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1",
		"net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
		"net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0",
	}
	m := map[string][]string{Router: routing}
	for _, ns := range Namespaces(nodes) {
		m[ns] = append(m[ns], "net.ipv6.conf.default.accept_ra=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
	}
	return m
}

// Build makes namespaces, links, addresses and routes. The data devices of nodes belong to dpd alone: their kernel side
// has no address and answers no ARP.
func Build(nodes int) error {
	for _, ns := range Namespaces(nodes) {
		if err := ip("", "netns add "+ns); err != nil {
			return err
		}
	}
	for ns, settings := range sysctls(nodes) {
		if err := setSysctls(ns, settings); err != nil {
			return err
		}
	}
	perNS := map[string][]string{}
	add := func(ns, format string, args ...any) { perNS[ns] = append(perNS[ns], fmt.Sprintf(format, args...)) }
	for _, ns := range Namespaces(nodes) {
		add(ns, "link set lo up")
	}
	for _, bridge := range []struct {
		ns, name string
		addrs    []netip.Prefix
	}{{Router, "lan-lb", both(NetLB, hostRouter)}, {Router, "lan-rs", both(NetRS, hostRouter)}, {Mgmt, "mgmt", both(NetMgmt, hostMesh)}} {
		add(bridge.ns, "link add %s type bridge mcast_snooping 0 forward_delay 0", bridge.name)
		add(bridge.ns, "link set %s up", bridge.name)
		for _, a := range bridge.addrs {
			add(bridge.ns, "addr add %v dev %s%s", a, bridge.name, nodad(a))
		}
	}
	var make []string
	for _, l := range links(nodes) {
		make = append(make, strings.TrimSpace(fmt.Sprintf("link add %s %s type veth peer name %s netns %s", l.devA, inNS(l.a), l.devB, l.b)))
		add(l.b, "link set %s up", l.devB)
		if l.bridge != "" {
			add(l.b, "link set %s master %s", l.devB, l.bridge)
		}
		for _, a := range l.addressesB {
			add(l.b, "addr add %v dev %s%s", a, l.devB, nodad(a))
		}
		if l.devA == DataDevice {
			add(l.a, "link set %s arp off addrgenmode none", l.devA)
		}
		add(l.a, "link set %s up", l.devA)
		for _, a := range l.addressesA {
			add(l.a, "addr add %v dev %s%s", a, l.devA, nodad(a))
		}
	}
	for _, d := range []struct {
		ns  string
		net int
	}{{Client, NetClient}, {RS1, NetRS}, {RS2, NetRS}} {
		v4, v6 := RouterOn(d.net)
		add(d.ns, "route add default via %v", v4)
		add(d.ns, "route add default via %v", v6)
	}
	// Health checks come from the management network and reach the real servers through the router.
	add(Mgmt, "route add 198.18.%d.0/24 via %v", NetRS, V4(NetMgmt, hostBGP))
	add(Mgmt, "route add %v via %v", netip.PrefixFrom(V6(NetRS, 0), 64), V6(NetMgmt, hostBGP))
	if err := ip("", make...); err != nil {
		return err
	}
	for ns, commands := range perNS {
		if err := ip(ns, commands...); err != nil {
			return err
		}
	}
	return offloads(nodes)
}

// offloads switches off what a kernel leaves to the next device: the next one is DPDK, which would see half-made checksums
// and segments of 64 KiB.
func offloads(nodes int) error {
	for _, l := range links(nodes) {
		if l.a == "" || l.devA == MgmtDevice {
			continue
		}
		for _, end := range [][2]string{{l.a, l.devA}, {l.b, l.devB}} {
			if err := run("ip", "netns", "exec", end[0], "ethtool", "-K", end[1], "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove takes away every namespace of the lab, and the host's link. What is already gone is no error.
func Remove() error {
	var failed []string
	for _, ns := range Existing() {
		if err := ip("", "netns del "+ns); err != nil {
			failed = append(failed, err.Error())
		}
	}
	// The link went with hf-mgmt, unless a crash left it between two steps of Build.
	if _, err := os.Stat("/sys/class/net/" + HostLink); err == nil {
		_ = run("ip", "link", "del", HostLink) // the kernel may be just about to remove it
	}
	if len(failed) > 0 {
		return fmt.Errorf("remove: %s", strings.Join(failed, "; "))
	}
	return nil
}

// Existing lists the lab's namespaces that are there.
func Existing() []string {
	var list []string
	for _, ns := range Namespaces(MaxNodes) {
		if _, err := os.Stat(filepath.Join("/run/netns", ns)); err == nil {
			list = append(list, ns)
		}
	}
	return list
}

func inNS(ns string) string {
	if ns == "" {
		return ""
	}
	return "netns " + ns
}

func nodad(p netip.Prefix) string {
	if p.Addr().Is6() {
		return " nodad"
	}
	return ""
}

// ip runs commands in one batch.
func ip(ns string, commands ...string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip in %q: %w: %s", ns, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

func setSysctls(ns string, settings []string) error {
	return run("ip", append([]string{"netns", "exec", ns, "sysctl", "-q", "-w"}, settings...)...)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
