package membership

import "testing"

// A member that never applied the new key kept the old one in use for ever.
func TestAKeyRotationGoesOnWithoutAMemberThatNeverAppliesIt(t *testing.T) {
	b := newBed(t, 4)
	b.admit(3)
	apply := func() {
		for id := uint32(1); id <= 2; id++ {
			b.m.KeysApplied(b.now, id, b.dp[id].Inc, b.m.State().Keys.Generation)
			b.take()
		}
	}
	b.must(b.m.RotateKeys(b.now, [SecretLen]byte{7}))
	b.take()
	hours := func(n int64) {
		for end := b.now + n*3_600_000; b.now < end; {
			b.now += 10_000
			apply()
			b.m.Tick(b.now)
			b.take()
		}
	}
	b.now += 30_000
	b.m.Tick(b.now)
	b.take()
	if b.happened(KeysHeld, 3) != 0 {
		t.Fatal("said at once")
	}
	hours(23)
	if k := b.stored.Keys; k.Active != 1 || len(k.Keys) != 2 || b.happened(KeysHeld, 3) != 1 || b.happened(KeysHeld, 1) != 0 {
		t.Fatalf("active %d of %d keys, said %d times", k.Active, len(k.Keys), b.happened(KeysHeld, 3))
	}
	hours(2)
	if k := b.stored.Keys; k.Active != 2 || len(k.Keys) != 1 || b.happened(KeysLeftOut, 3) == 0 || b.happened(KeysLeftOut, 1) != 0 {
		t.Fatalf("active %d of %d keys", k.Active, len(k.Keys))
	}
	if b.m.RotateKeys(b.now, [SecretLen]byte{8}) != nil {
		t.Fatal("the next rotation is refused")
	}
}
