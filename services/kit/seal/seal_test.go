package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

var state = Place{"membership", "state"}

const plain = "the secret of the cluster"

func parse(t testing.TB, lines ...string) *Keys {
	t.Helper()
	k, err := Parse([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hexKey is the line of a key whose bytes count up from first.
func hexKey(first byte) string {
	b := make([]byte, keyLen)
	for i := range b {
		b[i] = first + byte(i)
	}
	return hex.EncodeToString(b)
}

// golden was computed by another implementation of HKDF and AES-GCM, from the description in doc.go.
const golden = "4846530108c42bd8a6265da9a0a1a2a3a4a5a6a7a8a9aaab43908fcadd1060f9992d60691edb4bb291fc751c3655d3618f8daaa351ed5b13c3edbd344afe1fb652"

func TestFormatIsPinned(t *testing.T) {
	k := parse(t, hexKey(0))
	var nonce [nonceLen]byte
	for i := range nonce {
		nonce[i] = 0xa0 + byte(i)
	}
	if got := hex.EncodeToString(k.list[0].seal(state, nonce, []byte(plain))); got != golden {
		t.Errorf("%s", got)
	}
	if k.ID() != golden[8:24] {
		t.Errorf("key id %s", k.ID())
	}
	value, _ := hex.DecodeString(golden)
	if got, stale, err := k.Open(state, value); string(got) != plain || stale || err != nil {
		t.Errorf("%q %v %v", got, stale, err)
	}
}

func TestEachSealIsAnother(t *testing.T) {
	k := parse(t, hexKey(0))
	a, b := k.Seal(state, []byte(plain)), k.Seal(state, []byte(plain))
	if bytes.Equal(a, b) || bytes.Contains(a, []byte(plain)) {
		t.Errorf("%x\n%x", a, b)
	}
	for _, secret := range []string{"", "x", strings.Repeat("long ", 1<<16)} {
		got, _, err := k.Open(state, k.Seal(state, []byte(secret)))
		if err != nil || string(got) != secret {
			t.Errorf("%d bytes came back as %d: %v", len(secret), len(got), err)
		}
	}
}

func TestNoByteMayChangeAndNoneMayGo(t *testing.T) {
	k := parse(t, hexKey(0))
	value, _ := hex.DecodeString(golden)
	refused := func(what string, v []byte) {
		t.Helper()
		got, _, err := k.Open(state, v)
		if got != nil || !errors.Is(err, ErrFormat) && !errors.Is(err, ErrOtherKey) && !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if err == nil || !strings.Contains(err.Error(), "entry state of bucket membership") || strings.Contains(err.Error(), plain) {
			t.Errorf("%s: the error says %v", what, err)
		}
	}
	for i := range value {
		for bit := range 8 {
			v := bytes.Clone(value)
			v[i] ^= 1 << bit
			refused("a changed bit", v)
		}
		refused("the beginning alone", value[:i])
	}
	refused("a byte more", append(bytes.Clone(value), 0))
}

func TestAValueOpensInItsOwnEntryAlone(t *testing.T) {
	k := parse(t, hexKey(0))
	value := k.Seal(state, []byte(plain))
	for _, at := range []Place{{"membership", "operations"}, {"other", "state"}, {"membershi", "pstate"}, {"membership\x00\x05state", ""}, {"state", "membership"}, {}} {
		if got, _, err := k.Open(at, value); got != nil || !errors.Is(err, ErrChanged) {
			t.Errorf("%+v: %q, %v", at, got, err)
		}
	}
}

func TestAnotherKeyIsNamedAndTheSecondKeyOpens(t *testing.T) {
	old, both, next := parse(t, hexKey(0)), parse(t, hexKey(1), hexKey(0)), parse(t, hexKey(1))
	value := old.Seal(state, []byte(plain))
	got, _, err := next.Open(state, value)
	if got != nil || !errors.Is(err, ErrOtherKey) || !strings.Contains(err.Error(), old.ID()) || !strings.Contains(err.Error(), next.ID()) {
		t.Errorf("%q, %v", got, err)
	}
	got, stale, err := both.Open(state, value)
	if string(got) != plain || !stale || err != nil {
		t.Errorf("%q, stale %v, %v", got, stale, err)
	}
	anew := both.Seal(state, got)
	if got, stale, err := next.Open(state, anew); string(got) != plain || stale || err != nil {
		t.Errorf("sealed anew: %q, stale %v, %v", got, stale, err)
	}
	if _, _, err := old.Open(state, anew); !errors.Is(err, ErrOtherKey) {
		t.Errorf("the old key on what the new one sealed: %v", err)
	}
}

func TestKeyFilesAreReadStrictlyAndNeverRepeated(t *testing.T) {
	a, b := hexKey(1), hexKey(77)
	for _, row := range []struct {
		name, text, want string
	}{
		{"one key", a + "\n", ""},
		{"one key without an end of line", a, ""},
		{"capital digits, comments, Windows' ends of lines", "# new\r\n" + strings.ToUpper(a) + "\r\n\r\n# old\r\n  " + b + "\r\n", ""},
		{"nothing", "", "no key"},
		{"comments alone", "# nothing\n\n", "no key"},
		{"a key that is too short", a[2:], "line 1 has 62 characters"},
		{"half a byte too much", a + "0", "line 1 has 65 characters"},
		{"a key that is too long", "\n" + a + "00", "line 2 has 66 characters"},
		{"a letter that is no digit", "g" + a[1:], "line 1"},
		{"raw bytes", string(bytes.Repeat([]byte{0x80}, 32)), "line 1 has 32 characters"},
		{"zeros", strings.Repeat("0", 64), "line 1 is all zeros"},
		{"the same key twice", a + "\n" + strings.ToUpper(a), "line 2 is the first key again"},
		{"three keys", a + "\n" + b + "\n" + hexKey(5), "line 3"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.text))
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && strings.Contains(strings.ToLower(err.Error()), a[2:10]) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
	if k := parse(t, a, b); strings.Contains(k.String(), a[:8]) || !strings.HasPrefix(k.String(), k.ID()+", ") {
		t.Errorf("named as %s", k)
	}
}

// FuzzOpen: nothing that the key did not seal opens, whatever its bytes.
func FuzzOpen(f *testing.F) {
	value, _ := hex.DecodeString(golden)
	f.Add(value)
	f.Add(value[:headLen])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, v []byte) {
		got, _, err := parse(t, hexKey(0)).Open(state, v)
		if err == nil && !bytes.Equal(v, value) || err != nil && got != nil {
			t.Fatalf("%x opened as %q: %v", v, got, err)
		}
	})
}
