package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/holdfast-lb/holdfast/e2e/lab/load"
	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// Client steers the traffic program that runs in the client's namespace.
type Client struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// StartClient starts the traffic program.
func (l *Lab) StartClient() (*Client, error) {
	cmd := l.Program(topo.Client, "traffic")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the client: %w", err)
	}
	return &Client{cmd: cmd, in: in, answers: json.NewDecoder(out)}, nil
}

// Ask sends one command of the traffic program, and returns the flows of its answer.
func (c *Client) Ask(verb string, argument any) ([]load.Flow, error) {
	line := verb
	if argument != nil {
		data, err := json.Marshal(argument)
		if err != nil {
			return nil, err
		}
		line += " " + string(data)
	}
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return nil, fmt.Errorf("client: %s: %w", verb, err)
	}
	var a struct {
		Error string
		Flows []load.Flow
	}
	if err := c.answers.Decode(&a); err != nil {
		return nil, fmt.Errorf("client: %s: %w", verb, err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("client: %s", a.Error)
	}
	return a.Flows, nil
}

// Stop ends the program, with whatever is open.
func (c *Client) Stop() {
	c.in.Close()
	c.cmd.Process.Kill() //nolint:errcheck // it may have ended
	c.cmd.Wait()         //nolint:errcheck
}
