package config

import "runtime"

// Default is the configuration of a file that sets only what it must.
func Default() Config {
	return Config{
		EAL: EAL{
			Cores:    defaultCores(),
			InMemory: true,
			Packets:  32767,
		},
		Workers:  1,
		Poll:     PollBusy,
		Sync:     Sync{Enabled: true, Port: 7946, MTU: 1400},
		Announce: AnnounceBGP,
		BGP:      BGP{Prepend: 3, HoldTime: 9, Guard: true},
		Table:    Table{SessionsV4: 1 << 20, SessionsV6: 1 << 18, Ended: 1 << 21},
		Timeouts: Timeouts{
			TCPNone: 2, TCPEstablished: 3600, TCPSynSent: 3, TCPSynRecv: 30, TCPFinWait: 120, TCPTimeWait: 7, TCPClose: 3,
			TCPCloseWait: 120, TCPLastAck: 7, TCPSynAck: 30, UDP: 300, ICMP: 300,
		},
		Log: LogConfig{Level: "info", Format: "text"},
	}
}

// defaulter gives an element of a list its defaults before its keys are read.
type defaulter interface{ setDefaults() }

func (p *Port) setDefaults() { *p = Port{MTU: 1500, RxDesc: 1024, TxDesc: 1024} }

func (s *StaticService) setDefaults() {
	*s = StaticService{Protocol: ProtocolTCP, Algorithm: AlgorithmRR}
}

func (s *StaticServer) setDefaults() { *s = StaticServer{Weight: 1} }

// defaultCores is every processor, up to one main thread and 64 workers.
func defaultCores() []int {
	n := min(runtime.NumCPU(), 65)
	cores := make([]int, n)
	for i := range cores {
		cores[i] = i
	}
	return cores
}
