package syncer

import (
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
)

// What a Snapshot leaves out: counts, scratch, caches that hold what can be derived, the limits of what may be tried, and the
// memory of what was sent, which only grows together with counters that are a part of it.
var notState = map[string]bool{
	"Sync.Count": true, "Sync.d": true, "Sync.end": true, "Sync.decoder": true, "Sync.now": true, "Sync.cfg": true, "Ring.mac": true,
	"Ring.salts": true, "Opener.aead": true, "Opener.id": true, "Opener.gen": true, "Opener.nonce": true, "Sealer.nonce": true,
	"outLane.builder": true, "outLane.buf": true, "outLane.grams": true, "outLane.refs": true,
	"remote.vouched": true, "remote.former": true, "remote.blind": true, "remote.tried": true, "remote.tries": true,
	"PeerStatus.Refused": true,
}

// Snapshot is a hash of all that a Sync remembers, so that a test sees whether anything changed.
func (y *Sync) Snapshot() uint64 {
	h := fnv.New64a()
	write(h, reflect.ValueOf(y), map[uintptr]bool{})
	return h.Sum64()
}

func write(w io.Writer, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			fmt.Fprintf(w, "*%t", v.IsNil())
			return
		}
		seen[v.Pointer()] = true
		write(w, v.Elem(), seen)
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Name() + "." + v.Type().Field(i).Name; !notState[name] {
				fmt.Fprint(w, name)
				write(w, v.Field(i), seen)
			}
		}
	case reflect.Slice, reflect.Array:
		fmt.Fprint(w, v.Len(), "[")
		for i := range v.Len() {
			write(w, v.Index(i), seen)
		}
	case reflect.Map: // of what lies in slices, too
		fmt.Fprint(w, v.Len())
	case reflect.Interface, reflect.Func:
		fmt.Fprint(w, v.IsNil())
	case reflect.Bool:
		fmt.Fprint(w, v.Bool())
	case reflect.String:
		fmt.Fprint(w, v.String())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		fmt.Fprint(w, v.Uint(), ",")
	default:
		fmt.Fprint(w, v.Int(), ",")
	}
}
