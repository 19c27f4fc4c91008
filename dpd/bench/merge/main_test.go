package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMerge(t *testing.T) {
	a := file(t, `[{"id":"P10","metric":"open"},{"id":"P2","metric":"hit","ours":3.5,"goal":0.4,"holds":true}]`)
	b := file(t, `[{"id":"P2","metric":"hit6","goal":0.4,"holds":false},{"id":"P1","metric":"m","ours":1}]`)
	results, err := read([]string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range results {
		order = append(order, r.ID+r.Metric)
	}
	if want := []string{"P1m", "P2hit", "P2hit6", "P10open"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	var out strings.Builder
	table(&out, results)
	if lines := strings.Split(out.String(), "\n"); len(lines) != 6 || !strings.Contains(lines[2], "yes") || !strings.Contains(lines[3], "NO") {
		t.Errorf("table:\n%s", out.String())
	}
	if got := misses(results, "P2,P3,P1"); len(got) != 3 || got[0] != "P2 (hit6) misses its goal" || got[1] != "P3 was not measured" || got[2] != "P1 was not measured" {
		t.Errorf("misses: %v", got)
	}
	if got := misses(results[:2], ""); got != nil {
		t.Errorf("misses of nothing: %v", got)
	}
	latest := filepath.Join(t.TempDir(), "latest.json")
	if err := write(latest, results); err != nil {
		t.Fatal(err)
	}
	again, err := read([]string{latest})
	if err != nil || len(again) != 4 {
		t.Errorf("what was written reads back as %v, %v", again, err)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, path := range map[string]string{
		"a missing file":      filepath.Join(t.TempDir(), "none"),
		"no JSON":             file(t, "x"),
		"no list":             file(t, "{}"),
		"a result without id": file(t, `[{"metric":"m"}]`),
		"no metric":           file(t, `[{"id":"P1"}]`),
	} {
		if _, err := read([]string{path}); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
