package coordinator

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// sealKeys are those of a key file with one line for each number.
func sealKeys(t testing.TB, numbers ...byte) *seal.Keys {
	t.Helper()
	var text strings.Builder
	for _, n := range numbers {
		text.WriteString(hex.EncodeToString(bytes.Repeat([]byte{n}, 32)) + "\n")
	}
	k, err := seal.Parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// someState has bytes in its keys that stand nowhere else.
func someState() *membership.State {
	return &membership.State{
		View: 9, Nodes: []membership.Node{{ID: 1, Name: "lb-a", Inc: 3, DataAddresses: []string{"10.0.0.1/24"}}}, LastBlock: 4,
		Keys: membership.Keyring{
			Generation: 5, Active: 2, Since: 1234,
			Keys:   []membership.Key{{ID: 2, Secret: bytes.Repeat([]byte("cluster+"), 4)}, {ID: 3, Secret: bytes.Repeat([]byte("another/"), 4)}},
			RSS:    bytes.Repeat([]byte("toeplitz"), 5),
			Digest: []byte("digests, sixteen"),
		},
	}
}

// secretsOf are the keys in every form in which a store could hold them.
func secretsOf(k *membership.Keyring) (out [][]byte) {
	all := [][]byte{k.RSS, k.Digest}
	for _, x := range k.Keys {
		all = append(all, x.Secret)
	}
	for _, b := range all {
		// Without the last digits, which depend on what follows.
		text := base64.StdEncoding.EncodeToString(b)
		out = append(out, b, []byte(text[:len(b)*4/3-1]), []byte(hex.EncodeToString(b)), []byte(strings.ToUpper(hex.EncodeToString(b))))
	}
	return out
}

func holdsSecret(data []byte, k *membership.Keyring) bool {
	for _, s := range secretsOf(k) {
		if bytes.Contains(data, s) {
			return true
		}
	}
	return false
}

func TestTheStoredStateHoldsNoKeyAndComesBackWhole(t *testing.T) {
	t.Parallel()
	st, keys := someState(), sealKeys(t, 1)
	clear, err := json.Marshal(st)
	if err != nil || !holdsSecret(clear, &st.Keys) {
		t.Fatalf("the search finds nothing in a state in clear: %v", err)
	}
	data, err := encode(st, keys)
	if err != nil || holdsSecret(data, &st.Keys) {
		t.Fatalf("%s %v", data, err)
	}
	if !bytes.Contains(data, []byte(`"lb-a"`)) {
		t.Errorf("what is no secret can't be read: %s", data)
	}
	for how, read := range map[laid]struct {
		data []byte
		keys *seal.Keys
	}{
		laidSealed: {data, keys},
		laidStale:  {data, sealKeys(t, 2, 1)},
		laidClear:  {clear, keys},
	} {
		got, was, err := decode(read.data, read.keys)
		if err != nil || was != how || !reflect.DeepEqual(got, *st) {
			t.Errorf("%d: %+v, %d, %v", how, got, was, err)
		}
	}
	// A version that knows no sealed keys must not take this state for one without keys.
	var former membership.State
	if err := json.Unmarshal(data, &former); err == nil {
		t.Error("a former version would read the state, and make new keys")
	}
}

func TestAStateWhoseKeysDoNotOpenIsAnError(t *testing.T) {
	t.Parallel()
	st, keys := someState(), sealKeys(t, 1)
	good, err := encode(st, keys)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := json.Marshal(&st.Keys)
	if err != nil {
		t.Fatal(err)
	}
	// with is the state with other text in the place of its keys.
	with := func(text string) []byte {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		if m["keys"] = json.RawMessage(text); text == "" {
			delete(m, "keys")
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	quoted := func(b []byte) string { return `"` + base64.StdEncoding.EncodeToString(b) + `"` }
	changed := keys.Seal(place, ring)
	changed[len(changed)/2] ^= 1
	for _, row := range []struct {
		name string
		data []byte
		keys *seal.Keys
		is   error
		want string
	}{
		{"under another key", good, sealKeys(t, 2), seal.ErrOtherKey, sealKeys(t, 1).ID()},
		{"changed", with(quoted(changed)), keys, seal.ErrChanged, "entry state of bucket membership"},
		{"of another entry", with(quoted(keys.Seal(seal.Place{Bucket: bucket, Entry: keyOperations}, ring))), keys, seal.ErrChanged, ""},
		{"of another bucket", with(quoted(keys.Seal(seal.Place{Bucket: "health", Entry: keyState}, ring))), keys, seal.ErrChanged, ""},
		{"cut off", with(quoted(changed[:20])), keys, seal.ErrFormat, ""},
		{"empty", with(`""`), keys, seal.ErrFormat, ""},
		{"no base64", with(`"!"`), keys, nil, "keys don't open"},
		{"sealed, and no keyring", with(quoted(keys.Seal(place, []byte("x")))), keys, nil, "no keyring"},
		{"sealed, and nothing in it", with(quoted(keys.Seal(place, nil))), keys, nil, "no keys"},
		{"sealed, and no key in it", with(quoted(keys.Seal(place, []byte(`{"generation":1}`)))), keys, nil, "no keys"},
		{"away", with(""), keys, nil, "no keys"},
		{"null", with("null"), keys, nil, "no keys"},
		{"a number", with("7"), keys, nil, "no keyring"},
		{"an empty keyring in clear", with("{}"), keys, nil, "no keys"},
		{"in a state that is no JSON", good[:len(good)-1], keys, nil, "can't be used"},
	} {
		got, _, err := decode(row.data, row.keys)
		if !errors.Is(err, errUnreadable) || row.is != nil && !errors.Is(err, row.is) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("keys %s: %v", row.name, err)
		}
		if !reflect.DeepEqual(got, membership.State{}) {
			t.Errorf("keys %s: %+v is given out", row.name, got)
		}
		if err != nil && holdsSecret([]byte(err.Error()), &st.Keys) {
			t.Errorf("keys %s: the error repeats them: %v", row.name, err)
		}
	}
}
