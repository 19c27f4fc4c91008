package syncwire

import (
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecodeRefuses(t *testing.T) {
	const profileOnly = "96 0900 28 01 01 03 0000 901c 01"
	for _, row := range []struct {
		name, tlvs string
		want       Reason
	}{
		{"nothing at all", "", NoClock},
		{"another TLV before the clock", "17 0000" + clockHex, NoClock},
		{"half a TLV header", clockHex + "84 00", Truncated},
		{"a TLV longer than the datagram", clockHex + "84 0100", Truncated},
		{"a length of 65535", clockHex + "17 ffff 00", Truncated},
		{"a short clock", "81 0f00 0200000000000000 03000000000000", Truncated},
		{"a second clock", clockHex + clockHex, Repeated},
		{"a second hello", clockHex + strings.Repeat("82 3500"+strings.Repeat("00", 53), 2), Repeated},
		{"a second probe", clockHex + strings.Repeat("15 5d00"+strings.Repeat("00", 93), 2), Repeated},
		{"an unknown critical kind", clockHex + "ff 0000", UnknownKind},
		{"a reserved kind that is sent as critical", clockHex + "87 0000", UnknownKind},
		{"kind 0 as critical", clockHex + "80 0000", UnknownKind},
		{"a record cut behind its head", clockHex + profileOnly + "84 0100 20", Truncated},
		{"a record without the entries it names", clockHex + "84 1100" + record4Hex, BadReference},
		{"a record before its dictionary", clockHex + "84 1100" + record4Hex + "96 2a00" + dict4, BadReference},
		{"a record with a server beyond the dictionary", clockHex + "96 2a00" + dict4 + "84 1100 00 01 c0000201 3412 7856 05000080 2c01 02", BadReference},
		{"a record with a laddr beyond the dictionary", clockHex + "96 2a00" + dict4 + "84 1100 10 00 c0000201 3412 7856 05000080 2c01 02", BadReference},
		{"a record with a profile beyond the dictionary", clockHex + "96 2a00" + dict4 + "84 1100 01 00 c0000201 3412 7856 05000080 2c01 02", BadReference},
		{"a record with an owner beyond the dictionary", clockHex + "96 2a00" + dict4 + "84 1300 40 02 00 c0000201 3412 7856 05000080 2c01 02 00", BadReference},
		{"a short birth without a base", clockHex + "96 2300 28 01 01 03 0000 901c 01  85 04 0a000101  49 06 04 c6336401 5000 03  69 00 04 0a000005 901f 08" +
			"84 1100" + record4Hex, BadReference},
		{"a record whose more byte has reserved bits", clockHex + "96 2a00" + dict4 + "84 1200 40 20 00 c0000201 3412 7856 05000080 2c01 02", ReservedBits},
		{"a record that ends within a field", clockHex + "96 2a00" + dict4 + "84 1000 00 00 c0000201 3412 7856 05000080 2c01", Truncated},
		{"a record whose extension is longer than its TLV", clockHex + "96 2a00" + dict4 + "84 1300 40 08 00 c0000201 3412 7856 05000080 2c01 02 01", Truncated},
		{"sequence hints of a third direction", clockHex + "96 2a00" + dict4 + "84 1300 40 01 00 c0000201 3412 7856 05000080 2c01 02 04", ReservedBits},
		{"a version of more than 32 bits", clockHex + "96 2a00" + dict4 + "84 1500 00 00 c0000201 3412 7856 05000080 2c01 ffffffff1f", BadNumber},
		{"a version that never ends", clockHex + "96 2a00" + dict4 + "84 1600 00 00 c0000201 3412 7856 05000080 2c01 ffffffffff01", BadNumber},
		{"a laddr of the other family than the server", clockHex + "96 3600 28 01 01 03 0000 901c 01  91 06 20010db8000000000000000000000004  49 06 04 c6336401 5000 03" +
			"69 00 04 0a000005 901f 08  c6 000080ff7f01 84 1100" + record4Hex, BadReference},
		{"a mode that is none", clockHex + "96 0900 28 00 01 03 0000 901c 01", BadValue},
		{"a mode beyond the last", clockHex + "96 0900 28 06 01 03 0000 901c 01", BadValue},
		{"a state beyond the last", clockHex + "96 0900 28 01 0f 03 0000 901c 01", BadValue},
		{"a timeout above 30 days", clockHex + "96 0c00 2b 01 01 03 0000 81 9a 9e 01 01 01", BadValue},
		{"an address family 5", clockHex + "96 0a00 49 06 05 c6336401 5000 03", BadFamily},
		{"an address that shares all of its four bytes", clockHex + "96 0200 81 44", BadDictionary},
		{"an address that shares more than it has", clockHex + "96 0200 81 f4", BadDictionary},
		{"a laddr with the port of nobody", clockHex + "96 0600 85 0c 0a000101", BadDictionary},
		{"an address that is cut behind its shared bytes", clockHex + "96 0300 82 e6 01", Truncated},
		{"an entry longer than the dictionary", clockHex + "96 0200 3f 01", Truncated},
		{"an entry shorter than its fields", clockHex + "96 0300 82 04 0a", Truncated},
		{"an entry of tag 0", clockHex + "96 0100 00", BadDictionary},
		{"two bases", clockHex + "96 0e00" + strings.Repeat("c6 000000000000", 2), BadDictionary},
		{"a short birth beyond 48 bits", clockHex + "96 2a00 28 01 01 03 0000 901c 01  85 04 0a000101  49 06 04 c6336401 5000 03  69 00 04 0a000005 901f 08" +
			"c6 ffffffffffff 84 1100 00 00 c0000201 3412 7856 05010000 2c01 02", BadReference},
		{"a laddr reference of its own byte beyond the dictionary", clockHex + "96 2a00" + dict4 + "84 1200 30 00 01 c0000201 3412 7856 05000080 2c01 02", BadReference},
		{"tuples in full with a laddr reference", clockHex + "96 2a00" + dict4 + "84 2600 90" + key4Hex + key4Hex + "03 04 05000080 2c01 02", ReservedBits},
		{"a server of a service that isn't there", clockHex + "96 0a00 69 00 04 0a000005 901f 08", BadReference},
		{"16 profiles", clockHex + "96 9000" + strings.Repeat("28 01 01 03 0000 901c 01", 16), TooMany},
		{"a key of family 0", clockHex + "10 1700 0100000000000000 02 00 06 c0000201 3412 c6336401 5000", BadFamily},
		{"a hint with its reserved bit", clockHex + "88 1a00" + key4Hex + "40 78 0500000000000000 0100", ReservedBits},
		{"a hint with FIN but without its number", clockHex + "88 1a00" + key4Hex + "04 78 0500000000000000 0100", Truncated},
		{"an answer that is neither found nor not", clockHex + "91 0900 0100000000000000 02", BadValue},
		{"a gap whose count is larger than its body", clockHex + "0b 0600 01000000 02 10", Truncated},
		{"a gap whose count is above the bound", clockHex + "0b 1601 01000000 02 11" + strings.Repeat("00", 272), TooMany},
		{"a gap of a lane that isn't there", clockHex + "0b 0600 01000000 03 00", BadLane},
		{"a gap that runs backwards", clockHex + "0b 1600 01000000 02 01 0300000000000000 0200000000000000", BadValue},
		{"seven gaps", clockHex + strings.Repeat("0b 0600 01000000 02 00", 7), TooMany},
		{"half the sums of a bucket", clockHex + "0c 1500 01000000 02 0300000000000000 0400000000000000", Truncated},
		{"the sums of 257 buckets", clockHex + "0c 2521" + strings.Repeat("00", 257*37), Long},
		{"a hello whose versions run backwards", clockHex + "82 3500" + strings.Repeat("00", 48) + "02 01 00 0000", BadValue},
		{"orphans that are neither in nor out", clockHex + "0e 2100" + strings.Repeat("00", 32) + "02", BadValue},
		{"a prefix of 33 bits", clockHex + "13 1e00 04 21" + strings.Repeat("00", 28), BadValue},
		{"a prefix of 129 bits", clockHex + "13 2a00 06 81" + strings.Repeat("00", 40), BadValue},
		{"something good, then something bad", clockHex + "96 2a00" + dict4 + "84 1100" + record4Hex + "ff 0000", UnknownKind},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, why := NewDecoder().Decode(testHeader(LaneLive), unhex(t, row.tlvs))
			if why != row.want || f != nil {
				t.Errorf("got %v and frame %v, want %v and none", why, f != nil, row.want)
			}
		})
	}
}

