package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
	"github.com/holdfast-lb/holdfast/proto/gen/openapi"
	"github.com/holdfast-lb/holdfast/services/kit/natsd"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// fake answers "METHOD /path?query" with canned bodies, and notes what it got.
type fake struct {
	answers map[string]string
	got     []string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.RequestURI()
	f.got = append(f.got, strings.TrimSpace(key+" "+string(body)))
	if r.Header.Get("Authorization") != "Bearer sesame" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":16,"message":"who are you","details":[{"reason":"NO_IDENTITY"}]}`)
		return
	}
	answer, ok := f.answers[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":5,"message":"not found"}`)
		return
	}
	fmt.Fprint(w, answer)
}

func runCommand(t *testing.T, f *fake, args ...string) (string, error) {
	t.Helper()
	s := httptest.NewServer(f)
	defer s.Close()
	var out bytes.Buffer
	cmd := command(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"--server", s.URL, "--token", "sesame"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCommandsAskWhatTheAPIOffersAndShowTheAnswer(t *testing.T) {
	for _, tc := range []struct {
		name    string
		args    string
		answers map[string]string
		got     []string
		want    string
	}{
		{
			"list in pages", "get services",
			map[string]string{
				"GET /v1/virtualServices?page_size=1000":              `{"virtualServices":[{"name":"virtualServices/a","uid":2,"vip":"198.51.100.10","port":80,"protocol":"PROTOCOL_TCP","algorithm":"ALGORITHM_RR"}],"nextPageToken":"x"}`,
				"GET /v1/virtualServices?page_size=1000&page_token=x": `{"virtualServices":[{"name":"virtualServices/b\u001b[2J"}],"nextPageToken":""}`,
			}, nil,
			"NAME               UID  VIP            PORT  PROTOCOL  ALGORITHM\nvirtualServices/a  2    198.51.100.10  80    TCP       RR\nvirtualServices/b [2J  -  -  -  -  -\n",
		},
		{
			"one of a parent", "get server web/a -o json", map[string]string{"GET /v1/virtualServices/web/realServers/a": `{"uid":12345678901234567890}`}, nil,
			"{\n  \"uid\": 12345678901234567890\n}\n",
		},
		{
			"sessions with a filter and a node that is missing", "get sessions --limit 1 --filter port=80",
			map[string]string{"GET /v1/sessions?filter=port%3D80&page_size=1000": `{"sessions":[{"protocol":"PROTOCOL_UDP","client":{"address":"2001:db8::1","port":5},"vip":{"address":"192.0.2.1","port":80},"replicas":["nodes/a","nodes/b"]},{}],"nodeErrors":[{"node":"nodes/c","message":"too late"}],"nextPageToken":"more"}`},
			nil,
			"PROTOCOL  CLIENT           VIP           LADDR  SERVER  STATE  OWNER  TERM  IDLE  REPLICAS\nUDP       [2001:db8::1]:5  192.0.2.1:80  -      -       -      -      -     -     nodes/a,nodes/b\nmissing: nodes/c: too late\n",
		},
		{
			"create", "create server web/a address=10.0.0.1 port=80 weight=0", map[string]string{"POST /v1/virtualServices/web/realServers?real_server_id=a": `{"name":"n","weight":0}`},
			[]string{`POST /v1/virtualServices/web/realServers?real_server_id=a {"address":"10.0.0.1","port":80,"weight":0}`},
			"NAME  UID  ADDRESS  PORT  WEIGHT  ADMIN  HEALTH\nn     -    -        -     0       -      -\n",
		},
		{
			"update by force", "update pool p prefixes=10.0.0.0/30,10.0.1.0/30 --force -o yaml", map[string]string{"PATCH /v1/addressPools/p?force=true": `{"blockSize":4}`},
			[]string{`PATCH /v1/addressPools/p?force=true {"prefixes":["10.0.0.0/30","10.0.1.0/30"]}`},
			"---\nblockSize: 4\n",
		},
		{"delete", "delete check web", map[string]string{"DELETE /v1/healthChecks/web": `{}`}, []string{"DELETE /v1/healthChecks/web"}, ""},
		{"drain", "drain lb-a -o json", map[string]string{"POST /v1/nodes/lb-a:drain": `{"name":"operations/1"}`}, []string{`POST /v1/nodes/lb-a:drain {"force":false}`}, "{\n  \"name\": \"operations/1\"\n}\n"},
		{
			"count", "count --by owner", map[string]string{"GET /v1/sessions:count?group_by=GROUP_BY_OWNER": `{"groups":[{"key":"nodes/a","count":"3"}],"total":"3"}`}, nil,
			"KEY      SESSIONS\nnodes/a  3\ntotal 3\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{answers: tc.answers}
			out, err := runCommand(t, f, strings.Fields(tc.args)...)
			if err != nil || out != tc.want {
				t.Errorf("%v\n%q, want\n%q", err, out, tc.want)
			}
			if tc.got != nil && !reflect.DeepEqual(f.got, tc.got) {
				t.Errorf("the gateway got %q", f.got)
			}
		})
	}
}

func TestWatchShowsEachMessageAndEndsWithTheStreamsError(t *testing.T) {
	f := &fake{answers: map[string]string{"GET /v1/membership:watch": `{"result":{"kind":"WATCH_KIND_BOOKMARK","nodes":[{"name":"nodes/a","state":"NODE_STATE_ADMITTED"}]}}
{"result":{"nodes":[{"name":"nodes/a","state":"NODE_STATE_REMOVED"}]}}
{"error":{"code":8,"message":"too slow","details":[{"reason":"SLOW_READER"}]}}
`}}
	out, err := runCommand(t, f, "watch", "nodes")
	if err == nil || err.Error() != "too slow (SLOW_READER)" || strings.Count(out, "NAME") != 1 || !strings.Contains(out, "ADMITTED") || !strings.Contains(out, "REMOVED") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := runCommand(t, &fake{answers: map[string]string{"GET /v1/rollout:watch": ""}}, "watch", "rollout"); err == nil {
		t.Error("a stream that ends is no error")
	}
}

func TestMistakesAreToldBeforeAnythingIsSent(t *testing.T) {
	for _, args := range []string{
		"get things", "get server a", "get rollout x", "create node a", "create server a x=1", "create service a x", "create service a x=1 x=2",
		"create service a x=", "create service a =1", "create service a x={", "create service a a=1 a.b=2", "update service a", "watch services", "get services -o xml", "events things",
	} {
		f := &fake{}
		if out, err := runCommand(t, f, strings.Fields(args)...); err == nil || len(f.got) != 0 {
			t.Errorf("%s: %v, sent %q, %s", args, err, f.got, out)
		}
	}
}

func TestErrorsNameReasonAndFields(t *testing.T) {
	var m map[string]any
	if err := json.Unmarshal([]byte(`{"message":"bad","details":[{"reason":"BAD_REQUEST"},{"fieldViolations":[{"field":"a.b","description":"is wrong"}]},7,null]}`), &m); err != nil {
		t.Fatal(err)
	}
	if got, want := statusError(m).Error(), "bad (BAD_REQUEST)\n  a.b is wrong"; got != want {
		t.Errorf("%q", got)
	}
	var out bytes.Buffer
	s := httptest.NewServer(&fake{})
	defer s.Close()
	cmd := command(&out)
	cmd.SetArgs([]string{"--server", s.URL, "--token", "wrong", "get", "nodes"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || err.Error() != "who are you (NO_IDENTITY)" {
		t.Errorf("%v", err)
	}
}

func TestTokenComesFromFlagThenFileThenEnvironment(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	roles := file("roles", "# role name token\nadmin a sesame # comment\nviewer b other\n")
	plain := file("plain", "sesame\n")
	none := file("none", "# nothing\n")
	try := func(env map[string]string, args ...string) error {
		for _, k := range []string{"HOLDFAST_TOKEN", "HOLDFAST_TOKEN_FILE"} {
			t.Setenv(k, env[k])
		}
		s := httptest.NewServer(&fake{answers: map[string]string{"GET /v1/rollout": `{}`}})
		defer s.Close()
		cmd := command(io.Discard)
		cmd.SetArgs(append([]string{"--server", s.URL, "get", "rollout"}, args...))
		return cmd.ExecuteContext(t.Context())
	}
	for i, ok := range []error{
		try(nil, "--token", "sesame"),
		try(nil, "--token-file", roles),
		try(nil, "--token-file", plain),
		try(map[string]string{"HOLDFAST_TOKEN": "sesame"}),
		try(map[string]string{"HOLDFAST_TOKEN_FILE": roles}),
		try(map[string]string{"HOLDFAST_TOKEN": "wrong", "HOLDFAST_TOKEN_FILE": none}, "--token", "sesame"),
		try(map[string]string{"HOLDFAST_TOKEN": "wrong"}, "--token-file", plain),
	} {
		if ok != nil {
			t.Errorf("try %d: %v", i, ok)
		}
	}
	for i, bad := range []error{try(nil), try(nil, "--token-file", none), try(nil, "--token-file", plain+".none"), try(nil, "--server", "ftp://x"), try(nil, "--ca", plain), try(nil, "--ca", plain, "--cert", plain, "--key", plain)} {
		if bad == nil {
			t.Errorf("bad try %d passed", i)
		}
	}
}

func TestEventsAreOneLineEachAndNeverBreak(t *testing.T) {
	b, err := proto.Marshal(&eventv1.NodeEvent{Node: "lb-a", Kind: eventv1.NodeEventKind_NODE_EVENT_KIND_REMOVED})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Subject string
		Event   struct{ Node, Kind string }
		Bytes   int
	}
	if err := json.Unmarshal([]byte(eventLine("holdfast.v1.node.lb-a.removed", b)), &got); err != nil || got.Event.Node != "lb-a" || got.Event.Kind != "NODE_EVENT_KIND_REMOVED" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, subject := range []string{"holdfast.v1.node.a.b", "holdfast.v1.other.a", "x\"y"} {
		line := eventLine(subject, []byte{0xff})
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Bytes != 1 || strings.Contains(line, "\n") {
			t.Errorf("%s: %s, %v", subject, line, err)
		}
	}
}

// TestEveryPathIsInTheOpenAPIDocument keeps the table of resources honest.
func TestEveryPathIsInTheOpenAPIDocument(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(openapi.JSON, &doc); err != nil {
		t.Fatal(err)
	}
	has := func(path, method string) {
		t.Helper()
		if doc.Paths[path][method] == nil {
			t.Errorf("the API has no %s %s", method, path)
		}
	}
	for _, r := range resources {
		path := r.list
		if strings.Contains(path, "%s") {
			path = "/v1/{parent}/realServers"
		}
		has(path, "get")
		if r.idParam != "" {
			has(path, "post")
			found := false
			for _, p := range doc.Paths[path]["post"].(map[string]any)["parameters"].([]any) {
				found = found || camel(r.idParam) == fmt.Sprint(p.(map[string]any)["name"])
			}
			if !found {
				t.Errorf("POST %s has no parameter %s", path, r.idParam)
			}
		}
		if r.watch != "" {
			has(r.watch, "get")
		}
	}
	has("/v1/sessions:count", "get")
}

func camel(snake string) string {
	parts := strings.Split(snake, "_")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
	}
	return strings.Join(parts, "")
}

func TestEventsAreFollowedWithAViewersCertificate(t *testing.T) {
	ca, err := pki.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f, err := ca.IssueTo(t.TempDir(), pki.Identity{Role: pki.RoleViewer, Name: "eve"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.RoleService, Name: "bus"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	creds, err := pki.New(ca.CertPEM(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	bus, err := natsd.Start(natsd.Config{Dir: t.TempDir(), TLS: creds.Server()})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := command(in)
	cmd.SetArgs([]string{"events", "node", "--nats", bus.EventsURL(), "--ca", f.CA, "--cert", f.Cert, "--key", f.Key})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	nc, err := nats.Connect(bus.URL(), nats.Secure(creds.Client(pki.RoleService)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, err := proto.Marshal(&eventv1.NodeEvent{Node: "lb-a"})
	if err != nil {
		t.Fatal(err)
	}
	// The subscription comes at its own time: events are sent until one is seen.
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = nc.Publish("holdfast.v1.node.lb-a.removed", b)
			}
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	close(stop)
	if err != nil || !strings.Contains(line, "lb-a") {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	out.Close()
	if err := <-done; err == nil {
		t.Error("it ended without a reason")
	}
}
