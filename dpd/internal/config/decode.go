package config

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder turns YAML nodes into Config by its `key` tags and remembers the line of each path. It only converts;
// ranges and relations are Config.problems' business, so that a Config built in Go is held to the same.
type decoder struct {
	problems []Problem
	lines    map[string]int
	bad      map[string]bool
}

func (d *decoder) root(n *yaml.Node, c *Config) {
	d.lines[""] = n.Line
	d.value(n, reflect.ValueOf(c).Elem(), "")
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.bad[path] = true
	d.problems = append(d.problems, Problem{Line: n.Line, Path: path, Reason: fmt.Sprintf(format, args...)})
}

// line is that of the path, or of the nearest thing around it that the file has.
func (d *decoder) line(path string) int {
	for {
		if l, ok := d.lines[path]; ok {
			return l
		}
		if path == "" {
			return 1
		}
		path = parent(path)
	}
}

// reported says that the path or something around it could not be read.
func (d *decoder) reported(path string) bool {
	for {
		if d.bad[path] {
			return true
		}
		if path == "" {
			return false
		}
		path = parent(path)
	}
}

func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	d.lines[path] = n.Line
	if n.Kind == yaml.AliasNode {
		d.fail(n, path, "aliases are not read; write the value out")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // as if the key were not there
	}
	if isAddress(v) {
		d.address(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Slice:
		d.sequence(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "keys are expected here, not %s", kindName(n))
		return
	}
	fields := map[string]int{}
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("key")] = i
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		name := key.Value
		at := join(path, name)
		if first, ok := seen[name]; ok {
			d.problems = append(d.problems, Problem{Line: key.Line, Path: at, Reason: fmt.Sprintf("given twice; first in line %d", first)})
			continue
		}
		seen[name] = key.Line
		index, ok := fields[name]
		if !ok || key.Kind != yaml.ScalarNode {
			d.problems = append(d.problems, Problem{Line: key.Line, Path: at, Reason: "unknown key" + hint(name, v.Type())})
			continue
		}
		d.value(val, v.Field(index), at)
		d.lines[at] = key.Line
	}
}

// hint names the key that was probably meant.
func hint(name string, t reflect.Type) string {
	plain := func(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)) }
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("key")
		a, b := plain(key), plain(name)
		if a == b || (len(b) >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))) {
			return fmt.Sprintf("; %q perhaps", key)
		}
	}
	return ""
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "a list is expected here, not %s", kindName(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		element := list.Index(i)
		if e, ok := element.Addr().Interface().(defaulter); ok {
			e.setDefaults()
		}
		d.value(item, element, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(list)
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "a single value is expected here, not %s", kindName(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		if n.Decode(&b) != nil {
			d.fail(n, path, "%q is neither true nor false", n.Value)
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Uint32:
		var i int64
		if n.Tag != "!!int" || n.Decode(&i) != nil {
			d.fail(n, path, "%q is no whole number", n.Value)
			return
		}
		if v.Kind() == reflect.Uint32 {
			if i < 0 || i > math.MaxUint32 {
				d.fail(n, path, "%d is not between 0 and %d", i, uint32(math.MaxUint32))
				return
			}
			v.SetUint(uint64(i))
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		var f float64
		if (n.Tag != "!!int" && n.Tag != "!!float") || n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.fail(n, path, "%q is no number", n.Value)
			return
		}
		v.SetFloat(f)
	default:
		panic("config: no decoder for " + v.Type().String())
	}
}

func isAddress(v reflect.Value) bool {
	switch v.Interface().(type) {
	case netip.Addr, netip.AddrPort, netip.Prefix:
		return true
	}
	return false
}

// address reads the three address types. An empty string leaves the zero value, which means "not given".
func (d *decoder) address(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, path, "a single value is expected here, not %s", kindName(n))
		return
	}
	if n.Value == "" {
		return
	}
	var parsed any
	var err error
	want := "an address"
	switch v.Interface().(type) {
	case netip.Addr:
		var a netip.Addr
		a, err = netip.ParseAddr(n.Value)
		parsed = a.Unmap()
		if a.Zone() != "" {
			err = fmt.Errorf("zone")
		}
	case netip.AddrPort:
		want = "address:port"
		parsed, err = netip.ParseAddrPort(n.Value)
	case netip.Prefix:
		want = "address/length"
		parsed, err = netip.ParsePrefix(n.Value)
	}
	if err != nil {
		d.fail(n, path, "%q is not %s", n.Value, want)
		return
	}
	v.Set(reflect.ValueOf(parsed))
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}
