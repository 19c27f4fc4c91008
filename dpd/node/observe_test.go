package node

import (
	"reflect"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/flow"
	"github.com/holdfast-lb/holdfast/dpd/internal/syncer"
)

// What a link knows reaches the control plane whole: a field that nobody fills is a word that nobody ever hears.
func TestEachFieldOfALinkIsTold(t *testing.T) {
	var o observation
	o.add(&syncer.PeerStatus{
		Node: flow.Node{ID: 1, Inc: 2}, Linked: true, Suspected: true, Desync: true, MTU: 1400, ProbeAge: 1, Unheard: 2, Timed: true,
		RTT: 3, Offset: 4, Sent: 5, Received: 6, Gaps: 7, Lag: 8, Refused: 9, RecordsSent: 10, RecordsGot: 11,
	})
	// These are of what the workers say.
	elsewhere := map[string]bool{"DigestEqual": true, "DigestEverEqual": true, "DigestEqualAgeMS": true}
	v := reflect.ValueOf(o.peers[0])
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() != elsewhere[name] {
			t.Errorf("%s is %v", name, v.Field(i))
		}
	}
}
