package mocked

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/mesh/mesh"
)

// bed is a control plane that can be stopped and started, and the mocks that it drives.
type bed struct {
	t      *testing.T
	ctrl   *gomock.Controller
	dir    string
	cfg    mesh.Config
	mesh   *mesh.Mesh
	stop   func()
	ca     *pki.CA
	planes []*plane
}

// seed is the desired state that every test begins with: sync addresses, and three blocks of one address.
const seed = `
addressPools:
  laddr4: {purpose: POOL_PURPOSE_LADDR, prefixes: ["10.1.0.1", "10.1.0.2", "10.1.0.3"]}
  sip4: {purpose: POOL_PURPOSE_SIP, prefixes: ["10.2.0.0/28"]}
`

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, ctrl: gomock.NewController(t), dir: t.TempDir()}
	file := filepath.Join(b.dir, "seed.yaml")
	b.must(os.WriteFile(file, []byte(seed), 0o600))
	out := io.Discard
	if testing.Verbose() {
		out = t.Output()
	}
	b.cfg = mesh.Config{
		DataDir: filepath.Join(b.dir, "mesh"), Seed: file, Listen: "127.0.0.1:0", NATSListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(out, nil)),
	}
	if *dataplaneAddrs != "" {
		b.cfg.DataDir, b.cfg.Listen, b.cfg.NATSListen = *dataDir, *meshListen, *natsListen
	}
	b.start()
	var err error
	b.ca, err = pki.OpenCA(filepath.Join(b.cfg.DataDir, "pki"), time.Now())
	b.must(err)
	return b
}

func (b *bed) start() {
	b.t.Helper()
	var err error
	b.mesh, err = mesh.New(b.cfg)
	b.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.mesh.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("mesh: %v", err)
		}
	})
	b.t.Cleanup(b.stop)
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// until polls: the other side is real servers on real sockets.
func (b *bed) until(what string, fn func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// call is a request as any program would make it.
func (b *bed) call(method, path, body string) (int, []byte) {
	b.t.Helper()
	token, err := os.ReadFile(b.mesh.TokenFile())
	b.must(err)
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.mesh.RESTURL()+path, bytes.NewReader([]byte(body)))
	b.must(err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	b.must(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	b.must(err)
	return res.StatusCode, data
}

// get reads a resource; false when it is not to be had now.
func (b *bed) get(path string, into proto.Message) bool {
	b.t.Helper()
	code, data := b.call(http.MethodGet, path, "")
	return code == http.StatusOK && protojson.Unmarshal(data, into) == nil
}

// post makes a resource; services that are not ready yet are waited for.
func (b *bed) post(path, body string) {
	b.t.Helper()
	b.until("POST "+path, func() bool {
		code, data := b.call(http.MethodPost, path, body)
		if code != http.StatusOK && code != http.StatusServiceUnavailable {
			b.t.Fatalf("POST %s: %d %s", path, code, data)
		}
		return code == http.StatusOK
	})
}

// web makes a virtual service with two servers.
func (b *bed) web() {
	b.t.Helper()
	b.post("/v1/virtualServices?virtualServiceId=web", `{"vip": "198.51.100.10", "port": 80, "protocol": "PROTOCOL_UDP"}`)
	for i := 1; i <= 2; i++ {
		b.post(fmt.Sprintf("/v1/virtualServices/web/realServers?realServerId=s%d", i), fmt.Sprintf(`{"address": "192.0.2.%d", "port": 8080}`, i))
	}
}

const (
	admitted = dpdv1.MemberState_MEMBER_STATE_ADMITTED
	absent   = dpdv1.MemberState_MEMBER_STATE_UNSPECIFIED
)

// cluster brings up named mocks until every one of them sees every one admitted.
func (b *bed) cluster(names ...string) []*plane {
	b.t.Helper()
	var planes []*plane
	for _, n := range names {
		p := b.plane(n)
		p.join()
		b.until(n+" is admitted", func() bool { return p.sees(n) == admitted })
		planes = append(planes, p)
	}
	b.until("everyone is seen by everyone", func() bool {
		for _, p := range planes {
			for _, n := range names {
				if p.sees(n) != admitted {
					return false
				}
			}
		}
		return true
	})
	return planes
}
