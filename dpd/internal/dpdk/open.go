//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/yerden/go-dpdk/ethdev"
	dpdkmbuf "github.com/yerden/go-dpdk/mbuf"

	"github.com/holdfast-lb/holdfast/dpd/internal/port"
	"github.com/holdfast-lb/holdfast/dpd/internal/steer"
)

// OpenPort probes, configures and starts one device.
func (r *Runtime) OpenPort(cfg PortConfig) (*Port, error) {
	if err := cfg.validate(&r.cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name(), err)
	}
	cfg.setDefaults()
	p := &Port{rt: r}
	var err error
	if e := r.do(func() { err = p.open(&cfg) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name(), err)
	}
	r.mu.Lock()
	r.ports = append(r.ports, p)
	r.mu.Unlock()
	return p, nil
}

func (p *Port) open(cfg *PortConfig) (err error) {
	if _, err := ethdev.GetPortByName(cfg.Name()); err == nil {
		if !isPCI(cfg.Name()) { // the EAL probed the allowed PCI devices at its start
			return errors.New("the device is open already")
		}
	} else if err := probe(cfg.Device); err != nil {
		return fmt.Errorf("probe %s: %w", cfg.Device, err)
	}
	if p.id, err = ethdev.GetPortByName(cfg.Name()); err != nil {
		return fmt.Errorf("find the port after its probe: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.shut())
		}
	}()
	if p.lim, err = limitsOf(p.id); err != nil {
		return fmt.Errorf("read the device's limits: %w", err)
	}
	// The AF_XDP driver of DPDK 22.11 forgets the buffers that the kernel's fill ring holds when it closes.
	p.rt.keepers = p.rt.keepers || p.lim.driver == "net_af_xdp"
	// The kernel hands VLAN tags over beside the packet; AF_PACKET is the only driver here that strips unasked.
	p.strips = p.lim.driver == "net_af_packet"
	want := cfg.queues()
	nrx, ntx := min(want, p.lim.rxq), min(want, p.lim.txq)
	if nrx == 0 || ntx == 0 {
		return fmt.Errorf("the device offers %d receive and %d transmit queues", p.lim.rxq, p.lim.txq)
	}
	if p.lim.spreadsByItself() && p.lim.rxq > want {
		return fmt.Errorf("the device spreads what it receives over %d queue pairs and %d are wanted: nobody would read the "+
			"rest; give it qpairs or queue_count of at most %d", p.lim.rxq, want, want)
	}
	if err := p.configure(cfg, nrx, ntx); err != nil {
		return err
	}
	if err := p.queues(want, nrx, ntx); err != nil {
		return err
	}
	if err := p.id.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := p.spread(cfg, nrx); err != nil {
		return err
	}
	if err := p.receiveModes(cfg); err != nil {
		return err
	}
	p.filter = Filter{p: p, queues: nrx}
	return p.describe(cfg, nrx, ntx)
}

// configure sets queue counts, RSS, MTU and descriptors.
func (p *Port) configure(cfg *PortConfig, nrx, ntx int) error {
	rx := ethdev.RxMode{MTU: uint32(cfg.MTU)}
	var opts []ethdev.Option
	types := rssTypes & p.lim.rss
	if key := rssKey(cfg.RSSKey, p.lim.keySize); min(nrx, cfg.Workers) > 1 && key != nil && types != 0 {
		p.hash = HashBoth
		if p.lim.rss&rssSource == rssSource && len(key) == steer.KeyLen {
			types |= rssSource
			p.hash = HashClient
		}
		rx.MqMode = mqRSS
		opts = append(opts, ethdev.OptRss(ethdev.RssConf{Key: key, Hf: types}))
	}
	opts = append(opts, ethdev.OptRxMode(rx))
	if err := p.id.DevConfigure(uint16(nrx), uint16(ntx), opts...); err != nil {
		return fmt.Errorf("configure %d receive and %d transmit queues, MTU %d: %w", nrx, ntx, cfg.MTU, err)
	}
	if cfg.MTU != 0 {
		if err := p.id.SetMTU(uint16(cfg.MTU)); err != nil {
			return fmt.Errorf("set MTU %d: %w", cfg.MTU, err)
		}
	}
	nrxd, ntxd, err := adjustDesc(p.id, cfg.RxDesc, cfg.TxDesc)
	if err != nil {
		return fmt.Errorf("fit %d and %d descriptors: %w", cfg.RxDesc, cfg.TxDesc, err)
	}
	for q := range uint16(nrx) {
		if err := p.id.RxqSetup(q, nrxd, p.rt.pool.mp); err != nil {
			return fmt.Errorf("set up receive queue %d of %d descriptors: %w", q, nrxd, err)
		}
	}
	for q := range uint16(ntx) {
		if err := p.id.TxqSetup(q, ntxd); err != nil {
			return fmt.Errorf("set up transmit queue %d of %d descriptors: %w", q, ntxd, err)
		}
	}
	return nil
}

