package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxString bounds every text value, in bytes.
const maxString = 4096

var forms = map[string]struct {
	match *regexp.Regexp
	is    string
}{
	"name": {regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`), "a name of at most 63 letters, digits, '-', '_', '.'"},
	"pci":  {regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`), "a PCI address such as 0000:03:00.0"},
}

// checker walks a Config and holds each field to its tags.
type checker struct{ problems []Problem }

func (c *checker) fail(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) walk(v reflect.Value, path string, tag reflect.StructTag) {
	if tag.Get("required") != "" && v.IsZero() {
		c.fail(path, "is required")
		return
	}
	if isAddress(v) {
		c.address(v, path, tag.Get("form"))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			c.walk(v.Field(i), join(path, f.Tag.Get("key")), f.Tag)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			c.walk(v.Elem(), path, "")
		}
	case reflect.Slice:
		lo, hi := bound(tag.Get("min"), 0), bound(tag.Get("max"), 1<<20)
		if n := float64(v.Len()); n < lo {
			c.fail(path, "needs at least %v", lo)
		} else if n > hi {
			c.fail(path, "has %v entries; at most %v are allowed", n, hi)
			return
		}
		element := reflect.StructTag(fmt.Sprintf(`form:%q min:%q max:%q element:"yes"`, tag.Get("form"), tag.Get("lo"), tag.Get("hi")))
		for i := range v.Len() {
			c.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), element)
		}
	case reflect.String:
		c.text(v, path, tag)
	case reflect.Int:
		c.number(float64(v.Int()), path, tag)
	case reflect.Uint32:
		c.number(float64(v.Uint()), path, tag)
	case reflect.Float64:
		c.number(v.Float(), path, tag)
	}
}

func bound(tag string, otherwise float64) float64 {
	if tag == "" {
		return otherwise
	}
	f, err := strconv.ParseFloat(tag, 64)
	if err != nil {
		panic("config: bad bound " + tag)
	}
	return f
}

func (c *checker) number(n float64, path string, tag reflect.StructTag) {
	lo, hi := bound(tag.Get("min"), 0), bound(tag.Get("max"), 1<<53)
	if n < lo || n > hi {
		c.fail(path, "%s is not between %s and %s", plain(n), plain(lo), plain(hi))
	}
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (c *checker) text(v reflect.Value, path string, tag reflect.StructTag) {
	s := v.String()
	if len(s) > maxString || strings.ContainsAny(s, "\x00\n\r") {
		c.fail(path, "is longer than %d bytes or has control characters", maxString)
		return
	}
	if e, ok := v.Interface().(interface{ values() []string }); ok {
		if !slices.Contains(e.values(), s) {
			c.fail(path, "%q is none of %s", s, strings.Join(e.values(), ", "))
		}
		return
	}
	if one := tag.Get("oneof"); one != "" && !slices.Contains(strings.Fields(one), s) {
		c.fail(path, "%q is none of %s", s, strings.Join(strings.Fields(one), ", "))
		return
	}
	if s == "" {
		if tag.Get("element") != "" {
			c.fail(path, "is empty")
		}
		return
	}
	form := tag.Get("form")
	if form == "hostport" {
		host, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || host == "" || n == 0 {
			c.fail(path, "%q is not host:port", s)
		}
		return
	}
	if f, ok := forms[form]; ok && !f.match.MatchString(s) {
		c.fail(path, "%q is not %s", s, f.is)
	}
}

func (c *checker) address(v reflect.Value, path, form string) {
	switch a := v.Interface().(type) {
	case netip.Addr:
		if !a.IsValid() {
			return
		}
		if form == "ipv4" && !a.Is4() || form == "ipv6" && !a.Is6() {
			c.fail(path, "%v is no %s address", a, strings.Replace(form, "ip", "IP", 1))
			return
		}
		if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			c.fail(path, "%v is no address of a host", a)
		}
	case netip.Prefix:
		if v.IsValid() && !a.IsValid() && !v.IsZero() {
			c.fail(path, "is no prefix")
		}
	}
}
