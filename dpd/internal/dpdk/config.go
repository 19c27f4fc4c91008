package dpdk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

const (
	// headroom is RTE_PKTMBUF_HEADROOM: the free bytes in front of a received packet.
	headroom = 128
	// frameOverhead is what a frame of MTU bytes needs around it: Ethernet header and two VLAN tags.
	frameOverhead = 14 + 8

	defaultDataRoom = headroom + 2048
	defaultMbufs    = 16384
	defaultMemoryMB = 256
	defaultDesc     = 1024

	maxQueues   = steer.MaxWorkers + 1
	maxDataRoom = 16384 + headroom
	maxMbufs    = 1 << 24
	// pageRoom is the data room with which a packet buffer, its mbuf (128 bytes) and object header (64) fill a page as far as DPDK lets
	// them: an odd number of cache lines. See Config.wholePages.
	pageRoom = 63*64 - 128 - 64
	// mbufOverhead is an upper bound of what the pool adds to each buffer: the mbuf, object header and padding.
	mbufOverhead = 320
)

// Config is what the EAL and the packet pool need. The zero value is usable; fields that are 0 take the default.
type Config struct {
	// FilePrefix keeps the processes of one machine apart.
	FilePrefix string
	// LogLevel of DPDK's own messages on stderr: emergency to debug; default warning.
	LogLevel string
	// PCI are the devices that the EAL may touch (0000:01:00.0). Empty: the PCI bus is not looked at.
	PCI []string
	// Ports are opened in this order; the index is the port's number in Runtime.Port.
	Ports []PortConfig
	// MainCore is the core of the EAL's control thread. Packet threads register by themselves, so the EAL starts none.
	MainCore int
	// MemoryMB is the memory to take, in MiB: default 256 with NoHuge, as needed otherwise.
	MemoryMB int
	// Mbufs is the number of packets in the pool; default 16384.
	Mbufs int
	// DataRoom is the bytes of each packet buffer, headroom included; default 2176, which holds an MTU of 1500 and more; 3840
	// with net_af_xdp.
	DataRoom int
	// NoHuge runs without huge pages.
	NoHuge bool
}

// PortConfig is one device.
type PortConfig struct {
	// Device is a vdev with its arguments (net_af_packet0,iface=eth0,qpairs=3) or a PCI address.
	Device string
	// RSSKey of the cluster; the device hashes with it if it can.
	RSSKey *steer.Key
	// Buckets maps buckets to workers for the device's redirection table; nil spreads evenly.
	Buckets *steer.Map
	// Workers is the number of receive queues for workers, 1 to 64.
	Workers int
	// MTU in bytes; 0 keeps the device's own.
	MTU int
	// RxDesc and TxDesc are descriptors a queue; default 1024, adjusted to the device's limits.
	RxDesc, TxDesc int
	// SyncQueue asks for one more queue pair behind the workers' ones.
	SyncQueue bool
	// Promiscuous takes frames for any address; AllMulticast those for any group.
	Promiscuous, AllMulticast bool
}

// Name is the device's name without its arguments.
func (c *PortConfig) Name() string {
	name, _, _ := strings.Cut(c.Device, ",")
	return name
}

// queues is the number of queue pairs to ask for.
func (c *PortConfig) queues() int {
	if c.SyncQueue {
		return c.Workers + 1
	}
	return c.Workers
}

func (c *Config) setDefaults() {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.FilePrefix == "" {
		c.FilePrefix = "holdfast"
	}
	if c.LogLevel == "" {
		c.LogLevel = "warning"
	}
	if c.NoHuge {
		def(&c.MemoryMB, defaultMemoryMB)
	}
	def(&c.Mbufs, defaultMbufs)
	def(&c.DataRoom, defaultDataRoom)
	if c.wholePages() {
		c.DataRoom = pageRoom
	}
}

// wholePages says that each packet buffer is to fill a page. net_af_xdp of DPDK 22.11 shows the kernel as many bytes of the pool as its
// buffers have by their size; but buffers don't cross pages, so there are gaps between them, and the last ones lie beyond. The
// kernel refuses those: each time a packet is lost and a buffer that never returns, until nothing is received any more. So gaps are
// kept small, and the buffers that the kernel would not see are withheld (see withhold).
func (c *Config) wholePages() bool {
	return c.DataRoom <= pageRoom && slices.ContainsFunc(c.Ports, func(p PortConfig) bool { return strings.HasPrefix(p.Device, "net_af_xdp") })
}

