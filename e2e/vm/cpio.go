package main

import (
	"fmt"
	"io"
	"path"
)

// archive writes a file system in the form that the kernel unpacks at boot: cpio, format newc. Parent folders are made
// as needed; a path that is there already is not written again.
type archive struct {
	w    io.Writer
	seen map[string]bool
	n    uint32
}

func newArchive(w io.Writer) *archive { return &archive{w: w, seen: map[string]bool{}} }

// Types of files in the mode field.
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
)

func (a *archive) file(name string, perm uint32, data []byte) error {
	return a.entry(name, typeFile|perm, data)
}

func (a *archive) symlink(name, target string) error {
	return a.entry(name, typeSymlink|0o777, []byte(target))
}

func (a *archive) dir(name string) error { return a.entry(name, typeDir|0o755, nil) }

func (a *archive) entry(name string, mode uint32, data []byte) error {
	name = path.Clean("/" + name)[1:]
	if name == "" || a.seen[name] {
		return nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := a.dir(parent); err != nil {
			return err
		}
	}
	a.seen[name] = true
	a.n++
	return a.record(name, mode, a.n, data)
}

// record writes the header of 6 + 13*8 characters, the name and the data, each padded to 4 bytes.
func (a *archive) record(name string, mode, inode uint32, data []byte) error {
	head := "070701"
	for _, v := range []uint32{inode, mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, 0, 0, uint32(len(name) + 1), 0} {
		head += fmt.Sprintf("%08x", v)
	}
	out := []byte(head + name + "\x00")
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	out = append(out, data...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	_, err := a.w.Write(out)
	return err
}

// close ends the archive.
func (a *archive) close() error { return a.record("TRAILER!!!", 0, 0, nil) }
