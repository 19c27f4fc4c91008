// Package secretfile makes the files of secrets that a process chooses for itself at its first start: once, whole, on disk
// before anything depends on it, and for the owner alone.
package secretfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Make writes content to path with mode 0600 unless something is there already, which it leaves alone and reports as
// false. Of several that try at once one wins. Half a file is never seen under the name, not even after a crash.
func Make(path string, content []byte) (made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil // the usual case; the folder may well be read-only then
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	// A rename would replace what came meanwhile, a link does not.
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, syncFolder(dir)
}

// syncFolder makes a new name in a folder outlive a crash.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
