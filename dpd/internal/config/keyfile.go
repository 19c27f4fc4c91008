package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// KeySize is the size of a cluster key, in bytes.
const KeySize = 16

// Errors of LoadKey.
var (
	ErrKeyMode = errors.New("config: key file is open to others; its mode must be 0600 or 0400")
	ErrKeyText = errors.New("config: key file does not hold 32 hex digits")
)

// LoadKey reads sync.key_file. The error never holds what the file holds.
func LoadKey(path string) ([KeySize]byte, error) {
	var key [KeySize]byte
	f, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("config: open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("config: look at key file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("%w: %s has %v", ErrKeyMode, path, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return key, fmt.Errorf("config: read key file: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if len(text) != 2*KeySize {
		return key, ErrKeyText
	}
	if _, err := hex.Decode(key[:], []byte(text)); err != nil {
		return [KeySize]byte{}, ErrKeyText
	}
	return key, nil
}
