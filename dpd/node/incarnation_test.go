package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIncarnationSurvivesTheProcessAndNeverFalls(t *testing.T) {
	dir := t.TempDir()
	i, err := openIncarnation(dir)
	if err != nil || i.value != 0 {
		t.Fatalf("fresh: %+v %v", i, err)
	}
	if err := i.set(7); err != nil {
		t.Fatal(err)
	}
	if err := i.set(6); err == nil {
		t.Error("a lower incarnation was stored")
	}
	j, err := openIncarnation(dir)
	if err != nil || j.value != 7 {
		t.Errorf("after a restart: %+v %v", j, err)
	}
}

func TestADamagedIncarnationFileIsNoFreshStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "incarnation"), []byte("7x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openIncarnation(dir); err == nil {
		t.Error("a damaged file was taken for none")
	}
}
