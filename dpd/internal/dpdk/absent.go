//go:build !dpdk

package dpdk

import (
	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// Runtime is the running DPDK; this binary has none, so no value of it ever exists.
type Runtime struct{ none }

// Port is a DPDK device; this binary has none.
type Port struct{ none }

// Pool is the packet memory; this binary has none.
type Pool struct{ none }

// Filter holds the steering rules of a device; this binary has none.
type Filter struct{ none }

// none makes a call on a value that nobody could have made fail with its reason.
type none struct{}

func (none) absent() { panic(ErrNotBuilt) }

// Start says ErrNotBuilt.
func Start(Config) (*Runtime, error) { return nil, ErrNotBuilt }

func (r *Runtime) Close() error                       { r.absent(); return nil }
func (r *Runtime) OpenPort(PortConfig) (*Port, error) { r.absent(); return nil, nil }
func (r *Runtime) Port(int) *Port                     { r.absent(); return nil }
func (r *Runtime) Ports() []*Port                     { r.absent(); return nil }
func (r *Runtime) Pool() *Pool                        { r.absent(); return nil }
func (r *Runtime) RegisterThread() error              { r.absent(); return nil }
func (r *Runtime) UnregisterThread()                  { r.absent() }
func (p *Port) Rx(int, *port.Batch) int               { p.absent(); return 0 }
func (p *Port) Tx(int, *port.Batch) int               { p.absent(); return 0 }
func (p *Port) Stats() port.Stats                     { p.absent(); return port.Stats{} }
func (p *Port) Info() port.Info                       { p.absent(); return port.Info{} }
func (p *Port) LinkUp() bool                          { p.absent(); return false }
func (p *Port) Hash() Hash                            { p.absent(); return 0 }
func (p *Port) Filter() *Filter                       { p.absent(); return nil }
func (p *Port) Close() error                          { p.absent(); return nil }
func (p *Pool) Alloc(int) (port.Packet, bool)         { p.absent(); return port.Packet{}, false }
func (p *Pool) Free(*port.Batch)                      { p.absent() }
func (p *Pool) Resize(*port.Packet, int, int) bool    { p.absent(); return false }
func (p *Pool) Available() int                        { p.absent(); return 0 }
func (f *Filter) Create([]steer.Rule) []RuleResult    { f.absent(); return nil }
func (f *Filter) DestroyAll() error                   { f.absent(); return nil }