func (c *PortConfig) setDefaults() {
	for _, v := range []*int{&c.RxDesc, &c.TxDesc} {
		if *v == 0 {
			*v = defaultDesc
		}
	}
	if c.Workers == 0 {
		c.Workers = 1
	}
}

// logLevels are the names that --log-level takes.
const logLevels = "emergency alert critical error warning notice info debug"

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	c.setDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if strings.ContainsAny(c.FilePrefix, "/% ") {
		bad("file prefix %q has a slash, a percent sign or a space", c.FilePrefix)
	}
	if strings.Contains(c.LogLevel, " ") || !strings.Contains(" "+logLevels+" ", " "+c.LogLevel+" ") {
		bad("log level %q is none of: %s", c.LogLevel, logLevels)
	}
	within(bad, "main core", c.MainCore, 0, 1023)
	within(bad, "memory in MiB", c.MemoryMB, 0, 1<<20)
	within(bad, "mbufs", c.Mbufs, 512, maxMbufs)
	within(bad, "data room in bytes", c.DataRoom, headroom+256, maxDataRoom)
	if need := c.Mbufs * (c.DataRoom + mbufOverhead) >> 20; c.MemoryMB > 0 && need > c.MemoryMB {
		bad("%d MiB of memory can't hold %d mbufs of %d bytes, which need %d MiB", c.MemoryMB, c.Mbufs, c.DataRoom, need)
	}
	for _, a := range c.PCI {
		if !isPCI(a) {
			bad("PCI address %q is not of the form 0000:01:00.0", a)
		}
	}
	seen := map[string]bool{}
	for i, p := range c.Ports {
		if seen[p.Name()] {
			bad("port %d: device %s is named twice", i, p.Name())
		}
		seen[p.Name()] = true
		if err := p.validate(&c); err != nil {
			bad("port %d (%s): %w", i, p.Name(), err)
		}
	}
	return errors.Join(errs...)
}

func (c PortConfig) validate(rt *Config) error {
	c.setDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	name := c.Name()
	switch {
	case name == "":
		bad("no device")
	case isPCI(name):
		if !contains(rt.PCI, name) {
			bad("the device is not in the list of PCI devices to use")
		}
	case !strings.HasPrefix(name, "net_"):
		bad("the device is neither a PCI address nor a network vdev (net_...)")
	case len(c.Device) > 255:
		bad("device arguments of %d bytes, at most 255", len(c.Device))
	}
	within(bad, "workers", c.Workers, 1, steer.MaxWorkers)
	within(bad, "receive descriptors", c.RxDesc, 1, 32768)
	within(bad, "transmit descriptors", c.TxDesc, 1, 32768)
	if c.MTU != 0 {
		within(bad, "MTU", c.MTU, 68, rt.DataRoom-headroom-frameOverhead)
	}
	return errors.Join(errs...)
}

func within(bad func(string, ...any), what string, v, lo, hi int) {
	if v < lo || v > hi {
		bad("%s is %d, want %d to %d", what, v, lo, hi)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// isPCI reports whether s is a PCI address with its domain.
func isPCI(s string) bool {
	var parts [4]string
	var ok bool
	rest := s
	for i, sep := range []string{":", ":", "."} {
		if parts[i], rest, ok = strings.Cut(rest, sep); !ok {
			return false
		}
	}
	parts[3] = rest
	for i, n := range []int{4, 2, 2, 1} {
		if _, err := strconv.ParseUint(parts[i], 16, 16); err != nil || len(parts[i]) != n {
			return false
		}
	}
	return true
}

// args is the EAL's command line. Devices are probed one by one afterwards, so that each failure has a name.
func (c *Config) args() []string {
	a := []string{"dpd", "-l", strconv.Itoa(c.MainCore), "--file-prefix", c.FilePrefix, "--no-telemetry",
		"--log-level", c.LogLevel}
	if c.NoHuge {
		// Memory without huge pages is "legacy memory" to the EAL, which refuses --in-memory with it.
		a = append(a, "--no-huge", "--no-shconf", "--iova-mode", "va")
	} else {
		a = append(a, "--in-memory")
	}
	if c.MemoryMB > 0 {
		a = append(a, "-m", strconv.Itoa(c.MemoryMB))
	}
	if len(c.PCI) == 0 {
		return append(a, "--no-pci")
	}
	for _, d := range c.PCI {
		a = append(a, "-a", d)
	}
	return a
}
