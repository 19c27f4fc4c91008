package worker

// tokens is a token bucket for the answers that this worker makes by itself.
type tokens struct {
	rate  uint32 // per millisecond
	burst uint32
	level uint32
	at    uint32
}

func (t *tokens) take(now uint32) bool {
	if d := now - t.at; d > 0 {
		t.level = min(t.burst, t.level+min(d, t.burst)*t.rate)
		t.at = now
	}
	if t.level == 0 {
		return false
	}
	t.level--
	return true
}
