package seal

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTheModeAndOwnerOfAKeyFileAreJudged(t *testing.T) {
	for _, row := range []struct {
		name        string
		mode        fs.FileMode
		owner, self int
		want        string
	}{
		{"its owner's alone", 0o600, 7, 7, ""},
		{"its owner's to read", 0o400, 7, 7, ""},
		{"root's process and file", 0o600, 0, 0, ""},
		{"a Secret that is mounted for a group", 0o440, 0, 7, ""},
		{"root's, for a group to read", 0o640, 0, 7, ""},
		{"one's own, for a group to read", 0o640, 7, 7, "0640"},
		{"root's, for root's group to read", 0o640, 0, 0, "0640"},
		{"root's, for a group to write", 0o660, 0, 7, "0660"},
		{"root's, for all to read", 0o644, 0, 7, "0644"},
		{"for all to read", 0o604, 7, 7, "0604"},
		{"for its owner to execute", 0o700, 7, 7, "0700"},
		{"another user's", 0o600, 8, 7, "user 8"},
		{"another user's, read by root", 0o600, 8, 0, "user 8"},
		{"a folder", fs.ModeDir | 0o600, 7, 7, "no regular file"},
		{"a pipe", fs.ModeNamedPipe | 0o600, 7, 7, "no regular file"},
	} {
		err := judge(row.mode, row.owner, row.self)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestAKeyFileThatIsMadeIsLoadedAndStaysTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	var ids []string
	for range 2 {
		if err := MakeFile(path); err != nil {
			t.Fatal(err)
		}
		k, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, k.String())
	}
	if ids[0] != ids[1] {
		t.Errorf("made twice: %v", ids)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	other := filepath.Join(t.TempDir(), "kek")
	if err := MakeFile(other); err != nil {
		t.Fatal(err)
	}
	if k, err := Load(other); err != nil || k.String() == ids[0] {
		t.Errorf("two files have the same key: %v", err)
	}
}

func TestFilesThatAreNoKeyFileAreRefusedByName(t *testing.T) {
	write := func(path, text string, mode fs.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
	}
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "kek")
	write(elsewhere, hexKey(1), 0o600)
	for _, row := range []struct {
		name string
		make func(path string)
		want string
	}{
		{"a good one", func(p string) { write(p, hexKey(1), 0o600) }, ""},
		{"a link within the folder, as in a mounted Secret", func(p string) {
			dir := filepath.Dir(p)
			if err := os.Mkdir(filepath.Join(dir, "..2026"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(filepath.Join(dir, "..2026", "kek"), hexKey(1), 0o400)
			link("..2026", filepath.Join(dir, "..data"))
			link("..data/kek", p)
		}, ""},
		{"none", func(string) {}, "no such file"},
		{"one that others read", func(p string) { write(p, hexKey(1), 0o644) }, "0644"},
		{"one that others write", func(p string) { write(p, hexKey(1), 0o602) }, "0602"},
		{"a link out of the folder", func(p string) { link(elsewhere, p) }, "a link to " + elsewhere},
		{"a link upwards", func(p string) { link("../kek", p) }, "a link to ../kek"},
		{"a link that leads nowhere", func(p string) { link("nothing", p) }, "a link to nothing"},
		{"a link to a file that others read", func(p string) {
			write(p+".real", hexKey(1), 0o640)
			link(filepath.Base(p)+".real", p)
		}, "0640"},
		{"a folder", func(p string) {
			if err := os.Mkdir(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "no regular file"},
		{"a pipe that nobody writes", func(p string) {
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "no regular file"},
		{"an empty file", func(p string) { write(p, "", 0o600) }, "no key"},
		{"a file that is too long", func(p string) { write(p, strings.Repeat("#\n", maxFile), 0o600) }, "4096"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kek")
			row.make(path)
			_, err := Load(path)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name %s", err, path)
			}
		})
	}
}
