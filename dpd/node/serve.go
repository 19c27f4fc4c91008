package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-lb/holdfast/dpd/internal/control"
	dpdv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/dpd/v1"
	syncv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/sync/v1"
	"github.com/holdfast-lb/holdfast/services/kit"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// apiServer is the gRPC server of the node and its metrics over HTTP.
type apiServer struct {
	grpc  *kit.Server
	creds *pki.Credentials // nil without TLS
	http  net.Listener     // nil without metrics
	reg   *prometheus.Registry
}

// listen binds the control and metrics addresses. Only services may call a data plane.
func (n *Node) listen() (*apiServer, error) {
	s := &apiServer{reg: prometheus.NewRegistry()}
	sc := kit.ServerConfig{Listen: n.cfg.Control.Listen.String(), Log: n.log, Metrics: s.reg}
	if !n.cfg.Control.Listen.IsValid() {
		sc.Listen = "127.0.0.1:0"
	}
	if t := n.cfg.Control.TLS; t.Enabled() {
		creds, err := pki.Load(pki.Files{CA: t.CA, Cert: t.Cert, Key: t.Key})
		if err != nil {
			return nil, fmt.Errorf("control.tls: %w", err)
		}
		s.creds, sc.TLS = creds, creds.Server()
		sc.Policy = pki.Policy{"/" + dpdv1.DataplaneService_ServiceDesc.ServiceName + "/": {pki.RoleService, pki.RoleOperator}}
	}
	var err error
	if err = whileInUse(func() error { s.grpc, err = kit.Listen(sc); return err }); err != nil {
		return nil, err
	}
	control.New(n, n.Changed).Register(s.grpc)
	s.reg.MustRegister(&collector{n})
	if n.cfg.Metrics.Listen.IsValid() {
		listen := func() error { s.http, err = net.Listen("tcp", n.cfg.Metrics.Listen.String()); return err }
		if err = whileInUse(listen); err != nil {
			s.grpc.Close()
			return nil, fmt.Errorf("metrics.listen: %w", err)
		}
	}
	return s, nil
}

func (s *apiServer) address() string     { return s.grpc.Addr().String() }
func (s *apiServer) listening() net.Addr { return s.grpc.Addr() }

// clientTLS is for calls to the coordinator; nil without TLS.
func (s *apiServer) clientTLS() (*tls.Config, error) {
	if s.creds == nil {
		return nil, nil
	}
	return s.creds.Client(pki.RoleService), nil
}

func (s *apiServer) serve(ctx context.Context) error {
	if s.http != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{}))
		h := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
		go func() { _ = h.Serve(s.http) }()
		defer h.Close()
	}
	return s.grpc.Serve(ctx)
}

// leave tells the coordinator that this node goes on purpose; it has a second to hear it.
func (n *Node) leave(j *joiner) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, at := range j.cfg.Control.Coordinators {
		c, err := kit.Dial(at, j.tls)
		if err != nil {
			continue
		}
		_, err = syncv1.NewCoordinatorServiceClient(c).Leave(ctx, leaveRequest(n.lifeNow()))
		c.Close()
		if err == nil {
			return
		}
		n.log.Warn("the coordinator was not told that this node leaves", "coordinator", at, "err", err)
	}
}

// collector gives Prometheus every counter of GetStats.
type collector struct{ n *Node }

var (
	nodeDesc   = prometheus.NewDesc("holdfast_dpd_node", "Counters of the node outside workers, by name.", []string{"name"}, nil)
	workerDesc = prometheus.NewDesc("holdfast_dpd_worker", "Counters of a worker, by name.", []string{"worker", "name"}, nil)
	dropDesc   = prometheus.NewDesc("holdfast_dpd_dropped_packets_total", "Dropped packets of a worker, by reason.", []string{"worker", "reason"}, nil)
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- nodeDesc
	ch <- workerDesc
	ch <- dropDesc
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.n.Stats()
	for _, x := range s.Node {
		ch <- prometheus.MustNewConstMetric(nodeDesc, prometheus.UntypedValue, float64(x.Value), x.Name)
	}
	for i, w := range s.Workers {
		id := fmt.Sprint(i)
		for _, x := range w.Counters {
			ch <- prometheus.MustNewConstMetric(workerDesc, prometheus.UntypedValue, float64(x.Value), id, x.Name)
		}
		for _, x := range w.Drops {
			ch <- prometheus.MustNewConstMetric(dropDesc, prometheus.CounterValue, float64(x.Value), id, x.Name)
		}
	}
}
