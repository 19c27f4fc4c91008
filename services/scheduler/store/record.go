package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-lb/holdfast/services/scheduler/desired"
)

// formatVersion of stored records. A reader refuses a higher one.
const formatVersion = 1

// baseKey holds the number that revisions are counted from.
const baseKey = "base"

var errForeignKey = errors.New("store: the key is not of this service")

// record is the stored form of a service or pool.
type record struct {
	Format  int              `json:"format"`
	Service *desired.Service `json:"service,omitempty"`
	Pool    *desired.Pool    `json:"pool,omitempty"`
}

func key(c desired.Change) string { return string(c.Kind) + "." + c.ID }

func encode(c desired.Change) ([]byte, error) {
	b, err := json.Marshal(record{Format: formatVersion, Service: c.Service, Pool: c.Pool})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", key(c), err)
	}
	return b, nil
}

// decode turns a key and value back into the change that was stored; deleted says that the value is a deletion.
func decode(key string, value []byte, deleted bool) (desired.Change, error) {
	kind, id, ok := strings.Cut(key, ".")
	c := desired.Change{Kind: desired.Kind(kind), ID: id}
	if !ok || (c.Kind != desired.KindService && c.Kind != desired.KindPool) {
		return c, errForeignKey
	}
	if deleted {
		return c, nil
	}
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return c, fmt.Errorf("decode %s: %w", key, err)
	}
	if r.Format < 1 || r.Format > formatVersion {
		return c, fmt.Errorf("decode %s: format %d is not known here", key, r.Format)
	}
	c.Service, c.Pool = r.Service, r.Pool
	okService := c.Kind == desired.KindService && r.Service != nil && r.Service.ID == id && r.Pool == nil
	okPool := c.Kind == desired.KindPool && r.Pool != nil && r.Pool.ID == id && r.Service == nil
	if !okService && !okPool {
		return c, fmt.Errorf("decode %s: the record is not what its key says", key)
	}
	return c, nil
}
