package main

import "testing"

// brief is the timeline of the short form: the run is steady, and what went wrong is over in the
// end.
var brief = timeline{begin: 22_000, aside: 26_000, degrade: 23_000, heal: 25_000, admit: 26_000, full: 23_000, length: 29_000}

// TestShort is the short form of all runs: each kind of fault once. Without one the rate is high
// enough for what the long runs found at first; a fault has to be seen, not to last.
func TestShort(t *testing.T) {
	list := append([]scenario{sound("sound", 2, 1, 1000, 22_000)}, brief.scenarios(250)...)
	for _, s := range list {
		t.Run(s.name, func(t *testing.T) {
			r, err := measure(s, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r)
			for _, c := range verdict(s, r) {
				if !c.holds {
					t.Errorf("%s: %s", c.name, c.why)
				}
			}
		})
	}
}
