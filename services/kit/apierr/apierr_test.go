package apierr

import (
	"fmt"
	"regexp"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestTableHoldsEachReasonOnceWithACodeAndAMeaning(t *testing.T) {
	shape := regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	seen := map[string]bool{}
	for _, r := range Table() {
		if !shape.MatchString(r.Name) || len(r.Name) > 63 {
			t.Errorf("%q is not UPPER_SNAKE of at most 63 characters", r.Name)
		}
		if seen[r.Name] {
			t.Errorf("%s is there twice", r.Name)
		}
		seen[r.Name] = true
		if r.Code == codes.OK || r.Doc == "" {
			t.Errorf("%s lacks a code or a meaning", r.Name)
		}
	}
}

func TestNewCarriesReasonAndCodeOverTheWire(t *testing.T) {
	for _, r := range Table() {
		err := With(r, map[string]string{"a": "b"}, "number %d", 7)
		// What a client gets is rebuilt from the status proto.
		remote := status.FromProto(status.Convert(err).Proto()).Err()
		if status.Code(remote) != r.Code || !Is(remote, r) || status.Convert(remote).Message() != "number 7" {
			t.Errorf("%s became %v with reason %q", r.Name, remote, ReasonOf(remote))
		}
	}
}

func TestReasonOfForeignErrorsIsEmpty(t *testing.T) {
	for _, err := range []error{nil, fmt.Errorf("plain"), status.Error(codes.Internal, "no details")} {
		if got := ReasonOf(err); got != "" {
			t.Errorf("ReasonOf(%v) = %q", err, got)
		}
		if Fields(err) != nil {
			t.Errorf("Fields(%v) is not empty", err)
		}
	}
}

func TestViolationsListEveryFieldUpToTheBound(t *testing.T) {
	var v Violations
	if v.Err() != nil {
		t.Fatal("no violation is an error")
	}
	for i := range maxViolations + 5 {
		v.Add(fmt.Sprintf("f[%d]", i), "is %s", "wrong")
	}
	err := v.Err()
	if !Is(err, BadRequest) || status.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v", err)
	}
	f := Fields(err)
	if len(f) != maxViolations || f[0] != "f[0]" || f[99] != "f[99]" {
		t.Fatalf("fields %v", f)
	}
	if want := "f[0]: is wrong (and 104 more)"; status.Convert(err).Message() != want {
		t.Errorf("message %q, want %q", status.Convert(err).Message(), want)
	}
}
