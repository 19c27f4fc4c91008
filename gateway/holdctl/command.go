package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-lb/holdfast/services/kit/pki"
)

// pageSize of lists, the greatest that the API gives.
const pageSize = "1000"

// cli is what the commands share.
type cli struct {
	w                                 io.Writer
	server, token, tokenFile, natsURL string
	files                             pki.Files
	output                            string
}

func (c *cli) open() (*client, printer, error) {
	p, err := newPrinter(c.w, c.output)
	if err != nil {
		return nil, p, err
	}
	cl, err := newClient(c.server, c.token, c.tokenFile, c.files)
	return cl, p, err
}

// openFor is open for a command about one kind of resource.
func (c *cli) openFor(name string) (*client, printer, resource, error) {
	cl, p, err := c.open()
	if err != nil {
		return nil, p, resource{}, err
	}
	r, err := findResource(name)
	return cl, p, r, err
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// command is the whole command tree.
func command(w io.Writer) *cobra.Command {
	c := &cli{w: w}
	root := &cobra.Command{
		Use: "holdctl", Short: "Look at and change a holdfast cluster", SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(w)
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", envOr("HOLDFAST_SERVER", "http://127.0.0.1:8080"), "URL of the gateway (HOLDFAST_SERVER)")
	f.StringVar(&c.token, "token", "", "bearer token (HOLDFAST_TOKEN)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("HOLDFAST_TOKEN_FILE"), "file of the bearer token, the gateway's own or one that holds nothing else (HOLDFAST_TOKEN_FILE)")
	f.StringVar(&c.files.CA, "ca", os.Getenv("HOLDFAST_CA"), "PEM file of the authority of an https or NATS server (HOLDFAST_CA)")
	f.StringVar(&c.files.Cert, "cert", os.Getenv("HOLDFAST_CERT"), "PEM file of your certificate, of role operator or viewer (HOLDFAST_CERT)")
	f.StringVar(&c.files.Key, "key", os.Getenv("HOLDFAST_KEY"), "PEM file of your certificate's key (HOLDFAST_KEY)")
	f.StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		// Flags beat the environment, also when they name the token in the other way.
		if c.token == "" && !cmd.Flags().Changed("token-file") {
			c.token = os.Getenv("HOLDFAST_TOKEN")
		}
	}
	root.AddCommand(c.get(), c.create(), c.update(), c.remove(), c.watch(), c.drain(), c.count(), c.events())
	return root
}

func (c *cli) get() *cobra.Command {
	var filter string
	var limit int
	cmd := &cobra.Command{
		Use: "get RESOURCE [NAME]", Short: "List resources, or show one", Args: cobra.RangeArgs(1, 2),
		Long: "List resources, or show one. Resources: services, servers (named SERVICE/SERVER), pools, nodes, sessions, checks, backends, rollout, operations.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, p, r, err := c.openFor(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				path, err := r.one(args[1])
				if err != nil {
					return err
				}
				x, err := cl.call(cmd.Context(), http.MethodGet, path, nil, nil)
				if err != nil {
					return err
				}
				return p.list(r.columns, []any{x}, true)
			}
			return c.getAll(cmd, cl, p, r, filter, limit)
		},
	}
	cmd.Flags().StringVar(&filter, "filter", "", `filter of sessions, for example 'owner = "nodes/lb-a" AND vip.port = 80'`)
	cmd.Flags().IntVar(&limit, "limit", 0, "greatest number of resources; 0 lists all")
	return cmd
}

func (c *cli) getAll(cmd *cobra.Command, cl *client, p printer, r resource, filter string, limit int) error {
	if r.items == "" {
		x, err := cl.call(cmd.Context(), http.MethodGet, r.list, nil, nil)
		if err != nil {
			return err
		}
		return p.list(r.columns, []any{x}, true)
	}
	q := url.Values{"page_size": {pageSize}}
	if filter != "" {
		q.Set("filter", filter)
	}
	for first, n := true, 0; ; first = false {
		x, err := cl.call(cmd.Context(), http.MethodGet, r.all(), q, nil)
		if err != nil {
			return err
		}
		items, _ := x[r.items].([]any)
		if limit > 0 && n+len(items) > limit {
			items = items[:limit-n]
		}
		n += len(items)
		if err := p.list(r.columns, items, first); err != nil {
			return err
		}
		missing, _ := x["nodeErrors"].([]any)
		for _, m := range missing {
			fmt.Fprintf(cmd.ErrOrStderr(), "missing: %s: %s\n", cell(lookup(m, "node")), cell(lookup(m, "message")))
		}
		next, _ := x["nextPageToken"].(string)
		if next == "" || limit > 0 && n >= limit {
			return nil
		}
		q.Set("page_token", next)
	}
}

func (c *cli) create() *cobra.Command {
	return &cobra.Command{
		Use: "create RESOURCE NAME FIELD=VALUE...", Short: "Make a resource", Args: cobra.MinimumNArgs(2),
		Example: "  holdctl create service web vip=198.51.100.10 port=80 protocol=PROTOCOL_TCP\n" +
			"  holdctl create server web/a address=10.0.0.1 port=8080 weight=10\n" +
			"  holdctl create pool laddr4 purpose=POOL_PURPOSE_LADDR prefixes=203.0.113.0/28,203.0.113.32/28",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, p, r, err := c.openFor(args[0])
			if err != nil {
				return err
			}
			if r.idParam == "" {
				return fmt.Errorf("%s can't be made", r.name)
			}
			path, id, err := r.collection(args[1])
			if err != nil {
				return err
			}
			body, err := fields(args[2:])
			if err != nil {
				return err
			}
			x, err := cl.call(cmd.Context(), http.MethodPost, path, url.Values{r.idParam: {id}}, body)
			if err != nil {
				return err
			}
			return p.list(r.columns, []any{x}, true)
		},
	}
}

