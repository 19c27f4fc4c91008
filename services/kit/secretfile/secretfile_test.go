package secretfile

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestOneOfManyMakesTheFileAndNobodyChangesItAfterwards(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	var wg sync.WaitGroup
	var winner atomic.Value
	var wins atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			text := fmt.Sprintf("secret of %d", i)
			made, err := Make(path, []byte(text))
			if err != nil {
				t.Error(err)
			}
			if made {
				winner.Store(text)
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil || wins.Load() != 1 || string(got) != winner.Load() {
		t.Fatalf("%d made it; it holds %q: %v", wins.Load(), got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWhatIsThereIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(string) error{
		"an empty file":             func(p string) error { return os.WriteFile(p, nil, 0o644) },
		"a link that leads nowhere": func(p string) error { return os.Symlink("nowhere", p) },
		"a folder":                  func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		made, err := Make(path, []byte("x"))
		after, _ := os.Lstat(path)
		if made || err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
			t.Errorf("%s: made %v, %v", name, made, err)
		}
	}
	if made, err := Make(filepath.Join(dir, "no", "folder"), []byte("x")); made || err == nil {
		t.Errorf("made in a folder that is not there: %v", err)
	}
}
