package node

import (
	"io"
	"log/slog"

	"github.com/holdfast-lb/holdfast/dpd/internal/config"
)

// Config is the configuration file of a data plane.
type Config = config.Config

// LoadConfig reads and checks a configuration file. The error lists everything that is wrong, each with its line.
func LoadConfig(path string) (Config, error) { return config.Load(path) }

// Logger is the log that a configuration asks for.
func Logger(c *Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked by LoadConfig; the zero value is info
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
