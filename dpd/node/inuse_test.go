package node

import (
	"errors"
	"net"
	"testing"
)

// One restart at once after kill -9 ended with "address already in use".
func TestListeningWaitsForAProcessThatIsStillGoing(t *testing.T) {
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	tries := 0
	err = whileInUse(func() (err error) {
		if tries++; tries == 3 {
			old.Close()
		}
		l, err = net.Listen("tcp", old.Addr().String())
		return err
	})
	if err != nil || tries < 3 {
		t.Fatalf("%d tries: %v", tries, err)
	}
	l.Close()
	other := errors.New("no permission")
	tries = 0
	if err := whileInUse(func() error { tries++; return other }); !errors.Is(err, other) || tries != 1 {
		t.Errorf("%d tries of what time does not mend: %v", tries, err)
	}
}
