package dpdk

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

func TestConfigIsChecked(t *testing.T) {
	null := PortConfig{Device: "net_null0,size=64", Workers: 2}
	for name, c := range map[string]struct {
		cfg  Config
		want []string // parts of the message; none: valid
	}{
		"zero value is usable":               {Config{}, nil},
		"vdev with arguments":                {Config{Ports: []PortConfig{null}}, nil},
		"allowed PCI device":                 {Config{PCI: []string{"0000:01:00.0"}, Ports: []PortConfig{{Device: "0000:01:00.0", Workers: 1}}}, nil},
		"PCI device that is not allowed":     {Config{Ports: []PortConfig{{Device: "0000:01:00.0", Workers: 1}}}, []string{"port 0", "not in the list"}},
		"PCI address without domain":         {Config{PCI: []string{"01:00.0"}}, []string{`"01:00.0"`}},
		"the same device twice":              {Config{Ports: []PortConfig{null, null}}, []string{"named twice"}},
		"kernel interface name as device":    {Config{Ports: []PortConfig{{Device: "eth0"}}}, []string{"neither a PCI address nor a network vdev"}},
		"crypto vdev":                        {Config{Ports: []PortConfig{{Device: "crypto_null0"}}}, []string{"neither"}},
		"no device":                          {Config{Ports: []PortConfig{{}}}, []string{"no device"}},
		"too many workers":                   {Config{Ports: []PortConfig{{Device: "net_null0", Workers: 65}}}, []string{"workers is 65, want 1 to 64"}},
		"negative workers":                   {Config{Ports: []PortConfig{{Device: "net_null0", Workers: -1}}}, []string{"workers is -1"}},
		"MTU beyond the data room":           {Config{Ports: []PortConfig{{Device: "net_null0", MTU: 9000}}}, []string{"MTU is 9000, want 68 to 2026"}},
		"jumbo with a matching data room":    {Config{DataRoom: 9400, Ports: []PortConfig{{Device: "net_null0", MTU: 9000}}}, nil},
		"pool larger than the memory":        {Config{NoHuge: true, Mbufs: 1 << 20}, []string{"256 MiB of memory can't hold 1048576 mbufs"}},
		"huge pages without a bound":         {Config{Mbufs: 1 << 20}, nil},
		"file prefix that leaves its folder": {Config{FilePrefix: "../x"}, []string{"file prefix"}},
		"unknown log level":                  {Config{LogLevel: "loud"}, []string{`log level "loud"`}},
		"two log levels":                     {Config{LogLevel: "info debug"}, []string{"log level"}},
		"every fault at once":                {Config{MainCore: -1, Mbufs: 3, LogLevel: "x"}, []string{"main core", "mbufs is 3", "log level"}},
		"descriptors beyond all rings":       {Config{Ports: []PortConfig{{Device: "net_null0", RxDesc: 1 << 20, TxDesc: -1}}}, []string{"receive descriptors", "transmit descriptors is -1"}},
		"endless device arguments":           {Config{Ports: []PortConfig{{Device: "net_null0," + strings.Repeat("x", 300)}}}, []string{"at most 255"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.cfg.Validate()
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("message lacks %q: %v", w, err)
				}
			}
		})
	}
}

func TestEALArguments(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"huge pages":    {Config{}, "dpd -l 0 --file-prefix holdfast --no-telemetry --log-level warning --in-memory --no-pci"},
		"no huge pages": {Config{NoHuge: true, MainCore: 1, FilePrefix: "n1"}, "dpd -l 1 --file-prefix n1 --no-telemetry --log-level warning --no-huge --no-shconf --iova-mode va -m 256 --no-pci"},
		"PCI devices":   {Config{PCI: []string{"0000:01:00.0", "0000:01:00.1"}}, "dpd -l 0 --file-prefix holdfast --no-telemetry --log-level warning --in-memory -a 0000:01:00.0 -a 0000:01:00.1"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.setDefaults()
			if got := c.cfg.args(); !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestBuffersOfAFXDPFillAPage(t *testing.T) {
	xdp := []PortConfig{{Device: "net_af_packet0,iface=a"}, {Device: "net_af_xdp0,iface=b"}}
	for name, c := range map[string]struct {
		cfg   Config
		room  int
		whole bool
	}{
		"another device":            {Config{Ports: xdp[:1]}, defaultDataRoom, false},
		"one of two devices":        {Config{Ports: xdp}, pageRoom, true},
		"room of its own":           {Config{Ports: xdp, DataRoom: 3000}, pageRoom, true},
		"more room than a page has": {Config{Ports: xdp, DataRoom: pageRoom + 1}, pageRoom + 1, false},
		"no device at all":          {Config{}, defaultDataRoom, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.setDefaults()
			if c.cfg.DataRoom != c.room || c.cfg.wholePages() != c.whole {
				t.Errorf("room %d, whole pages %v", c.cfg.DataRoom, c.cfg.wholePages())
			}
		})
	}
}

func TestPinRefusesCoresThatCannotBe(t *testing.T) {
	for _, core := range []int{-1, 1024, 1 << 30} {
		if Pin(core) == nil {
			t.Errorf("pinned to core %d", core)
		}
	}
}

func TestRSSKeyFitsTheDevice(t *testing.T) {
	var key steer.Key
	for i := range key {
		key[i] = byte(i + 1)
	}
	for name, c := range map[string]struct {
		key  *steer.Key
		size int
		want []byte
	}{
		"device without a size": {&key, 0, key[:]},
		"device of the same":    {&key, 40, key[:]},
		"device with a longer":  {&key, 52, append(slices.Clone(key[:]), make([]byte, 12)...)},
		"device with a shorter": {&key, 16, nil},
		"cluster without a key": {nil, 40, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rssKey(c.key, c.size); !slices.Equal(got, c.want) {
				t.Errorf("got %x", got)
			}
		})
	}
}
