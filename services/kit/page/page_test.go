package page

import (
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/services/kit/apierr"
)

func TestSizeAppliesDefaultAndCap(t *testing.T) {
	for in, want := range map[int32]int{0: 50, 1: 1, 999: 999, 1000: 1000, 1001: 1000, 1 << 30: 1000} {
		if got, err := Size(in); err != nil || got != want {
			t.Errorf("Size(%d) = %d, %v; want %d", in, got, err, want)
		}
	}
	if _, err := Size(-1); !apierr.Is(err, apierr.BadRequest) {
		t.Errorf("a negative size gave %v", err)
	}
}

func TestTokenComesBackUnderItsOwnScopeAlone(t *testing.T) {
	for _, pos := range []string{"", "a", "virtualServices/web", "\x00\xff", strings.Repeat("x", 500)} {
		tok := Token("list a", pos)
		if got, err := Position("list a", tok); err != nil || got != pos {
			t.Errorf("position %q came back as %q, %v", pos, got, err)
		}
		if _, err := Position("list b", tok); !apierr.Is(err, apierr.BadPageToken) {
			t.Errorf("a token of another scope gave %v", err)
		}
	}
	if got, err := Position("any", ""); err != nil || got != "" {
		t.Errorf("the empty token gave %q, %v", got, err)
	}
}

func FuzzPositionRefusesWhatItDidNotGiveOut(f *testing.F) {
	f.Add("scope", "AAAA")
	f.Add("scope", Token("scope", "x"))
	f.Add("", strings.Repeat("A", maxToken+1))
	f.Fuzz(func(t *testing.T, scope, token string) {
		pos, err := Position(scope, token)
		if err != nil {
			if !apierr.Is(err, apierr.BadPageToken) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := Position(scope, Token(scope, pos))
		if err != nil || again != pos {
			t.Fatalf("%q is not a fix-point: %q, %v", pos, again, err)
		}
	})
}

type request struct {
	size  int32
	token string
}

func (r request) GetPageSize() int32   { return r.size }
func (r request) GetPageToken() string { return r.token }

func TestBothFieldsOfARequestAreRead(t *testing.T) {
	if size, after, err := Of("list a", request{7, Token("list a", "x")}); size != 7 || after != "x" || err != nil {
		t.Errorf("%d %q %v", size, after, err)
	}
	if _, _, err := Of("list a", request{-1, ""}); !apierr.Is(err, apierr.BadRequest) {
		t.Errorf("a negative size gave %v", err)
	}
	if _, _, err := Of("list a", request{1, Token("list b", "x")}); !apierr.Is(err, apierr.BadPageToken) {
		t.Errorf("a token of another scope gave %v", err)
	}
}
