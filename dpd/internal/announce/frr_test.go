//go:build frr

package announce

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This test speaks to FRR's bgpd in namespaces of its own (names begin with tann-). It needs root and the package frr, so
// it has a tag: go test -tags frr -run FRR.

const (
	speakerNS, routerNS = "tann-a", "tann-r"
	speakerV4, routerV4 = "198.51.100.1", "198.51.100.2"
	speakerV6, routerV6 = "2001:db8:1::1", "2001:db8:1::2"
)

// TestMain turns the test binary into a speaker when it is told to: the speaker must be a process of its own in its own
// namespace, so that it can be killed.
func TestMain(m *testing.M) {
	if os.Getenv("TANN_SPEAKER") != "" {
		speak()
		return
	}
	os.Exit(m.Run())
}

// speak takes one set a line ("prefix/len*prepend …") and answers each with "ok".
func speak() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b, err := NewBGP(BGPConfig{
		ASN: 65001, RouterID: netip.MustParseAddr(speakerV4), HoldSeconds: 3,
		NextHopV4: netip.MustParseAddr(speakerV4), NextHopV6: netip.MustParseAddr(speakerV6),
		Peers: []BGPPeer{{netip.MustParseAddr(routerV4), 65000}},
	}, log)
	if err != nil {
		panic(err)
	}
	a := New(b, true, true, log)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var set []Route
		for _, word := range strings.Fields(in.Text()) {
			prefix, prepend, _ := strings.Cut(word, "*")
			n, _ := strconv.Atoi(prepend)
			set = append(set, Route{netip.MustParsePrefix(prefix), n})
		}
		if err := a.Set(set); err != nil {
			panic(err)
		}
		if p := a.Peers(); len(p) != 1 || p[0].ASN != 65000 {
			panic(fmt.Sprint(p))
		}
		fmt.Println("ok")
	}
	a.Stop()
}

