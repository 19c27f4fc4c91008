package kit

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"

	"go.yaml.in/yaml/v3"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// ParseFlags reads args into fs and then, for flags that args did not give, the YAML file that path names (empty: none).
// Each key of the file is the name of a flag; every unknown key and bad value is reported at once, with its line.
func ParseFlags(fs *flag.FlagSet, args []string, path func() string) error {
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if path() == "" {
		return nil
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	file := path()
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("read the configuration: %s has more than %d bytes", file, maxConfig)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return applyYAML(fs, file, data, given)
}

func applyYAML(fs *flag.FlagSet, file string, data []byte, given map[string]bool) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("read the configuration %s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: a mapping from flag names to values is expected", file, root.Line)
	}
	type fault struct {
		line int
		err  error
	}
	var faults []fault
	add := func(line int, format string, args ...any) {
		faults = append(faults, fault{line, fmt.Errorf("%s:%d: "+format, append([]any{file, line}, args...)...)})
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch {
		case fs.Lookup(key.Value) == nil || key.Value == "config":
			add(key.Line, "unknown key %q", key.Value)
		case seen[key.Value]:
			add(key.Line, "key %q is there twice", key.Value)
		case value.Kind != yaml.ScalarNode:
			add(value.Line, "%s: a single value is expected", key.Value)
		case !given[key.Value]:
			if err := fs.Set(key.Value, value.Value); err != nil {
				add(value.Line, "%s: bad value %q: %v", key.Value, value.Value, err)
			}
		}
		seen[key.Value] = true
	}
	sort.SliceStable(faults, func(i, j int) bool { return faults[i].line < faults[j].line })
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f.err
	}
	return errors.Join(errs...)
}