func (c *cli) update() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "update RESOURCE NAME FIELD=VALUE...", Short: "Change the given fields of a resource", Args: cobra.MinimumNArgs(3),
		Example: "  holdctl update server web/a weight=0\n  holdctl update service web timeouts.tcpEstablished=900s",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, p, r, err := c.openFor(args[0])
			if err != nil {
				return err
			}
			path, err := r.one(args[1])
			if err != nil {
				return err
			}
			body, err := fields(args[2:])
			if err != nil {
				return err
			}
			x, err := cl.call(cmd.Context(), http.MethodPatch, path, forced(force), body)
			if err != nil {
				return err
			}
			return p.list(r.columns, []any{x}, true)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "take away more than half of a pool")
	return cmd
}

func (c *cli) remove() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete RESOURCE NAME", Short: "Remove a resource", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, _, r, err := c.openFor(args[0])
			if err != nil {
				return err
			}
			path, err := r.one(args[1])
			if err != nil {
				return err
			}
			_, err = cl.call(cmd.Context(), http.MethodDelete, path, forced(force), nil)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove a service with its servers, or a pool")
	return cmd
}

func forced(force bool) url.Values {
	if !force {
		return nil
	}
	return url.Values{"force": {"true"}}
}

func (c *cli) watch() *cobra.Command {
	return &cobra.Command{
		Use: "watch nodes|rollout|backends", Short: "Show resources whenever they change", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, p, r, err := c.openFor(args[0])
			if err != nil {
				return err
			}
			if r.watch == "" {
				return fmt.Errorf("%s can't be watched", r.name)
			}
			first := true
			return cl.stream(cmd.Context(), r.watch, func(m map[string]any) error {
				items, ok := m[r.watchItems].([]any)
				if !ok {
					items = []any{m[r.watchItems]}
				}
				defer func() { first = false }()
				return p.list(r.columns, items, first)
			})
		},
	}
}

func (c *cli) drain() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Make a node hand over its sessions and leave", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, p, err := c.open()
			if err != nil {
				return err
			}
			x, err := cl.call(cmd.Context(), http.MethodPost, "/v1/nodes/"+url.PathEscape(args[0])+":drain", nil, map[string]any{"force": force})
			if err != nil {
				return err
			}
			return p.value(x)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "drain although no other node is admitted")
	return cmd
}

func (c *cli) count() *cobra.Command {
	var filter, by string
	cmd := &cobra.Command{
		Use: "count", Short: "Count sessions", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, p, err := c.open()
			if err != nil {
				return err
			}
			q := url.Values{}
			if filter != "" {
				q.Set("filter", filter)
			}
			if by != "" {
				q.Set("group_by", "GROUP_BY_"+strings.ToUpper(by))
			}
			x, err := cl.call(cmd.Context(), http.MethodGet, "/v1/sessions:count", q, nil)
			if err != nil {
				return err
			}
			if c.output != "table" {
				return p.value(x)
			}
			groups, _ := x["groups"].([]any)
			if err := p.list([]column{{"KEY", "key"}, {"SESSIONS", "count"}}, groups, true); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.w, "total %v\n", x["total"])
			return err
		},
	}
	cmd.Flags().StringVar(&filter, "filter", "", "filter as in get sessions")
	cmd.Flags().StringVar(&by, "by", "", "owner, service, server, state or protocol")
	return cmd
}

// fields reads FIELD=VALUE arguments into a JSON object. A dot goes into a message, commas make a list of "prefixes"; digits
// are numbers; JSON in braces, brackets or quotes is taken as it is.
func fields(args []string) (map[string]any, error) {
	out := map[string]any{}
	for _, a := range args {
		path, value, ok := strings.Cut(a, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("%q is not of the form FIELD=VALUE", a)
		}
		keys := strings.Split(path, ".")
		m := out
		for _, k := range keys[:len(keys)-1] {
			next, ok := m[k].(map[string]any)
			if !ok {
				if m[k] != nil {
					return nil, fmt.Errorf("%s is given both whole and in part", k)
				}
				next = map[string]any{}
				m[k] = next
			}
			m = next
		}
		last := keys[len(keys)-1]
		if _, twice := m[last]; twice || last == "" {
			return nil, fmt.Errorf("%q is given twice or has no name", path)
		}
		v, err := fieldValue(last, value)
		if err != nil {
			return nil, err
		}
		m[last] = v
	}
	return out, nil
}

func fieldValue(name, s string) (any, error) {
	if s != "" && strings.ContainsRune(`{["`, rune(s[0])) {
		var v any
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return v, nil
	}
	if name == "prefixes" {
		return strings.Split(s, ","), nil
	}
	if _, err := strconv.ParseUint(s, 10, 64); err == nil {
		return json.Number(s), nil
	}
	switch s {
	case "true", "false":
		return s == "true", nil
	case "":
		return nil, errors.New(name + " has no value")
	}
	return s, nil
}
