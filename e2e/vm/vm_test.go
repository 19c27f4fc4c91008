package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestArchiveIsUnpackedByBusybox(t *testing.T) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	a := newArchive(&buf)
	big := bytes.Repeat([]byte("0123456789"), 1001) // no multiple of 4
	for _, err := range []error{
		a.file("/etc/deep/er/file", 0o640, big), a.file("/etc/deep/empty", 0o600, nil), a.symlink("/etc/link", "deep/er/file"),
		a.file("/etc/deep/empty", 0o600, []byte("the second of one name is left out")), a.dir("/dev"), a.close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(box, "cpio", "-i")
	cmd.Dir, cmd.Stdin = dir, &buf
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "etc/link")); err != nil || !bytes.Equal(got, big) {
		t.Errorf("through the link: %d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "etc/deep/empty")); err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("empty file: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "dev")); err != nil || !info.IsDir() {
		t.Errorf("folder: %v, %v", info, err)
	}
}

func TestLibrariesFromLdd(t *testing.T) {
	for name, c := range map[string]struct {
		out  string
		want []string
		err  bool
	}{
		"libraries and loader": {"\tlinux-vdso.so.1 (0x7ff)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f1)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f2)\n",
			[]string{"/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}, false},
		"missing library": {"\tlibx.so => not found\n", nil, true},
		"nothing":         {"", nil, false},
		"static":          {"\tstatically linked\n", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseLdd(c.out)
			if !reflect.DeepEqual(got, c.want) || (err != nil) != c.err {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestConsoleFindsHowTheScriptEnded(t *testing.T) {
	for name, c := range map[string]struct {
		in, out, code string
		said          bool
	}{
		"ended well":       {"hello\r\n" + exitMark + "0\r\nPower down\n", "hello\nPower down\n", "0", true},
		"ended badly":      {exitMark + "137\n", "", "137", true},
		"never ended":      {"hello\n", "hello\n", "", false},
		"only the first":   {exitMark + "1\n" + exitMark + "0\n", exitMark + "0\n", "1", true},
		"mark within text": {"echo " + exitMark + "0\n", "echo " + exitMark + "0\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var w strings.Builder
			code, said := console(strings.NewReader(c.in), &w)
			if code != c.code || said != c.said || w.String() != c.out {
				t.Errorf("code %q, said %v, printed %q", code, said, w.String())
			}
		})
	}
}

func TestAdditionsNeedTwoPaths(t *testing.T) {
	for s, ok := range map[string]bool{"a=/b": true, "a=b": false, "=/b": false, "a": false, "": false} {
		var a additions
		if err := a.Set(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}
