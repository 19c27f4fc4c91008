package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-lb/holdfast/services/kit/pki"

	eventv1 "github.com/holdfast-lb/holdfast/proto/gen/holdfast/event/v1"
)

// subjectRoot is the root of every event's subject; the next token says what kind of message it is.
const subjectRoot = "holdfast.v1."

func (c *cli) events() *cobra.Command {
	cmd := &cobra.Command{
		Use: "events [session|node|backend|sync]", Short: "Follow events on NATS", Args: cobra.MaximumNArgs(1),
		Long: "Follow events on NATS: one line of JSON each, with its subject. The bus of a single machine lets anyone follow who has a certificate (--ca, --cert, --key).",
		RunE: func(cmd *cobra.Command, args []string) error {
			subject := subjectRoot + ">"
			if len(args) == 1 {
				if newEvent(subjectRoot+args[0]+".") == nil {
					return fmt.Errorf("%q is none of session, node, backend, sync", args[0])
				}
				subject = subjectRoot + args[0] + ".>"
			}
			opts := []nats.Option{nats.Name("holdctl"), nats.MaxReconnects(-1)}
			if c.files.Cert != "" {
				creds, err := pki.Load(c.files)
				if err != nil {
					return err
				}
				opts = append(opts, nats.Secure(creds.Client(pki.RoleService)))
			}
			nc, err := nats.Connect(c.natsURL, opts...)
			if err != nil {
				return fmt.Errorf("connect to NATS: %w", err)
			}
			defer nc.Close()
			sub, err := nc.SubscribeSync(subject)
			if err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
			for {
				m, err := sub.NextMsgWithContext(cmd.Context())
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintln(c.w, eventLine(m.Subject, m.Data)); err != nil {
					return err
				}
			}
		},
	}
	natsURL := os.Getenv("HOLDFAST_NATS")
	if natsURL == "" {
		natsURL = nats.DefaultURL
	}
	cmd.Flags().StringVar(&c.natsURL, "nats", natsURL, "URL of NATS (HOLDFAST_NATS)")
	return cmd
}

// newEvent is an empty message of the kind that a subject carries; nil when the kind is not known.
func newEvent(subject string) proto.Message {
	kind, _, _ := strings.Cut(strings.TrimPrefix(subject, subjectRoot), ".")
	switch kind {
	case "session":
		return &eventv1.SessionEventBatch{}
	case "node":
		return &eventv1.NodeEvent{}
	case "backend":
		return &eventv1.BackendEvent{}
	case "sync":
		return &eventv1.SyncEvent{}
	}
	return nil
}

// eventLine is an event as one line: {"subject":…,"event":{…}}. What can't be read is shown by its size.
func eventLine(subject string, data []byte) string {
	m := newEvent(subject)
	if m == nil || proto.Unmarshal(data, m) != nil {
		return fmt.Sprintf(`{"subject":%q,"bytes":%d}`, subject, len(data))
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Sprintf(`{"subject":%q,"bytes":%d}`, subject, len(data))
	}
	return fmt.Sprintf(`{"subject":%q,"event":%s}`, subject, b)
}
