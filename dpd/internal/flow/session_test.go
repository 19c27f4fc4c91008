package flow

import "testing"

func TestVersionsAreOrderedByCloseThenTermThenOwnerThenVersion(t *testing.T) {
	base := Session{Term: 2, Ver: 5, Owner: Node{Inc: 10, ID: 3}}
	for _, row := range []struct {
		name   string
		change func(*Session)
	}{
		{"a close with a lower term", func(s *Session) { s.Flags, s.Term, s.Ver = HardTomb, 1, 1 }},
		{"a higher term with a lower version", func(s *Session) { s.Term, s.Ver = 3, 1 }},
		{"a higher term of a lower owner", func(s *Session) { s.Term, s.Owner = 3, Node{Inc: 1, ID: 1} }},
		{"a higher incarnation of a lower id", func(s *Session) { s.Owner = Node{Inc: 11, ID: 1} }},
		{"a higher id of the same incarnation", func(s *Session) { s.Owner.ID = 4 }},
		{"a higher version", func(s *Session) { s.Ver = 6 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			higher := base
			row.change(&higher)
			if a, b := higher.CompareVersion(&base), base.CompareVersion(&higher); a != 1 || b != -1 {
				t.Errorf("%d and %d", a, b)
			}
		})
	}
	aged := base
	aged.Flags = SoftTomb | ReplyOnly | Synced
	if aged.CompareVersion(&base) != 0 {
		t.Error("a soft tombstone is not newer by itself")
	}
}

func TestOfTwoLivesTheLaterBirthWinsAndOfEqualOnesTheGreaterReplyTuple(t *testing.T) {
	a := Session{Birth: 7, Orig: key(t, "192.0.2.1:1", "192.0.2.9:80"), Reply: key(t, "10.0.0.1:80", "10.8.0.1:2000")}
	b := a
	if !a.SameLife(&b) || a.CompareLife(&b) != 0 {
		t.Error("equal lives are not the same")
	}
	b.Birth = 8
	if a.SameLife(&b) || b.CompareLife(&a) != 1 || a.CompareLife(&b) != -1 {
		t.Error("the later birth does not win")
	}
	b = a
	b.Reply = key(t, "10.0.0.1:80", "10.8.0.1:2001")
	if a.SameLife(&b) || b.CompareLife(&a) != 1 || a.CompareLife(&b) != -1 {
		t.Error("the greater reply tuple does not win")
	}
}

func TestEventKindsHaveTokens(t *testing.T) {
	for k := EventCreated; k <= EventDesync; k++ {
		if k.String() == "unknown" || k.String() == "" {
			t.Errorf("kind %d has no token", k)
		}
	}
}
