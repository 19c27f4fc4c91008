// Package internal holds no code. Its test states which package may not depend on which, and why.
package internal

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/holdfast-lb/holdfast/"

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// graph is every package of the module and what it needs, built with DPDK so that no file is left out.
func graph(t *testing.T) map[string]*pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-tags", "dpdk", "-json=ImportPath,Standard,Imports", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	g := map[string]*pkg{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return g
		} else if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p
	}
}

// under says that path lies in the tree "a/..." or is the package "a". Names are relative to the module.
func under(path, pattern string) bool {
	rel, ours := strings.CutPrefix(path, module)
	if !ours {
		rel = path
	}
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return rel == tree || strings.HasPrefix(rel, tree+"/")
	}
	return rel == pattern
}

func anyUnder(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return under(path, p) })
}

// why returns the chain of imports by which from needs a package that bad holds for, or nil.
func why(g map[string]*pkg, from string, bad func(string) bool) []string {
	parent, queue := map[string]string{from: ""}, []string{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if at != from && bad(at) {
			var chain []string
			for p := at; p != ""; p = parent[p] {
				chain = append([]string{strings.TrimPrefix(p, module)}, chain...)
			}
			return chain
		}
		if g[at] == nil || g[at].Standard {
			continue
		}
		for _, next := range g[at].Imports {
			if _, seen := parent[next]; !seen {
				parent[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

var core = []string{
	"dpd/internal/packet", "dpd/internal/checksum", "dpd/internal/flow", "dpd/internal/conntrack/...", "dpd/internal/ended", "dpd/internal/expiry",
	"dpd/internal/steer", "dpd/internal/nat", "dpd/internal/sched", "dpd/internal/syncwire", "dpd/internal/syncseal",
	"dpd/internal/syncer", "dpd/internal/localport", "dpd/internal/neigh", "dpd/internal/worker", "dpd/internal/ring",
	"dpd/internal/port", "dpd/internal/clock", "dpd/internal/contain",
}

func TestBans(t *testing.T) {
	g := graph(t)
	own := func(path string) bool { return strings.HasPrefix(path, module) }
	std := func(path string) bool { return g[path] != nil && g[path].Standard || path == "C" || path == "unsafe" }
	for _, ban := range []struct {
		from   []string
		not    func(string) bool
		reason string
	}{
		{
			from:   []string{"dpd/internal/packet", "dpd/internal/checksum", "dpd/internal/flow", "dpd/internal/expiry", "dpd/internal/clock", "dpd/internal/syncwire"},
			not:    func(p string) bool { return !std(p) },
			reason: "it is the bottom of the core: the standard library alone",
		},
		{
			from: []string{"dpd/internal/packet", "dpd/internal/checksum", "dpd/internal/flow", "dpd/internal/expiry", "dpd/internal/clock", "dpd/internal/syncwire"},
			not: func(p string) bool {
				return p == "log" || p == "log/slog" || p == "net/http" || p == "os/exec"
			},
			reason: "no clock, log or network below the worker",
		},
		{
			from: []string{"dpd/internal/conntrack"},
			not: func(p string) bool {
				return own(p) && !anyUnder(p, []string{"dpd/internal/flow", "dpd/internal/expiry", "dpd/internal/conntrack/..."})
			},
			reason: "the table knows flows and deadlines, not who fills it",
		},
		{
			from: []string{"dpd/internal/nat"},
			not: func(p string) bool {
				return own(p) && !anyUnder(p, []string{"dpd/internal/packet", "dpd/internal/checksum", "dpd/internal/flow"})
			},
			reason: "rewriting is pure: bytes and tuples in, bytes out",
		},
		{
			from:   []string{"dpd/internal/ended"},
			not:    func(p string) bool { return own(p) },
			reason: "the ended cache is a structure alone: its user says what ends and when it goes",
		},
		{
			from: []string{"dpd/internal/syncer"},
			not: func(p string) bool {
				return own(p) && !anyUnder(p, []string{"dpd/internal/syncwire", "dpd/internal/syncseal", "dpd/internal/ended", "dpd/internal/flow"})
			},
			reason: "the protocol is a machine over a Store interface; the table must not leak into it",
		},
		{
			from: core,
			not: func(p string) bool {
				return anyUnder(p, []string{"proto/...", "dpd/node/...", "dpd/internal/control/...", "dpd/internal/event/...", "dpd/internal/announce/...", "dpd/internal/config/...", "dpd/dpdtest/..."}) ||
					strings.HasPrefix(p, "google.golang.org/") || strings.HasPrefix(p, "github.com/nats-io/") || strings.HasPrefix(p, "github.com/osrg/")
			},
			reason: "the core forwards with no control plane, so it can't depend on one",
		},
		{
			from:   []string{"services/...", "gateway/..."},
			not:    func(p string) bool { return under(p, "dpd/...") },
			reason: "services and data planes meet in proto/gen",
		},
		{
			from: []string{"dpd/..."},
			not: func(p string) bool {
				return anyUnder(p, []string{"services/...", "gateway/...", "e2e/..."}) && !under(p, "services/kit/...")
			},
			reason: "the data plane does not know who steers it; kit (identities, mutual TLS) knows no domain",
		},
		{
			from:   []string{"gateway/..."},
			not:    func(p string) bool { return under(p, "services/...") && !under(p, "services/kit/...") },
			reason: "the gateway reaches services over gRPC",
		},
		{
			from: []string{"services/kit/..."},
			not: func(p string) bool {
				return anyUnder(p, []string{"services/...", "gateway/...", "proto/..."}) && !under(p, "services/kit/...")
			},
			reason: "kit knows no domain",
		},
	} {
		for path := range g {
			if !own(path) || !anyUnder(path, ban.from) {
				continue
			}
			if chain := why(g, path, ban.not); chain != nil {
				t.Errorf("%s: %s", strings.Join(chain, " -> "), ban.reason)
			}
		}
	}
	services := []string{"scheduler", "sync-coordinator", "conntrack-query", "health"}
	for path := range g {
		for _, s := range services {
			if !under(path, "services/"+s+"/...") {
				continue
			}
			for _, other := range services {
				if chain := why(g, path, func(p string) bool { return other != s && under(p, "services/"+other+"/...") }); chain != nil {
					t.Errorf("%s: services meet in proto/gen; services/mesh alone joins them", strings.Join(chain, " -> "))
				}
			}
		}
	}
}

func TestOnlyDpdkImportsDPDK(t *testing.T) {
	for path, p := range graph(t) {
		if !strings.HasPrefix(path, module) || anyUnder(path, []string{"dpd/internal/dpdk/..."}) {
			continue
		}
		for _, i := range p.Imports {
			if i == "C" || strings.HasPrefix(i, "github.com/yerden/go-dpdk") {
				t.Errorf("%s imports %s: only dpd/internal/dpdk touches C and DPDK", strings.TrimPrefix(path, module), i)
			}
		}
	}
}

// onlySizes says that a file asks unsafe for sizes and offsets and nothing else.
func onlySizes(f *ast.File) bool {
	only := true
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "unsafe" {
				only = only && slices.Contains([]string{"Sizeof", "Offsetof", "Alignof"}, s.Sel.Name)
			}
		}
		return true
	})
	return only
}

// TestUnsafeStaysInItsFiles reads the sources: build tags must not hide a file from it.
func TestUnsafeStaysInItsFiles(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		if d.IsDir() {
			if name := d.Name(); rel == "proto/gen" || rel == "dpd/godpdk" || rel == "dpd/internal/dpdk" || name == "node_modules" || (strings.HasPrefix(name, ".") && rel != ".") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_unsafe.go") || strings.HasSuffix(path, "_unsafe_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if name == "C" || name == "unsafe" && (!strings.HasSuffix(path, "_test.go") || !onlySizes(f)) {
				t.Errorf("%s imports %s: that belongs into dpd/internal/dpdk, a file named *_unsafe.go or a test of sizes", rel, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTopLevelIsThePicture(t *testing.T) {
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	folders := []string{"services", "dpd", "proto", "gateway", "e2e", "k8s", "bin"} // bin is made by make build, not committed
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(folders, e.Name()) {
			t.Errorf("%s is a top-level folder that ARCHITECTURE.md does not draw", e.Name())
		}
	}
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == "node_modules" || (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != "../..") {
			return fs.SkipDir
		}
		if slices.Contains([]string{"common", "util", "utils", "helpers"}, d.Name()) {
			t.Errorf("%s: a folder is a thing of the domain", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
