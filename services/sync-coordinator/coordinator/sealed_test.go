package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	"github.com/holdfast-lb/holdfast/services/kit/seal"
	"github.com/holdfast-lb/holdfast/services/sync-coordinator/membership"
)

// bucketOf opens the bucket as someone beside the coordinator.
func (w *world) bucketOf() jetstream.KeyValue {
	w.t.Helper()
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	cfg := Config{}
	cfg.defaults()
	st, err := openStore(w.t.Context(), nc, cfg, w.keys, new(atomic.Bool))
	if err != nil {
		w.t.Fatal(err)
	}
	return st.kv
}

func (w *world) raw(kv jetstream.KeyValue) jetstream.KeyValueEntry {
	w.t.Helper()
	e, err := kv.Get(w.t.Context(), keyState)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// runLogged starts a replica and gives its log and, when Run is over, what it returned.
func (w *world) runLogged(cfg Config) (*replica, *journal, <-chan error) {
	w.t.Helper()
	log := &journal{}
	c, run := w.build(cfg, log)
	ctx, cancel := context.WithCancel(context.Background())
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		result <- run(ctx)
	}()
	stop := func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return &replica{c, stop}, log, result
}

func (p *plane) keySet() *dpdv1.KeySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return proto.CloneOf(p.keys)
}

func ringOf(k *dpdv1.KeySet) *membership.Keyring {
	r := &membership.Keyring{RSS: k.GetRssKey(), Digest: k.GetDigestKey()}
	for _, x := range k.GetKeys() {
		r.Keys = append(r.Keys, membership.Key{ID: x.GetId(), Secret: x.GetSecret()})
	}
	return r
}

// filesWith are the files below a folder that hold what found says.
func filesWith(t *testing.T, dir string, found func([]byte) bool) (out []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if found(data) {
			out = append(out, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func quick() Config {
	rules := membership.DefaultConfig()
	rules.KeySettle = 200
	return Config{Rules: rules}
}

func TestNoFileOfTheStoreHoldsAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.KeyLifetime = 500 * time.Millisecond
	c := w.startWith(cfg)
	p := w.cluster(c, "lb-a", "lb-b")
	var rings []*membership.Keyring
	w.until("the key was changed", func() bool {
		rings = append(rings, ringOf(p[0].keySet()))
		return p[0].keySet().GetActiveKeyId() >= 2
	})
	c.stop()
	w.nats.Close() // every file is written and closed
	if hits := filesWith(t, w.dir, func(b []byte) bool { return bytes.Contains(b, []byte(`"name":"lb-a"`)) }); len(hits) == 0 {
		t.Fatal("the search does not find the state at all")
	}
	for _, r := range rings {
		if hits := filesWith(t, w.dir, func(b []byte) bool { return holdsSecret(b, r) }); len(hits) > 0 {
			t.Fatalf("keys lie in %v", hits)
		}
	}
}

func TestAReplicaWithAnotherKeyEndsAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a")[0]
	before := p.keySet()
	c.stop()
	kv := w.bucketOf()
	raw := w.raw(kv)

	good := w.keys
	w.keys = sealKeys(t, 2)
	_, _, result := w.runLogged(Config{Instance: "two"})
	err := <-result
	if !errors.Is(err, errUnreadable) || !errors.Is(err, seal.ErrOtherKey) ||
		!strings.Contains(err.Error(), good.ID()) || !strings.Contains(err.Error(), w.keys.ID()) {
		t.Errorf("ended with %v", err)
	}
	now := w.raw(kv)
	if now.Revision() != raw.Revision() || !bytes.Equal(now.Value(), raw.Value()) {
		t.Error("the state was written")
	}
	if _, err := kv.Get(t.Context(), keyLeader); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease was taken: %v", err)
	}

	w.keys = good
	if got := p.join(w.start("three")).GetKeys(); !proto.Equal(got, before) {
		t.Errorf("generation %d after generation %d", got.GetGeneration(), before.GetGeneration())
	}
}

