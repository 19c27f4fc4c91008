package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/holdfast-lb/holdfast/services/kit/secretfile"
)

// maxFile bounds a key file, in bytes.
const maxFile = 4096

// MakeFile makes a key file with one fresh key unless there is something at path.
func MakeFile(path string) error {
	var secret [keyLen]byte
	_, _ = rand.Read(secret[:]) // never fails
	text := fmt.Sprintf("# Opens what is sealed in the store. Keep a copy elsewhere: without it the store is worth nothing.\n%s\n",
		hex.EncodeToString(secret[:]))
	if _, err := secretfile.Make(path, []byte(text)); err != nil {
		return fmt.Errorf("make the key file: %w", err)
	}
	return nil
}

// Load reads a key file, and refuses one that others could have read or put there.
func Load(path string) (*Keys, error) {
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	k, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// read follows links within the file's own folder alone: a mounted Secret of Kubernetes is such a link, and one that leads
// elsewhere would put the file under another folder's rules. What is judged is what was opened.
func read(path string) ([]byte, error) {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	// Without O_NONBLOCK a pipe under this name would hold the process up for ever.
	f, err := folder.OpenFile(filepath.Base(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if target, lerr := folder.Readlink(filepath.Base(path)); lerr == nil {
			return nil, fmt.Errorf("it is a link to %s, and a link may lead only to a file below its own folder: %w", target, err)
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("its owner can't be told on this system")
	}
	if err := judge(info.Mode(), int(st.Uid), os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return text, err
}

// judge says why a file of that mode and owner is no key file of a process that runs as self; nil when it is one.
func judge(mode fs.FileMode, owner, self int) error {
	allowed := fs.FileMode(0o600)
	if owner == 0 && self != 0 {
		// root may share a file with the process's group: that is how Kubernetes mounts a Secret, and it has no other way.
		allowed = 0o640
	}
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("it is no regular file (%v)", mode)
	case owner != self && owner != 0:
		return fmt.Errorf("it belongs to user %d; want this process's user %d, or root", owner, self)
	case mode.Perm()&^allowed != 0:
		return fmt.Errorf("its mode is %04o, so that others get at the key; want %04o or less", mode.Perm(), allowed)
	}
	return nil
}
