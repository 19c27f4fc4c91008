package steer

import (
	"fmt"
	"math/bits"
)

const (
	// Buckets is the number of steering units.
	Buckets = 256
	// MaxWorkers bounds the workers of a node.
	MaxWorkers = 64
	// mapPeriod is the number of low bits' values by which a Map repeats, so that a device table of 128 entries holds it too.
	mapPeriod = 128
)

// Map gives each bucket the worker that owns it. Each node has its own, so worker counts may differ between nodes.
type Map [Buckets]uint8

// NewMap shares the buckets evenly among n workers. Each worker's share is made of blocks that agree in some low bits
// (3 workers: 11 blocks), so that a device needs few port-mask rules.
func NewMap(n int) (Map, error) {
	if n < 1 || n > MaxWorkers {
		return Map{}, fmt.Errorf("steer: %d workers, want 1 to %d", n, MaxWorkers)
	}
	var m Map
	share := func(w int) int {
		s := mapPeriod / n
		if w < mapPeriod%n {
			s++
		}
		return s
	}
	// A share is a sum of powers of two; blocks are handed out by falling size, so each starts on a multiple of its size.
	// A block is contiguous in bit-reversed order, hence agrees in its low bits.
	at := 0
	for size := mapPeriod; size > 0; size /= 2 {
		for w := range n {
			if share(w)&size == 0 {
				continue
			}
			for i := at; i < at+size; i++ {
				b := int(bits.Reverse8(uint8(i)) >> 1)
				m[b], m[b+mapPeriod] = uint8(w), uint8(w)
			}
			at += size
		}
	}
	return m, nil
}

// Worker is the owner of a bucket.
func (m *Map) Worker(bucket uint8) int { return int(m[bucket]) }

// RETA is the redirection table of a device with size entries, by queue; size must be a multiple of 128.
func (m *Map) RETA(size int) ([]uint16, error) {
	if size <= 0 || size%mapPeriod != 0 {
		return nil, fmt.Errorf("steer: a redirection table of %d entries can't hold the buckets, want a multiple of %d", size, mapPeriod)
	}
	t := make([]uint16, size)
	for i := range t {
		t[i] = uint16(m[i%Buckets])
	}
	return t, nil
}

// maskBlock is a set of buckets of one worker: those whose low bits under mask are value.
type maskBlock struct {
	value, mask uint16
	worker      uint8
}

// blocks is the smallest partition of the buckets into blocks of low bits of one worker each.
func (m *Map) blocks() []maskBlock {
	var out []maskBlock
	var split func(value, mask uint16)
	split = func(value, mask uint16) {
		step := int(mask) + 1
		for b := int(value); b < Buckets; b += step {
			if m[b] != m[value] {
				split(value, mask<<1|1)
				split(value|uint16(step), mask<<1|1)
				return
			}
		}
		out = append(out, maskBlock{value, mask, m[value]})
	}
	split(0, 0)
	return out
}
