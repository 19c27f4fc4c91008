package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds the file before it is parsed, in bytes.
const maxFile = 4 << 20

// Load reads the file at path over Default. What is wrong with it comes back as one *Error.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("config: open: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("config: read %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse reads data over Default; file is the name in messages. It never returns a Config together with an error.
func Parse(file string, data []byte) (Config, error) {
	if len(data) > maxFile {
		return Config{}, asError(file, []Problem{{Reason: fmt.Sprintf("larger than %d bytes", maxFile)}})
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, asError(file, []Problem{syntaxProblem(err)})
	}
	if err := dec.Decode(&more); err == nil {
		return Config{}, asError(file, []Problem{{Line: more.Line, Reason: "a second document; one is expected"}})
	} else if !errors.Is(err, io.EOF) {
		return Config{}, asError(file, []Problem{syntaxProblem(err)})
	}

	c := Default()
	d := decoder{lines: map[string]int{}, bad: map[string]bool{}}
	if len(doc.Content) == 1 {
		d.root(doc.Content[0], &c)
	}
	problems := d.problems
	for _, p := range c.problems() {
		if d.reported(p.Path) {
			continue // a value that could not be read is not also out of range
		}
		p.Line = d.line(p.Path)
		problems = append(problems, p)
	}
	if err := asError(file, problems); err != nil {
		return Config{}, err
	}
	return c, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

func syntaxProblem(err error) Problem {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return Problem{Line: line, Reason: "not YAML: " + m[2]}
	}
	// yaml.v3 leaves the number out when it is the first line.
	return Problem{Line: 1, Reason: "not YAML: " + strings.TrimPrefix(text, "yaml: ")}
}