// queues makes our side of the queues: one way to send for each thread, even when the device has fewer queues.
func (p *Port) queues(want, nrx, ntx int) error {
	vs, release, err := vectors(nrx + want)
	if err != nil {
		return err
	}
	p.release = release
	p.rx, p.tx = make([]rxQueue, nrx), make([]txQueue, want)
	for q := range p.rx {
		p.rx[q].vec, p.rx[q].refs = vs[q][:rxTake], vs[q].words()[:rxTake]
	}
	var locks []sync.Mutex
	if ntx < want {
		locks = make([]sync.Mutex, ntx)
	}
	for q := range p.tx {
		p.tx[q].vec, p.tx[q].queue = vs[nrx+q], uint16(q%ntx)
		p.tx[q].refs = vs[nrx+q].words()
		if locks != nil {
			p.tx[q].shared = &locks[q%ntx]
		}
	}
	return nil
}

// spread keeps the device's hash away from the sync queue.
func (p *Port) spread(cfg *PortConfig, nrx int) error {
	if p.hash == HashNone || p.lim.reta == 0 {
		return nil
	}
	table := make([]uint16, p.lim.reta)
	workers := min(nrx, cfg.Workers)
	for i := range table {
		w := i % workers
		if cfg.Buckets != nil {
			w = cfg.Buckets.Worker(uint8(i)) % workers
		}
		table[i] = uint16(w)
	}
	if err := setReta(p.id, table); err != nil {
		return fmt.Errorf("write the redirection table of %d entries: %w", len(table), err)
	}
	return nil
}

// receiveModes switches promiscuous and allmulticast reception on. A device that has no such switch receives all anyway.
func (p *Port) receiveModes(cfg *PortConfig) error {
	if cfg.Promiscuous {
		if err := p.id.PromiscEnable(); err != nil && !errors.Is(err, errNotSupported) {
			return fmt.Errorf("switch promiscuous reception on: %w", err)
		}
	}
	if cfg.AllMulticast {
		if err := allMulticast(p.id); err != nil && !errors.Is(err, errNotSupported) {
			return fmt.Errorf("switch allmulticast reception on: %w", err)
		}
	}
	return nil
}

func (p *Port) describe(cfg *PortConfig, nrx, ntx int) error {
	var mac ethdev.MACAddr
	if err := p.id.MACAddrGet(&mac); err != nil {
		return fmt.Errorf("read the MAC address: %w", err)
	}
	mtu, err := p.id.GetMTU()
	if err != nil {
		return fmt.Errorf("read the MTU: %w", err)
	}
	p.info = port.Info{
		Name: cfg.Name(), Driver: p.lim.driver, MAC: *(*[6]byte)(unsafe.Pointer(&mac)), MTU: int(mtu),
		RxQueues: nrx, TxQueues: ntx, Socket: p.id.SocketID(), HasFilter: p.filter.supported(),
	}
	return nil
}

// Close destroys the rules, stops the device and gives it back. No thread uses the port any more.
func (p *Port) Close() error {
	var err error
	if e := p.rt.do(func() {
		if !p.closed {
			err = p.shut()
		}
	}); e != nil && !errors.Is(e, ErrClosed) {
		return e
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", p.info.Name, err)
	}
	return nil
}

// shut takes an opened port apart, from whatever point it reached. Stopping what never ran is no error, and closing what
// runs is one.
func (p *Port) shut() error {
	p.closed = true
	errs := []error{p.filter.destroyAll()}
	for i := range p.rx {
		rq := &p.rx[i]
		dpdkmbuf.PktMbufFreeBulk(rq.vec[rq.at:rq.n])
		rq.at, rq.n = 0, 0
	}
	p.id.Stop()
	p.id.Close()
	if p.lim.device != nil && !isPCI(p.info.Name) {
		errs = append(errs, removeDevice(p.lim.device))
	}
	if p.release != nil {
		errs = append(errs, p.release())
	}
	return errors.Join(errs...)
}
