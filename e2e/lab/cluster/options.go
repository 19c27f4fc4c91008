// Package cluster runs the lab: it builds the network, starts the router, the real servers, the control plane and the data
// planes as real processes, and takes all of it away again. Its state lies in a run folder, so that each command of the lab
// works on what an earlier one left, and down repairs after a crash.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-lb/holdfast/e2e/lab/topo"
)

// Options is what `up` is asked for.
type Options struct {
	Nodes    int     `json:"nodes"`
	Workers  int     `json:"workers"`
	Port     string  `json:"port"`      // af_packet or af_xdp
	SyncLoss float64 `json:"sync_loss"` // percent of sync datagrams dropped at sending
	Sync     bool    `json:"sync"`      // false: sessions die with their node
	Static   bool    `json:"static"`    // no control plane: each node runs by its own file, for itself
	Restless bool    `json:"restless"`  // a node that is killed again and again may join again at once
}

// Default is three nodes of one worker.
func Default() Options { return Options{Nodes: 3, Workers: 1, Port: "af_packet", Sync: true} }

// Validate names every bad option.
func (o Options) Validate() error {
	var bad []error
	if o.Nodes < 1 || o.Nodes > topo.MaxNodes {
		bad = append(bad, fmt.Errorf("nodes: %d is not between 1 and %d", o.Nodes, topo.MaxNodes))
	}
	if o.Workers < 1 || o.Workers > 16 {
		bad = append(bad, fmt.Errorf("workers: %d is not between 1 and 16", o.Workers))
	}
	if o.Port != "af_packet" && o.Port != "af_xdp" {
		bad = append(bad, fmt.Errorf("port: %q is neither af_packet nor af_xdp", o.Port))
	}
	if !(o.SyncLoss >= 0 && o.SyncLoss <= 100) {
		bad = append(bad, fmt.Errorf("sync-loss: %v is not between 0 and 100", o.SyncLoss))
	}
	if o.Static && o.Sync {
		bad = append(bad, errors.New("static: nodes without a control plane don't sync; --sync off"))
	}
	return errors.Join(bad...)
}

// RunDir is the lab's folder: holdfast-lab in XDG_RUNTIME_DIR or /run.
func RunDir() string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = "/run"
	}
	return filepath.Join(base, "holdfast-lab")
}

const stateFile = "lab.json"

func (o Options) save(dir string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateFile), data, 0o644)
}

// ErrNoLab says that no lab is up.
var ErrNoLab = errors.New("no lab is up; lab up makes one")

func loadOptions(dir string) (Options, error) {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Options{}, ErrNoLab
	}
	if err != nil {
		return Options{}, err
	}
	var o Options
	if err := json.Unmarshal(data, &o); err != nil {
		return Options{}, fmt.Errorf("%s is damaged (lab down repairs): %w", stateFile, err)
	}
	return o, o.Validate()
}
