package node

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// pendingBytes bounds what waits while the bus is away; more is refused, counted, and told as DESYNC.
const pendingBytes = 8 << 20

// natsBus publishes on NATS. It connects in the background and again whenever the connection breaks.
type natsBus struct{ conn *nats.Conn }

func connectBus(c *config.NATS, name string, log *slog.Logger) (*natsBus, error) {
	o := []nats.Option{
		nats.Name("dpd " + name), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectBufSize(pendingBytes),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("the event bus is away", "err", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("the event bus is back") }),
	}
	if c.TLS.Enabled() {
		creds, err := pki.Load(pki.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key})
		if err != nil {
			return nil, fmt.Errorf("nats.tls: %w", err)
		}
		o = append(o, nats.Secure(creds.Client(pki.RoleService)))
	}
	conn, err := nats.Connect(c.URL, o...)
	if err != nil {
		return nil, fmt.Errorf("nats.url: %w", err)
	}
	return &natsBus{conn}, nil
}

// Publish sends one message.
func (b *natsBus) Publish(subject string, header map[string]string, payload []byte) error {
	m := &nats.Msg{Subject: subject, Data: payload, Header: nats.Header{}}
	for k, v := range header {
		m.Header.Set(k, v)
	}
	return b.conn.PublishMsg(m)
}
