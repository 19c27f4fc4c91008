// Package pki is who may talk to whom: identities in X.509 certificates as SPIFFE URIs, TLS 1.3 configurations that check
// them, and a small certificate authority for labs and single machines. Host names play no part, since nodes are known by
// identity and not by address.
package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// TrustDomain is the authority of every identity: spiffe://holdfast/<role>/<name>.
const TrustDomain = "holdfast"

// Role is what a process is.
type Role string

// The roles.
const (
	RoleDataplane Role = "dpd"      // a data plane
	RoleService   Role = "service"  // scheduler, sync-coordinator, conntrack-query, health
	RoleGateway   Role = "gateway"  // the REST gateway
	RoleOperator  Role = "operator" // a person or program with full rights
	RoleViewer    Role = "viewer"   // a person or program that reads
)

// Identity is one process or person.
type Identity struct {
	Role Role
	Name string
}

// ErrNoIdentity says that a certificate holds no identity, or more than one.
var ErrNoIdentity = errors.New("pki: the certificate does not hold exactly one spiffe://" + TrustDomain + " identity")

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Valid says whether the role is known and the name is 1 to 63 of a-z, 0-9, '.' and '-'.
func (id Identity) Valid() bool {
	switch id.Role {
	case RoleDataplane, RoleService, RoleGateway, RoleOperator, RoleViewer:
		return namePattern.MatchString(id.Name)
	}
	return false
}

// URI is spiffe://holdfast/<role>/<name>.
func (id Identity) URI() string {
	return fmt.Sprintf("spiffe://%s/%s/%s", TrustDomain, id.Role, id.Name)
}

// String is <role>/<name>.
func (id Identity) String() string { return string(id.Role) + "/" + id.Name }

// FromCertificate reads the identity of a certificate that has been verified.
func FromCertificate(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 {
		return Identity{}, ErrNoIdentity
	}
	u := c.URIs[0]
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	id := Identity{Role: Role(role), Name: name}
	// Comparing with the URI that the identity would have refuses queries, ports, escapes and user names at once.
	if !ok || !id.Valid() || u.String() != id.URI() {
		return Identity{}, ErrNoIdentity
	}
	return id, nil
}
