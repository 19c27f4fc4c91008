package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is in the chain of every error that names bad keys or values.
var ErrInvalid = errors.New("config: invalid")

// Problem is one thing wrong with a configuration.
type Problem struct {
	Line   int    // of the file; 0 when there is no file
	Path   string // e.g. ports[0].mtu; empty for the file as a whole
	Reason string
}

// Error lists every problem of one configuration, in the order of lines.
type Error struct {
	File     string
	Problems []Problem
}

// Error writes one line a problem: file:line: path: reason.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		if e.File != "" {
			b.WriteString(e.File + ":")
		}
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:", p.Line)
		}
		if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
			b.WriteByte(' ')
		}
		if p.Path != "" {
			b.WriteString(p.Path + ": ")
		}
		b.WriteString(p.Reason)
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *Error) Unwrap() error { return ErrInvalid }

func asError(file string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{File: file, Problems: problems}
}
