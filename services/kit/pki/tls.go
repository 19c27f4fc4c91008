package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Files are the paths of a process's certificate material, all PEM.
type Files struct {
	CA, Cert, Key string
}

// FilesIn are the paths that CA.IssueTo uses in a folder.
func FilesIn(dir string) Files {
	return Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

// Credentials are a process's certificate, its key and the authority that it trusts. Immutable.
type Credentials struct {
	cert  tls.Certificate
	roots *x509.CertPool
	self  Identity
}

// Load reads the files.
func Load(f Files) (*Credentials, error) {
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("load the authority: %w", err)
	}
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("load the certificate: %w", err)
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("load the key: %w", err)
	}
	return New(ca, Leaf{Cert: cert, Key: key})
}

// New makes credentials of PEM in memory.
func New(caPEM []byte, leaf Leaf) (*Credentials, error) {
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		return nil, fmt.Errorf("load the certificate: %w", err)
	}
	self, err := FromCertificate(pair.Leaf)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("pki: the authority's file holds no certificate")
	}
	return &Credentials{cert: pair, roots: roots, self: self}, nil
}

// Self is the identity of the certificate.
func (c *Credentials) Self() Identity { return c.self }

// Server is TLS 1.3 that asks for a client certificate of the authority, with an identity of any role; what a role may do
// is decided per method, after the handshake.
func (c *Credentials) Server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.roots,
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := FromCertificate(s.PeerCertificates[0])
			return err
		},
	}
}

// Client is TLS 1.3 towards a server that must have one of the roles.
func (c *Credentials) Client(roles ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		// The usual check compares host names, which say nothing here. VerifyConnection checks the chain and the identity
		// instead, for resumed sessions too.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return ErrNoIdentity
			}
			inter := x509.NewCertPool()
			for _, ic := range s.PeerCertificates[1:] {
				inter.AddCert(ic)
			}
			if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots:         c.roots,
				Intermediates: inter,
				KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}); err != nil {
				return fmt.Errorf("verify the server's certificate: %w", err)
			}
			id, err := FromCertificate(s.PeerCertificates[0])
			if err != nil {
				return err
			}
			if !slices.Contains(roles, id.Role) {
				return fmt.Errorf("pki: the server is %s, its role must be one of %v", id, roles)
			}
			return nil
		},
	}
}

// ClientOf is TLS 1.3 towards the server with that identity alone: another one at its address is not it.
func (c *Credentials) ClientOf(want Identity) *tls.Config {
	cfg := c.Client(want.Role)
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if err := verify(s); err != nil {
			return err
		}
		id, err := FromCertificate(s.PeerCertificates[0])
		if err == nil && id != want {
			err = fmt.Errorf("pki: %s answers at the address of %s", id, want)
		}
		return err
	}
	return cfg
}

// FromContext is the identity of the caller of a gRPC method; false when the connection is not mutual TLS.
func FromContext(ctx context.Context) (Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}, false
	}
	id, err := FromCertificate(info.State.PeerCertificates[0])
	return id, err == nil
}
