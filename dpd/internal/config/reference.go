package config

import (
	"fmt"
	"reflect"
	"strings"
)

//go:generate go test -run TestReferenceIsCurrent . -update

// Reference is the page of all keys, in Markdown: type, range, default and meaning, as the tags say them.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Keys of dpd's configuration file\n\nYAML. An unknown key or a bad value is an error; all of them are reported at once, with their lines.\n" +
		"A list's element is written as `name[]`. This page is printed from the structs of this package.\n\n" +
		"| key | value | default | meaning |\n|---|---|---|---|\n")
	c := Default()
	c.EAL.Cores = nil // differs by machine
	rows(&b, reflect.ValueOf(c), "")
	return b.String()
}

func rows(b *strings.Builder, v reflect.Value, path string) {
	for i := range v.NumField() {
		f, tag := v.Field(i), v.Type().Field(i).Tag
		at := join(path, tag.Get("key"))
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", at, valueName(f, tag), defaultName(f, at, tag), tag.Get("doc"))
		if isAddress(f) {
			continue
		}
		t, suffix := f.Type(), ""
		if t.Kind() == reflect.Slice {
			t, suffix = t.Elem(), "[]"
		}
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || isAddress(reflect.Zero(t)) {
			continue
		}
		inner := reflect.New(t)
		if f.Kind() == reflect.Struct {
			inner.Elem().Set(f)
		} else if d, ok := inner.Interface().(defaulter); ok {
			d.setDefaults()
		}
		rows(b, inner.Elem(), at+suffix)
	}
}

func valueName(v reflect.Value, tag reflect.StructTag) string {
	if e, ok := v.Interface().(interface{ values() []string }); ok {
		return strings.Join(e.values(), ", ")
	}
	if one := tag.Get("oneof"); one != "" {
		return strings.Join(strings.Fields(one), ", ")
	}
	switch v.Kind() {
	case reflect.Slice:
		name := typeName(v.Type().Elem(), tag)
		if lo := tag.Get("min"); lo != "" {
			return fmt.Sprintf("list of %s, %s to %s", name, lo, tag.Get("max"))
		}
		return fmt.Sprintf("list of %s, at most %s", name, tag.Get("max"))
	case reflect.Int, reflect.Uint32, reflect.Float64:
		lo := tag.Get("min")
		if lo == "" {
			lo = "0"
		}
		return strings.TrimSpace(fmt.Sprintf("%s to %s %s", lo, tag.Get("max"), tag.Get("unit")))
	}
	return typeName(v.Type(), tag)
}

func typeName(t reflect.Type, tag reflect.StructTag) string {
	switch t.String() {
	case "netip.Addr":
		return map[string]string{"ipv4": "IPv4 address", "ipv6": "IPv6 address", "": "address"}[tag.Get("form")]
	case "netip.AddrPort":
		return "address:port"
	case "netip.Prefix":
		return "address/length"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true, false"
	case reflect.Int:
		return fmt.Sprintf("%s to %s", tag.Get("lo"), tag.Get("hi"))
	case reflect.String:
		return map[string]string{"name": "name", "hostport": "host:port", "pci": "PCI address", "": "text"}[tag.Get("form")]
	}
	return "keys"
}

func defaultName(v reflect.Value, path string, tag reflect.StructTag) string {
	switch {
	case path == "eal.cores":
		return "all"
	case tag.Get("required") != "" || path == "ports":
		return "required"
	case v.Kind() == reflect.Bool, v.Kind() == reflect.Int, v.Kind() == reflect.Float64:
		return fmt.Sprint(v.Interface())
	case v.IsZero(), v.Kind() == reflect.Struct:
		return ""
	}
	return fmt.Sprint(v.Interface())
}
