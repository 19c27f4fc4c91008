package membership

import "slices"

// Lengths of secrets in bytes.
const (
	SecretLen = 32 // a cluster key, the input of HKDF
	RSSLen    = 40 // the Toeplitz key that NICs take
	DigestLen = 16 // the key of the cluster hash
)

// Secrets are fresh random bytes from the caller, since the machine has no source of its own.
type Secrets struct {
	Cluster [SecretLen]byte
	RSS     [RSSLen]byte
	Digest  [DigestLen]byte
}

func newKeyring(s Secrets) Keyring {
	return Keyring{
		Generation: 1,
		Keys:       []Key{{ID: 1, Secret: s.Cluster[:]}},
		Active:     1,
		RSS:        s.RSS[:],
		Digest:     s.Digest[:],
	}
}

// RotateKeys begins a change of the cluster key. It goes in three steps, each taken when every member has applied the
// one before, so no datagram is sealed under a key that its receiver lacks:
//
//	old* ──> old* new ──> old new* ──> new*        (* = the one that seals)
func (m *Machine) RotateKeys(now int64, secret [SecretLen]byte) error {
	k := &m.st.Keys
	if len(k.Keys) != 1 {
		return ErrKeysInChange
	}
	// Ids are 16 bits on the wire and 0 is none; they come round after 65535 rotations.
	id := k.Active%0xffff + 1
	k.Keys = append(k.Keys, Key{ID: id, Secret: secret[:]})
	k.Generation++
	k.Since = now
	m.changed = true
	m.say(Event{Kind: KeysRotating})
	m.settle(now)
	return nil
}

// KeysDue says whether the cluster key is as old as lifetime milliseconds and no change of it is going on.
func (m *Machine) KeysDue(now, lifetime int64) bool {
	k := &m.st.Keys
	if k.Since == 0 { // made before anyone told the time
		k.Since = now
		m.changed = true
	}
	return len(k.Keys) == 1 && now-k.Since >= lifetime
}

// KeysApplied takes in that a node's life runs this generation of keys.
func (m *Machine) KeysApplied(now int64, id uint32, inc, generation uint64) {
	n := m.st.Node(id)
	if n == nil || n.Inc != inc || !n.Member() {
		return
	}
	o := m.observe(now, id)
	o.appliedKG = max(o.appliedKG, generation)
	m.settle(now)
}

// turnKeys takes the next step once every member has applied the one before. A member that has not for KeyNotice is
// reported. Once the rotation is KeyPatience old such a member is waited for no longer: until then nothing is lost but
// time, since both keys open what is sealed; after it the member hears its peers no more, until it is given the keys.
func (m *Machine) turnKeys(now int64) {
	k := &m.st.Keys
	if len(k.Keys) != 2 {
		m.keysAsked = 0
		return
	}
	if m.keysAsked == 0 {
		m.keysAsked, m.keysSaid = now, map[uint32]Kind{}
	}
	late := now-m.keysAsked >= m.cfg.KeyNotice
	over := late && m.cfg.KeyPatience > 0 && now-k.Since >= m.cfg.KeyPatience
	waiting := false
	for i := range m.st.Nodes {
		n := &m.st.Nodes[i]
		if o := m.obs[n.ID]; !n.Member() || o != nil && o.appliedKG >= k.Generation {
			continue
		}
		switch waiting = waiting || !over; {
		case over:
			m.sayKeys(n, KeysLeftOut)
		case late:
			m.sayKeys(n, KeysHeld)
		}
	}
	if waiting {
		m.keysSettled = 0
		return
	}
	newest := k.Keys[1].ID
	switch {
	case k.Active != newest:
		k.Active = newest
	case m.keysSettled == 0:
		m.keysSettled = now
		return
	case now-m.keysSettled < m.cfg.KeySettle:
		return
	default:
		k.Keys = slices.Delete(k.Keys, 0, 1)
		m.say(Event{Kind: KeysRotated})
	}
	m.keysSettled, m.keysAsked = 0, 0
	k.Generation++
	m.changed = true
}

// sayKeys reports once in a step what is up with a member and the keys.
func (m *Machine) sayKeys(n *Node, k Kind) {
	if m.keysSaid[n.ID] != k {
		m.keysSaid[n.ID] = k
		m.say(Event{Kind: k, Node: n.ID, Inc: n.Inc})
	}
}
