// Package kit is what every holdfast service is built from: flags and configuration file, log, metrics, a gRPC server with
// health, reflection, recovery and request log, NATS, mutual TLS, signals and an orderly end. It knows no domain.
//
// A service is a value with Register and Run. A process of one service is kit.Run(name, build); services/mesh puts several
// on servers of its own with Listen.
package kit
