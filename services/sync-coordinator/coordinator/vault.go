package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// errUnreadable marks a stored state that can't be understood or opened. Trying again does not help, and new keys in its
// place would part the data planes: it ends the process.
var errUnreadable = errors.New("coordinator: the stored state can't be used")

// laid says how the keys lay in the store.
type laid int

const (
	laidNowhere laid = iota // there is no state yet
	laidSealed
	laidStale // sealed under the second key of the file
	laidClear // by a version that did not seal
)

// record is the state as it is stored. All of Keys is sealed: the cluster keys, and also the RSS and the digest key, since
// who knows those can choose connections that all fall on one worker, or sessions whose digests are equal. The rest is
// what ListNodes tells anyway, and stays readable for people who look into the bucket.
//
// Versions before sealed keys have an object there. They refuse the string, so none takes a sealed state for one without
// keys and makes new ones.
type record struct {
	membership.State
	Keys json.RawMessage `json:"keys"` // in the place of State.Keys
}

// place is where the sealed keys lie.
var place = seal.Place{Bucket: bucket, Entry: keyState}

// encode is the state as it is to be stored.
func encode(st *membership.State, keys *seal.Keys) ([]byte, error) {
	ring, err := json.Marshal(&st.Keys)
	if err != nil {
		return nil, fmt.Errorf("encode the keys: %w", err)
	}
	sealed, err := json.Marshal(keys.Seal(place, ring)) // base64 in quotes
	if err != nil {
		return nil, fmt.Errorf("encode the keys: %w", err)
	}
	data, err := json.Marshal(record{State: *st, Keys: sealed})
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	return data, nil
}

// decode is the reverse of encode, and reads keys in clear too. No error repeats what is stored.
func decode(data []byte, keys *seal.Keys) (membership.State, laid, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return membership.State{}, laidNowhere, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	how, ring := laidClear, []byte(r.Keys)
	if bytes.HasPrefix(ring, []byte(`"`)) {
		how = laidSealed
		var sealed []byte
		err := json.Unmarshal(r.Keys, &sealed)
		stale := false
		if err == nil {
			ring, stale, err = keys.Open(place, sealed)
		}
		if err != nil {
			return membership.State{}, laidNowhere, fmt.Errorf("%w: its keys don't open: %w", errUnreadable, err)
		}
		if stale {
			how = laidStale
		}
	}
	st := r.State
	if len(ring) > 0 {
		if err := json.Unmarshal(ring, &st.Keys); err != nil {
			return membership.State{}, laidNowhere, fmt.Errorf("%w: its keys are no keyring: %w", errUnreadable, err)
		}
	}
	if st.Keys.Generation == 0 || len(st.Keys.Keys) == 0 {
		return membership.State{}, laidNowhere, fmt.Errorf("%w: it holds no keys", errUnreadable)
	}
	return st, how, nil
}