func TestDecodeReadsWhatANewerMinorAdds(t *testing.T) {
	for _, row := range []struct {
		name, tlvs string
		skipped    int
	}{
		{"an unknown kind that may be skipped", clockHex + "7f 0300 aabbcc 84 0000", 1},
		{"a reserved kind that may be skipped", clockHex + "18 0100 aa", 1},
		{"a clock that has grown", "81 1200 0200000000000000 0300000000000000 eeee", 0},
		{"a hello that has grown", clockHex + "82 3700" + strings.Repeat("00", 55), 0},
		{"a dictionary entry of an unknown tag", clockHex + "96 0300 e2 aabb", 0},
		{"a dictionary entry that has grown", clockHex + "96 2e00 2a 01 01 03 0000 901c 01 eeee  87 04 0a000101 eeee  49 06 04 c6336401 5000 03  69 00 04 0a000005 901f 08" +
			"c6 000080ff7f01 84 1100" + record4Hex, 0},
		{"a record with an extension", clockHex + "96 2a00" + dict4 + "84 1500 40 08 00 c0000201 3412 7856 05000080 2c01 02 02 eeee", 0},
		{"a dictionary in two parts", clockHex + "96 0900 28 01 01 03 0000 901c 01 96 2100 85 04 0a000101 49 06 04 c6336401 5000 03" +
			"69 00 04 0a000005 901f 08  c6 000080ff7f01 84 1100" + record4Hex, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := NewDecoder()
			f, why := d.Decode(testHeader(LaneLive), unhex(t, row.tlvs))
			if why != OK {
				t.Fatal(why)
			}
			if f.View != 2 || f.Sent != 3 || f.Skipped != row.skipped {
				t.Errorf("view %d sent %d skipped %d, want 2 3 %d", f.View, f.Sent, f.Skipped, row.skipped)
			}
			if len(f.Messages) == 1 && f.Messages[0].Rec != record4() {
				t.Errorf("got %+v", f.Messages[0].Rec)
			}
			if strings.Contains(row.tlvs, "c0000201") && len(f.Messages) != 1 {
				t.Errorf("%d messages", len(f.Messages))
			}
		})
	}
}

