package sim

import "github.com/holdfast-lb/holdfast/dpd/internal/syncseal"

// setKeys gives a node the i-th set of keys: a key alone, then with the next one, then with that active, and so on.
func (n *node) setKeys(i int) {
	n.keys = i
	of := func(k int) syncseal.Key { return syncseal.Key{ID: uint16(7 + k), Secret: [32]byte{1, 2, byte(3 + k)}} }
	old := i / 3
	var err error
	switch i % 3 {
	case 0:
		err = n.sync.SetKeys(of(old).ID, of(old))
	case 1:
		err = n.sync.SetKeys(of(old).ID, of(old), of(old+1))
	default:
		err = n.sync.SetKeys(of(old+1).ID, of(old), of(old+1))
	}
	if err != nil {
		panic(err)
	}
}
