// Command traffic is the lab's client: it runs in the client's namespace and is steered over standard input, one command a
// line, each answered with one line of JSON.
//
//	open {plan}   open all flows
//	mark          begin a measurement of silence
//	wake          let idle connections exchange frames
//	report        state of all flows
//	close         end all flows in order
//
// It ends with standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
)

// Answer is one line.
type Answer struct {
	Error string      `json:"error,omitempty"`
	Flows []load.Flow `json:"flows,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var l *load.Load
	for in.Scan() {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		if err := out.Encode(command(&l, verb, rest)); err != nil {
			fmt.Fprintln(os.Stderr, "traffic:", err)
			os.Exit(1)
		}
	}
}

func command(l **load.Load, verb, rest string) Answer {
	if verb == "open" {
		var plan load.Plan
		if err := json.Unmarshal([]byte(rest), &plan); err != nil {
			return Answer{Error: err.Error()}
		}
		if *l != nil {
			return Answer{Error: "already open"}
		}
		opened, err := load.Open(plan)
		if err != nil {
			return Answer{Error: err.Error()}
		}
		*l = opened
		return Answer{Flows: opened.Report()}
	}
	if *l == nil {
		return Answer{Error: verb + ": nothing is open"}
	}
	switch verb {
	case "mark":
		(*l).Mark()
		return Answer{}
	case "wake":
		(*l).Wake()
		return Answer{Flows: (*l).Report()}
	case "report":
		return Answer{Flows: (*l).Report()}
	case "close":
		flows := (*l).Close()
		*l = nil
		return Answer{Flows: flows}
	}
	return Answer{Error: verb + ": no such command"}
}
