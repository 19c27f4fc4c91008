// Package page is AIP-158 paging: bounds of page_size, and opaque tokens that are good only for the question that they
// were given out for.
package page

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

// Bounds of page_size, in entries.
const (
	DefaultSize = 50
	MaxSize     = 1000
)

// maxToken bounds the length of a token that is decoded, in bytes.
const maxToken = 4096

// Size applies the default and the cap to a page_size; a negative one is refused.
func Size(n int32) (int, error) {
	switch {
	case n < 0:
		var v apierr.Violations
		v.Add("page_size", "is %d, less than 0", n)
		return 0, v.Err()
	case n == 0:
		return DefaultSize, nil
	case n > MaxSize:
		return MaxSize, nil
	}
	return int(n), nil
}

// Of reads the paging fields of a list request: how many entries it wants, and after which position.
func Of(scope string, r interface {
	GetPageSize() int32
	GetPageToken() string
}) (size int, after string, err error) {
	if size, err = Size(r.GetPageSize()); err != nil {
		return 0, "", err
	}
	after, err = Position(scope, r.GetPageToken())
	return size, after, err
}

// Token makes the token that says: go on after position. Scope is everything that must be the same in the next request,
// the method and filter for example.
func Token(scope, position string) string {
	b := binary.BigEndian.AppendUint64(nil, scopeHash(scope))
	return base64.RawURLEncoding.EncodeToString(append(b, position...))
}

// Position reads a token; an empty token is the beginning.
func Position(scope, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) > maxToken {
		return "", apierr.New(apierr.BadPageToken, "page_token has more than %d characters", maxToken)
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 8 || binary.BigEndian.Uint64(b) != scopeHash(scope) {
		return "", apierr.New(apierr.BadPageToken, "page_token is not from this method with these arguments")
	}
	return string(b[8:]), nil
}

func scopeHash(scope string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(scope))
	return h.Sum64()
}