// TestDecodeLeavesNothingBehind decodes a rich datagram, then poor ones, and wants no trace of the first.
func TestDecodeLeavesNothingBehind(t *testing.T) {
	b, d := NewBuilder(selfInc, selfID), NewDecoder()
	b.Reset(make([]byte, 4000), LaneLive, 5, 6)
	rich := with(record6(), func(r *Record) {
		r.OwnerInc, r.OwnerID, r.Bucket = 99, 98, 1
		r.Seq = [2]Seq{{1, 2, 3, 1}, {4, 5, 6, 1}}
	})
	for _, k := range []Kind{KindSession, KindDigestList, KindAnswer, KindHint} {
		b.Message(&Message{Kind: k, Dir: 1, Hint: HintFin, Found: true, Round: 9, ID: 8, Hash: 7, Seq: 6, Rec: rich})
	}
	b.Probe(&Probe{Seq: 1, Lane: [NumLanes]LaneMark{{1, 2, 3}, {4, 5, 6}}})
	b.Gap(&Gap{Salt: 1, N: GapMax})
	b.Hello(&Hello{Nonce: bytes16(1), MaxMajor: 4}, true)
	b.Digest(&DigestSums{Round: 1, Sums: [4]uint64{1, 2, 3, 4}})
	b.DigestReply(&DigestReply{Round: 1})
	if f, why := d.Decode(testHeader(LaneLive), b.Finish()[HeaderLen:]); why != OK || len(f.Messages) != 4 || !f.Has(KindProbe) {
		t.Fatal(why)
	}
	if _, why := d.Decode(testHeader(LaneLive), unhex(t, clockHex+"84 1100"+record4Hex)); why != BadReference {
		t.Fatalf("the dictionary of the datagram before is still there: %v", why)
	}
	f, why := d.Decode(testHeader(LaneLive), unhex(t, clockHex+"96 2a00"+dict4+"84 1100"+record4Hex+"0b 0600 01000000 02 00"+
		"91 1800 0000000000000000 00 03"+key4Hex))
	if why != OK {
		t.Fatal(why)
	}
	if want := (Message{Kind: KindSession, Rec: record4()}); f.Messages[0] != want {
		t.Errorf("\n got %+v\nwant %+v", f.Messages[0], want)
	}
	if want := (Message{Kind: KindAnswer, Rec: Record{Orig: record4().Orig, Bucket: 3}}); f.Messages[1] != want {
		t.Errorf("\n got %+v\nwant %+v", f.Messages[1], want)
	}
	if f.Gaps[0] != (Gap{Salt: 1, Lane: LaneBulk}) {
		t.Errorf("got %+v", f.Gaps[0])
	}
	if f.Has(KindProbe) || f.Probe != (Probe{}) || f.HelloAck != (Hello{}) || len(f.Digests)+len(f.Replies) != 0 {
		t.Errorf("left behind: %+v", f)
	}
}

func TestHeader(t *testing.T) {
	h := Header{Inc: 0x1112131415161718, Counter: 0x2122232425262728, Sender: 0x31323334, Salt: 0x41424344, KeyID: 0x5152, Lane: LaneBulk, Minor: 3, Flags: 9}
	good := make([]byte, HeaderLen+tlvHeaderLen+clockLen+TagLen)
	h.Put(good)
	if want := unhex(t, "6866 01 03 02 09 5251 34333231 44434241 1817161514131211 2827262524232221"); string(good[:HeaderLen]) != string(want) {
		t.Errorf("\n got %x\nwant %x", good[:HeaderLen], want)
	}
	var got Header
	if why := got.Read(good); why != OK || got != h {
		t.Errorf("%v: got %+v, want %+v", why, got, h)
	}
	for _, row := range []struct {
		name string
		p    []byte
		at   int
		v    byte
		want Reason
	}{
		{"empty", nil, -1, 0, Short},
		{"one byte short", good[1:], -1, 0, Short},
		{"larger than any MTU", make([]byte, MaxDatagram+1), -1, 0, Long},
		{"another magic", good, 0, 0, BadMagic},
		{"another major", good, offMajor, 2, BadMajor},
		{"a fourth lane", good, offLane, 3, BadLane},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := append([]byte(nil), row.p...)
			if row.at >= 0 {
				p[row.at] = row.v
			}
			got := h
			if why := got.Read(p); why != row.want || got != (Header{}) {
				t.Errorf("got %v and %+v, want %v and a zero header", why, got, row.want)
			}
		})
	}
}
