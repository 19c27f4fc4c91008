package node

import (
	"fmt"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/dpd/internal/dpdk"
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// RuleResult says who applies a steering rule on a device, and why not the device.
type RuleResult struct {
	Rule     steer.Rule
	Hardware bool
	Reason   string
}

// Devices is where packets come from: DPDK, or ports in memory.
type Devices interface {
	// Ports are in the order of the configuration. Each has a queue for each worker and one more for sync, or fewer:
	// Info says how many.
	Ports() []port.Port
	Pool() port.Pool
	// Enter and Leave frame the life of a packet thread, on that thread.
	Enter() error
	Leave()
	// Filter replaces the steering rules of port i.
	Filter(i int, rules []steer.Rule) []RuleResult
	// Version of what drives the devices, for people.
	Version() string
	Close() error
}

// dpdkDevices starts DPDK as the configuration says.
func dpdkDevices(c *config.Config, key *steer.Key, m *steer.Map) (Devices, error) {
	d := dpdk.Config{
		FilePrefix: c.EAL.FilePrefix,
		PCI:        c.EAL.PCI,
		MemoryMB:   c.EAL.MemoryMB,
		Mbufs:      c.EAL.Packets,
		NoHuge:     c.EAL.NoHuge,
	}
	if d.FilePrefix == "" {
		d.FilePrefix = c.Node.Name
	}
	if len(c.EAL.Cores) > 0 {
		d.MainCore = c.EAL.Cores[0]
	}
	args := map[string]string{}
	for _, v := range c.EAL.VDevs {
		p := dpdk.PortConfig{Device: v}
		args[p.Name()] = v
	}
	for _, p := range c.Ports {
		dev := p.Device
		if full, ok := args[dev]; ok {
			dev = full
		}
		d.Ports = append(d.Ports, dpdk.PortConfig{
			Device: dev, RSSKey: key, Buckets: m, Workers: c.Workers, MTU: p.MTU, RxDesc: p.RxDesc, TxDesc: p.TxDesc,
			SyncQueue: true, Promiscuous: p.Promiscuous, AllMulticast: true,
		})
	}
	if mtu := maxMTU(c); mtu > 1500 {
		d.DataRoom = 128 + mtu + 64
	}
	rt, err := dpdk.Start(d)
	if err != nil {
		return nil, fmt.Errorf("starting DPDK: %w", err)
	}
	return &dpdkRuntime{rt}, nil
}

func maxMTU(c *config.Config) (m int) {
	for _, p := range c.Ports {
		m = max(m, p.MTU)
	}
	return m
}

type dpdkRuntime struct{ rt *dpdk.Runtime }

func (d *dpdkRuntime) Ports() (out []port.Port) {
	for _, p := range d.rt.Ports() {
		out = append(out, p)
	}
	return out
}

func (d *dpdkRuntime) Pool() port.Pool { return d.rt.Pool() }
func (d *dpdkRuntime) Enter() error    { return d.rt.RegisterThread() }
func (d *dpdkRuntime) Leave()          { d.rt.UnregisterThread() }
func (d *dpdkRuntime) Version() string { return dpdk.Version() }
func (d *dpdkRuntime) Close() error    { return d.rt.Close() }

func (d *dpdkRuntime) Filter(i int, rules []steer.Rule) (out []RuleResult) {
	f := d.rt.Port(i).Filter()
	if err := f.DestroyAll(); err != nil {
		for _, r := range rules {
			out = append(out, RuleResult{Rule: r, Reason: "the former rules can't be removed: " + err.Error()})
		}
		return out
	}
	for _, r := range f.Create(rules) {
		out = append(out, RuleResult{Rule: r.Rule, Hardware: r.Hardware, Reason: r.Reason})
	}
	return out
}
