package auth

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
	"github.com/holdfast-lb/holdfast/services/kit/secretfile"
)

// Bounds of a token file.
const (
	minToken     = 16 // characters; shorter ones can be guessed
	maxToken     = 512
	maxTokens    = 10_000
	maxTokenFile = 8 << 20
)

var callerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Tokens are the bearer tokens that are known. Only their hashes are kept, and a look-up takes the same time whatever part
// of a token is right. Immutable.
type Tokens struct {
	callers map[[sha256.Size]byte]Caller
}

// LoadTokens reads a token file: a line each of role, name and token, separated by blanks; '#' begins a comment. The file
// must not be readable by others.
func LoadTokens(path string) (*Tokens, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load tokens: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("load tokens: %s has mode %v; others must have no access to it", path, info.Mode().Perm())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load tokens: %w", err)
	}
	defer f.Close()
	t, err := ReadTokens(f)
	if err != nil {
		return nil, fmt.Errorf("load tokens from %s: %w", path, err)
	}
	return t, nil
}

// ReadTokens reads the lines of a token file, and reports every bad one. Tokens themselves are never in an error.
func ReadTokens(r io.Reader) (*Tokens, error) {
	t := &Tokens{callers: map[[sha256.Size]byte]Caller{}}
	var faults []error
	s := bufio.NewScanner(io.LimitReader(r, maxTokenFile))
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if err := t.add(f); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
		}
	}
	if err := s.Err(); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return t, nil
}

func (t *Tokens) add(fields []string) error {
	if len(fields) != 3 {
		return fmt.Errorf("%d words, not role, name and token", len(fields))
	}
	role, err := ParseRole(fields[0])
	if err != nil {
		return err
	}
	if !callerName.MatchString(fields[1]) {
		return fmt.Errorf("the name is not 1 to 63 of letters, digits, '.', '_', '@' and '-'")
	}
	if len(fields[2]) < minToken || len(fields[2]) > maxToken {
		return fmt.Errorf("the token of %s has %d characters, not %d to %d", fields[1], len(fields[2]), minToken, maxToken)
	}
	sum := sha256.Sum256([]byte(fields[2]))
	if other, ok := t.callers[sum]; ok {
		return fmt.Errorf("%s has the same token as %s", fields[1], other.Name)
	}
	if len(t.callers) == maxTokens {
		return fmt.Errorf("more than %d tokens", maxTokens)
	}
	t.callers[sum] = Caller{Name: fields[1], Role: role}
	return nil
}

// EnsureTokenFile makes a token file with a fresh token for an admin and one for a viewer, unless there is a file already.
func EnsureTokenFile(path string) error {
	text := fmt.Sprintf("# role name token\nadmin admin %s\nviewer viewer %s\n", newToken(), newToken())
	if _, err := secretfile.Make(path, []byte(text)); err != nil {
		return fmt.Errorf("make the token file: %w", err)
	}
	return nil
}

func newToken() string {
	b := make([]byte, 24)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Caller finds who makes a request: by its client certificate, or else by its bearer token. false says that the request
// shows neither, or one that is not known.
func (t *Tokens) Caller(r *http.Request) (Caller, bool) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		id, err := pki.FromCertificate(r.TLS.PeerCertificates[0])
		if err != nil {
			return Caller{}, false
		}
		switch id.Role {
		case pki.RoleOperator:
			return Caller{Name: id.String(), Role: Admin}, true
		case pki.RoleViewer:
			return Caller{Name: id.String(), Role: Viewer}, true
		}
		return Caller{}, false
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || t == nil {
		return Caller{}, false
	}
	c, ok := t.callers[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	return c, ok
}
