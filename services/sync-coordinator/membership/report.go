package membership

// Report is what one data plane says of itself and of its peers. Each report replaces the one before.
type Report struct {
	Node uint32
	Inc  uint64
	View uint64 // the view that it runs
	// DetectorLate: its own detector ran late, so its suspicions of this moment count for nothing.
	DetectorLate bool
	// Settled: it has all that it needs itself before it is admitted; its laddr routes are announced and an echo came
	// back through the router.
	Settled bool
	// Met is the number of its own ready conditions that hold; Missing says in words which do not.
	Met     int
	Missing string
	Peers   []PeerReport
	Bulk    []BulkReport
	Blocks  []BlockReport
	Fenced  []FenceReport
	Relayed []RelayedReport
}

// PeerReport is what a node says of one peer's life.
type PeerReport struct {
	ID        uint32
	Inc       uint64
	Suspected bool // PROBE silent
	Greeted   bool // HELLO_ACK both ways
	Equal     bool // the last digests were equal
	// Unheard: what the peer's PROBEs confirm shows that nothing of the reporter reaches it.
	Unheard bool
	// ClockKnown and ClockOffset: this peer's clock minus the reporter's, milliseconds.
	ClockKnown  bool
	ClockOffset int64
}

// BulkReport is a joiner's progress with one member's stock.
type BulkReport struct {
	ID       uint32
	Inc      uint64
	Begun    bool
	Ended    bool
	Expected uint64
	Received uint64
}

// BlockReport is what a node still holds of one block.
type BlockReport struct {
	ID         uint32
	Records    uint64
	Tombstones uint64
	Age        int64 // milliseconds since the count
}

// FenceReport is how long a node has refused a life, and every lower one of that node, in milliseconds.
type FenceReport struct {
	ID  uint32
	Inc uint64
	Age int64
}

type control uint8

const (
	controlUnknown control = iota // just begun: nobody is judged by it
	controlUp
	controlDown
)

// observation is what is known of one node's present life and is not stored.
type observation struct {
	control  control
	report   Report
	reported bool
	at       int64 // when the report came
	began    int64 // when the life joined, or this coordinator began
	// silent has the peers that it judged silent, by id, with the incarnation judged.
	silent map[uint32]uint64
	// asked has when each member was last asked to send its stock to this joiner.
	asked   map[uint32]int64
	leftOut map[uint32]bool
	// readyView is the view that told it READY; only a report that runs it speaks of routes.
	readyView uint64
	ill       int64           // when it was last seen unwell
	quiet     int64           // since when it is silent without a break; 0 is not
	deaf      int64           // since when it is deaf without a break; 0 is not
	well      int64           // when it recovered last; 0 is never
	relapses  int             // in a row, each within RelapseWithin of the recovery
	lifted    bool            // it was seen to run a higher view than the store had
	flows     map[uint32]flow // of the stocks that it gets, by member
	held      bool            // its removal was held back and that was said
	best      progress
	stepped   int64 // when it made progress last, or began
	aging     bool  // it waits for nothing but time, see gate
	appliedKG uint64
	relayed   map[uint32]relayedUse // by block: the newest that its peers told for it
}

// flow is how the stock of one member's life comes to a joiner.
type flow struct {
	inc          uint64
	begun, ended bool
	received     uint64
	at           int64 // when something of it came last
}

func newObservation(now int64) *observation {
	return &observation{
		began: now, stepped: now, silent: map[uint32]uint64{}, asked: map[uint32]int64{}, leftOut: map[uint32]bool{},
		flows: map[uint32]flow{}, relayed: map[uint32]relayedUse{},
	}
}

// forget drops what was known of a peer's former life.
func (o *observation) forget(id uint32) {
	delete(o.silent, id)
	delete(o.asked, id)
	delete(o.leftOut, id)
	delete(o.flows, id)
}

func (m *Machine) observe(now int64, id uint32) *observation {
	o := m.obs[id]
	if o == nil {
		o = newObservation(now)
		m.obs[id] = o
	}
	return o
}

// Report takes in what a data plane says. A report of a life that is over changes nothing.
func (m *Machine) Report(now int64, r Report) {
	n := m.st.Node(r.Node)
	if n == nil || n.Inc != r.Inc || !n.Member() {
		return
	}
	o := m.observe(now, r.Node)
	o.report, o.reported, o.at = r, true, now
	for _, p := range r.Peers {
		switch {
		case !p.Suspected:
			// Hearing a peer is proof, however late the detector.
			delete(o.silent, p.ID)
		case !r.DetectorLate:
			o.silent[p.ID] = p.Inc
		}
	}
	m.relay(now, &r)
	if r.View > m.st.View && !o.lifted && believable(m.st.View, r.View) {
		// Someone was told a view that the store has lost: go above it. Once in a life: those after it come from here.
		o.lifted = true
		m.maxReported = max(m.maxReported, r.View)
		m.bump = true
	}
	m.settle(now)
}

// maxLift is how far ahead of the store a view may be that a data plane reports. One that is further is no view of this
// cluster, and going above it would use up the numbers.
const maxLift = 1 << 32

func believable(view, reported uint64) bool { return reported <= view || reported-view <= maxLift }

// Control takes in whether the gRPC connection to a node's life stands.
func (m *Machine) Control(now int64, id uint32, inc uint64, up bool) {
	n := m.st.Node(id)
	if n == nil || n.Inc != inc || !n.Member() {
		return
	}
	o := m.observe(now, id)
	was := o.control
	o.control = controlDown
	if up {
		o.control = controlUp
	}
	switch {
	case was != controlDown && !up:
		m.say(Event{Kind: NodeControlLost, Node: id, Inc: inc})
	case was == controlDown && up:
		m.say(Event{Kind: NodeControlBack, Node: id, Inc: inc})
	}
	m.settle(now)
}

// ControlAlive says whether the node's gRPC connection is known to stand.
func (m *Machine) ControlAlive(id uint32) bool {
	o := m.obs[id]
	return o != nil && o.control == controlUp
}

// speaks says whether the node's word counts now: its gRPC is alive and it reported lately.
func (m *Machine) speaks(now int64, n *Node) bool {
	o := m.obs[n.ID]
	return o != nil && o.control == controlUp && o.reported && o.report.Inc == n.Inc && now-o.at <= m.cfg.ReportFresh
}

// dead says whether both witnesses of the joiner speak against a member: the joiner hears no PROBE of it and its gRPC
// is lost. Nobody waits for such a member, also while the limit on removals keeps it in the view.
func (m *Machine) dead(joiner *observation, n *Node) bool {
	o := m.obs[n.ID]
	return o != nil && o.control == controlDown && joiner.silent[n.ID] == n.Inc
}
