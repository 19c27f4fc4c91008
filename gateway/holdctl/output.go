package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// enum prefixes that tell a reader nothing beneath the heading of a column.
var prefixes = []string{"PROTOCOL_", "ALGORITHM_", "ADMIN_STATE_", "HEALTH_STATE_", "POOL_PURPOSE_", "NODE_STATE_", "SESSION_STATE_", "CHECK_TYPE_", "BACKEND_STATE_"}

// printer writes resources as a table, JSON or YAML.
type printer struct {
	w      io.Writer
	format string
}

func newPrinter(w io.Writer, format string) (printer, error) {
	switch format {
	case "table", "json", "yaml":
		return printer{w, format}, nil
	}
	return printer{}, fmt.Errorf("the output %q is none of table, json, yaml", format)
}

// list writes several resources. In JSON and YAML they come one by one, so that a stream can be read as it comes.
func (p printer) list(columns []column, items []any, heading bool) error {
	if p.format != "table" {
		for _, x := range items {
			if err := p.value(x); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	if heading {
		var heads []string
		for _, c := range columns {
			heads = append(heads, c.head)
		}
		fmt.Fprintln(w, strings.Join(heads, "\t"))
	}
	for _, x := range items {
		var cells []string
		for _, c := range columns {
			cells = append(cells, cell(lookup(x, c.path)))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// value writes one value whole.
func (p printer) value(x any) error {
	if p.format == "yaml" {
		b, err := yaml.Marshal(plain(x))
		if err != nil {
			return fmt.Errorf("encode YAML: %w", err)
		}
		_, err = fmt.Fprintf(p.w, "---\n%s", b)
		return err
	}
	e := json.NewEncoder(p.w)
	e.SetIndent("", "  ")
	return e.Encode(x)
}

// plain turns JSON numbers into strings of digits without quotes for YAML.
func plain(x any) any {
	switch x := x.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, v := range x {
			out[k] = plain(v)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, v := range x {
			out[i] = plain(v)
		}
		return out
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: x.String()}
	}
	return x
}

func lookup(x any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		m, ok := x.(map[string]any)
		if !ok {
			return nil
		}
		x = m[key]
	}
	return x
}

// cell is a value in a table: short, and never with control characters, which would act on the terminal.
func cell(x any) string {
	switch x := x.(type) {
	case nil:
		return "-"
	case string:
		for _, p := range prefixes {
			x = strings.TrimPrefix(x, p)
		}
		if x == "" {
			return "-"
		}
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, x)
	case []any:
		var parts []string
		for _, v := range x {
			parts = append(parts, cell(v))
		}
		if len(parts) == 0 {
			return "-"
		}
		return strings.Join(parts, ",")
	case map[string]any:
		if a, ok := x["address"].(string); ok {
			if strings.Contains(a, ":") {
				a = "[" + a + "]"
			}
			return fmt.Sprintf("%s:%v", cell(a), x["port"])
		}
		if n, ok := x["node"]; ok {
			return fmt.Sprintf("%s=%v", cell(n), x["revision"])
		}
		return "{…}"
	}
	return fmt.Sprint(x)
}
