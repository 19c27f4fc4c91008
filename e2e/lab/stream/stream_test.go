package stream

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func frames(conn uint32, seqs ...uint32) []byte {
	var b []byte
	for _, s := range seqs {
		b = Append(b, FromClient, conn, s, int(s%7)*100)
	}
	return b
}

func TestReader(t *testing.T) {
	change := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	long := Append(nil, FromClient, 1, 0, 0)
	long[13] = 0xff
	for name, row := range map[string]struct {
		data []byte
		good int
		want error
	}{
		"frames in order":              {frames(1, 0, 1, 2, 3), 4, io.EOF},
		"nothing":                      {nil, 0, io.EOF},
		"a frame doubled":              {frames(1, 0, 1, 1), 2, ErrSequence},
		"a frame missing":              {frames(1, 0, 2), 1, ErrSequence},
		"a stream joined in its midst": {frames(1, 5), 0, ErrSequence},
		"another connection's frame":   {append(frames(1, 0), frames(2, 1)...), 1, ErrConn},
		"the other direction":          {Append(nil, FromServer, 1, 0, 5), 0, ErrMagic},
		"a changed payload":            {change(frames(1, 0, 1), HeaderSize+HeaderSize+50), 1, ErrContent},
		"a changed checksum":           {change(frames(1, 0), 16), 0, ErrContent},
		"a length beyond the bound":    {long, 0, ErrLength},
		"an end within a header":       {frames(1, 0)[:10], 0, io.ErrUnexpectedEOF},
		"an end within a payload":      {frames(1, 0, 1)[:HeaderSize+HeaderSize+3], 1, io.ErrUnexpectedEOF},
		"an end after a header":        {frames(1, 0, 1)[:HeaderSize+HeaderSize], 1, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(row.data), FromClient, 0, false)
			for range row.good {
				if _, _, _, err := r.Next(); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, _, err := r.Next(); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestReaderKnowsItsConnection(t *testing.T) {
	r := NewReader(bytes.NewReader(frames(2, 0)), FromClient, 1, true)
	if _, _, _, err := r.Next(); !errors.Is(err, ErrConn) {
		t.Errorf("got %v", err)
	}
}

func TestDatagrams(t *testing.T) {
	conn, seq, err := ParseAsk(AppendAsk(nil, 7, 9))
	if conn != 7 || seq != 9 || err != nil {
		t.Errorf("%d %d %v", conn, seq, err)
	}
	for _, seen := range []string{"192.0.2.1:5000", "[2001:db8::1]:65535"} {
		e := Echo{Conn: 7, Seq: 9, Seen: netip.MustParseAddrPort(seen), Server: "rs1"}
		got, err := ParseEcho(AppendEcho(nil, e))
		if got != e || err != nil {
			t.Errorf("%+v %v", got, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty": nil, "an ask": AppendAsk(nil, 1, 1), "cut": AppendEcho(nil, Echo{Server: "x"})[:29],
		"too long": append(AppendEcho(nil, Echo{Server: strings.Repeat("x", maxName)}), 'x'),
	} {
		if _, err := ParseEcho(b); !errors.Is(err, ErrDatagram) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ParseAsk(AppendEcho(nil, Echo{})); !errors.Is(err, ErrDatagram) {
		t.Errorf("an echo as ask: %v", err)
	}
}