func TestAChangedEntryEndsTheLeaderAndIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, want string
		change     func(good []byte) []byte
	}{
		{"changed", "was changed", func(good []byte) []byte {
			out := bytes.Clone(good)
			at := bytes.Index(out, []byte(`"keys":"`)) + 100 // in base64, beyond the head and the nonce
			if out[at]++; out[at] == 'Z'+1 || out[at] == 'z'+1 || out[at] == '9'+1 || out[at] < '0' {
				out[at] = 'A'
			}
			return out
		}},
		{"without keys", "no keys", func([]byte) []byte { return []byte(`{"view":70}`) }},
		{"in clear", "sealed before", func([]byte) []byte { b, _ := json.Marshal(someState()); return b }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, _, result := w.runLogged(Config{Instance: "one"})
			w.until("it leads", func() bool { return c.term.Load() != nil })
			kv := w.bucketOf()
			// What the leader writes in between comes before.
			var put []byte
			w.until("someone else writes", func() bool {
				e := w.raw(kv)
				put = row.change(e.Value())
				_, err := kv.Update(t.Context(), keyState, put, e.Revision())
				return err == nil
			})
			// Its next write finds out.
			_, _ = c.Join(t.Context(), w.plane("lb-a").request())
			if err := <-result; !errors.Is(err, errUnreadable) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("ended with %v", err)
			}
			if got := w.raw(kv).Value(); !bytes.Equal(got, put) {
				t.Errorf("it was written over with %s", got)
			}
		})
	}
}

func TestKeysInClearAreSealedOnceAndSaidAndThenChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := someState()
	old.Nodes, old.Keys.Keys = nil, old.Keys.Keys[:1]
	clear, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	kv := w.bucketOf()
	if _, err := kv.Create(t.Context(), keyState, clear); err != nil {
		t.Fatal(err)
	}
	const said = "keys lay in clear"
	cfg := quick()
	cfg.KeyLifetime = -1
	c, log, _ := w.runLogged(cfg)
	p := w.plane("lb-a")
	p.join(c)
	if got := p.keySet(); got.GetGeneration() != 5 || !bytes.Equal(got.GetKeys()[0].GetSecret(), old.Keys.Keys[0].Secret) ||
		!bytes.Equal(got.GetRssKey(), old.Keys.RSS) || !bytes.Equal(got.GetDigestKey(), old.Keys.Digest) {
		t.Errorf("generation %d is not what lay there", got.GetGeneration())
	}
	c.stop()
	if strings.Count(log.String(), said) != 1 || holdsSecret([]byte(log.String()), &old.Keys) {
		t.Errorf("the log: %s", log)
	}
	if v := w.raw(kv).Value(); holdsSecret(v, &old.Keys) {
		t.Errorf("keys still lie in clear: %s", v)
	}

	// The key that lay there counts as old, wherever the lifetime of keys is not endless.
	c, log, _ = w.runLogged(quick())
	w.until("the key is another one", func() bool {
		k := p.keySet()
		return len(k.GetKeys()) == 1 && !bytes.Equal(k.GetKeys()[0].GetSecret(), old.Keys.Keys[0].Secret)
	})
	if got := p.keySet(); !bytes.Equal(got.GetRssKey(), old.Keys.RSS) || !bytes.Equal(got.GetDigestKey(), old.Keys.Digest) {
		t.Error("keys that last as long as the cluster were changed")
	}
	c.stop()
	if strings.Contains(log.String(), said) {
		t.Errorf("said again: %s", log)
	}
}

func TestTheKeyFileIsChangedWithoutAChangeOfClusterKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.start("one")
	p := w.cluster(c, "lb-a")[0]
	before := p.keySet()
	kv := w.bucketOf()
	c.stop()
	for i, step := range []struct{ file, opens, shut *seal.Keys }{
		{sealKeys(t, 1, 2), sealKeys(t, 1), sealKeys(t, 2)},
		{sealKeys(t, 2, 1), sealKeys(t, 2), sealKeys(t, 1)},
		{sealKeys(t, 2), sealKeys(t, 2), sealKeys(t, 1)},
	} {
		w.keys = step.file
		c, log, _ := w.runLogged(Config{})
		if got := p.join(c).GetKeys(); !proto.Equal(got, before) {
			t.Errorf("step %d: generation %d after %d", i, got.GetGeneration(), before.GetGeneration())
		}
		v := w.raw(kv).Value()
		if _, how, err := decode(v, step.opens); err != nil || how != laidSealed {
			t.Errorf("step %d: %v", i, err)
		}
		if _, _, err := decode(v, step.shut); !errors.Is(err, seal.ErrOtherKey) {
			t.Errorf("step %d: %v", i, err)
		}
		c.stop()
		if said := strings.Contains(log.String(), "under the first key of the file now"); said != (i == 1) {
			t.Errorf("step %d: said %v", i, said)
		}
	}
}