func run(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// start runs a process until the end of the test.
func start(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func network(t *testing.T) {
	t.Helper()
	for _, ns := range []string{speakerNS, routerNS} {
		exec.Command("ip", "netns", "del", ns).Run() // of a run that was killed
		run(t, "ip netns add "+ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		run(t, "ip -n "+ns+" link set lo up")
	}
	run(t, "ip link add tann0 netns "+speakerNS+" type veth peer name tann1 netns "+routerNS)
	for _, l := range [][3]string{{speakerNS, "tann0", speakerV4 + " " + speakerV6}, {routerNS, "tann1", routerV4 + " " + routerV6}} {
		v4, v6, _ := strings.Cut(l[2], " ")
		run(t, "ip -n "+l[0]+" addr add "+v4+"/24 dev "+l[1])
		run(t, "ip -n "+l[0]+" addr add "+v6+"/64 dev "+l[1]+" nodad")
		run(t, "ip -n "+l[0]+" link set "+l[1]+" up")
	}
}

const bgpdConf = `router bgp 65000
 bgp router-id ` + routerV4 + `
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 timers bgp 1 3
 neighbor LB peer-group
 neighbor LB remote-as 65001
 bgp listen range 198.51.100.0/24 peer-group LB
 address-family ipv4 unicast
  neighbor LB activate
 exit-address-family
 address-family ipv6 unicast
  neighbor LB activate
 exit-address-family
`

func router(t *testing.T) {
	t.Helper()
	dir := filepath.Join("/run/frr", routerNS)
	run(t, "install -d -o frr -g frr /run/frr "+dir+" /etc/frr/"+routerNS)
	t.Cleanup(func() {
		os.RemoveAll(dir)
		os.RemoveAll("/etc/frr/" + routerNS)
	})
	for daemon, conf := range map[string]string{"zebra": "", "bgpd": bgpdConf} {
		path := "/etc/frr/" + routerNS + "/" + daemon + ".conf"
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, daemon := range []string{"zebra", "bgpd"} {
		cmd := exec.Command("ip", "netns", "exec", routerNS, "/usr/lib/frr/"+daemon, "-N", routerNS, "-P", "0",
			"-f", "/etc/frr/"+routerNS+"/"+daemon+".conf", "-i", dir+"/"+daemon+".pid")
		start(t, cmd)
		eventually(t, 5*time.Second, daemon+" is up", func() bool {
			_, err := os.Stat(dir + "/" + daemon + ".vty")
			return err == nil
		})
	}
}

// eventually waits for a thing outside this process; nothing signals it, so it is polled.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	from := time.Now()
	for !done() {
		if time.Since(from) > limit {
			t.Fatalf("after %v still not: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(from)
}

// kernelRoutes are the BGP routes of the router's kernel: prefix to next hop.
func kernelRoutes(t *testing.T) map[string]string {
	t.Helper()
	routes := map[string]string{}
	for _, family := range []string{"-4", "-6"} {
		for _, line := range strings.Split(run(t, "ip -n "+routerNS+" "+family+" route show proto bgp"), "\n") {
			f := strings.Fields(line)
			for i, word := range f {
				if word == "via" {
					routes[f[0]] = f[i+1]
				}
			}
		}
	}
	return routes
}

func asPath(t *testing.T, prefix string) string {
	t.Helper()
	var answer struct {
		Paths []struct {
			ASPath struct{ String string } `json:"aspath"`
		}
	}
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	out, err := exec.Command("vtysh", "-N", routerNS, "-c", "show bgp "+family+" unicast "+prefix+" json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Paths) != 1 {
		t.Fatalf("%s: %v\n%s", prefix, err, out)
	}
	return answer.Paths[0].ASPath.String
}

func TestFRRTakesRoutesAndDropsThemWithTheProcess(t *testing.T) {
	network(t)
	router(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", speakerNS, self)
	cmd.Env = append(os.Environ(), "TANN_SPEAKER=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	answers := bufio.NewScanner(out)
	set := func(line string) {
		t.Helper()
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() || answers.Text() != "ok" {
			t.Fatalf("speaker said %q", answers.Text())
		}
	}
	want := func(what string, limit time.Duration, routes map[string]string) {
		t.Helper()
		took := eventually(t, limit, fmt.Sprintf("%s: %v", what, routes), func() bool { return reflect.DeepEqual(kernelRoutes(t), routes) })
		t.Logf("%s: %v", what, took)
	}
	vip, laddr, sip := "203.0.113.80", "203.0.113.1", "203.0.113.2"
	vip6, laddr6 := "2001:db8:f::80", "2001:db8:a::1"

	set(vip + "/32 " + laddr + "/32*3 " + vip6 + "/128 " + laddr6 + "/128*3")
	want("routes of both families", 20*time.Second, map[string]string{vip: speakerV4, laddr: speakerV4, vip6: speakerV6, laddr6: speakerV6})
	for prefix, path := range map[string]string{
		vip + "/32": "65001", laddr + "/32": "65001 65001 65001 65001", vip6 + "/128": "65001", laddr6 + "/128": "65001 65001 65001 65001",
	} {
		if got := asPath(t, prefix); got != path {
			t.Errorf("%s has the AS path %q, want %q", prefix, got, path)
		}
	}

	set(sip + "/32 " + laddr + "/32 " + laddr6 + "/128*1")
	want("a difference", 5*time.Second, map[string]string{sip: speakerV4, laddr: speakerV4, laddr6: speakerV6})
	for prefix, path := range map[string]string{laddr + "/32": "65001", laddr6 + "/128": "65001 65001"} {
		eventually(t, 5*time.Second, prefix+" has "+path, func() bool { return asPath(t, prefix) == path })
	}

	set("")
	want("an empty set", 5*time.Second, map[string]string{})
	set(vip + "/32 " + vip6 + "/128")
	want("routes again", 5*time.Second, map[string]string{vip: speakerV4, vip6: speakerV6})

	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want("after kill -9", 2*time.Second, map[string]string{})
}
