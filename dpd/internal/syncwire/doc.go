// Package syncwire is the wire format of session sync.
package syncwire
