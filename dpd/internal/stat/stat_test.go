package stat

import "testing"

func TestEveryCounterHasAnOwnName(t *testing.T) {
	seen := map[string]Counter{}
	for c := range NumCounters {
		n := c.String()
		if n == "" || n == "unknown" {
			t.Errorf("counter %d has no name", c)
		}
		if o, ok := seen[n]; ok {
			t.Errorf("counters %d and %d share the name %q", o, c, n)
		}
		seen[n] = c
	}
	if got := NumCounters.String(); got != "unknown" {
		t.Errorf("a counter out of range is called %q", got)
	}
}

func TestReadersSeeWhatWasPublished(t *testing.T) {
	local := make([]uint64, NumCounters)
	s := NewShared(len(local))
	local[DropNoPort] = 7
	if got := s.Load(int(DropNoPort)); got != 0 {
		t.Errorf("%d before Publish", got)
	}
	s.Publish(local)
	if got := s.Load(int(DropNoPort)); got != 7 {
		t.Errorf("%d after Publish, want 7", got)
	}
}
