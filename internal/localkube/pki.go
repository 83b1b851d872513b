package localkube

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 5 * 365 * 24 * time.Hour
	renewBefore   = 180 * 24 * time.Hour
)

// pki is the directory of the keys and certificates of one cluster. There are
// two authorities: what the authority of the API signs must not open etcd,
// which knows nothing of RBAC.
type pki struct {
	dir  string
	api  authority
	etcd authority
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// leaf describes a certificate to be issued.
type leaf struct {
	name   string // of the files
	common string
	groups []string
	hosts  []string // of a server; a certificate without any is a client's
}

func (p pki) cert(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(p.dir, name+".key") }

// openPKI makes what is missing or about to expire, and keeps the rest.
func openPKI(dir string) (pki, error) {
	p := pki{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, fmt.Errorf("create the directory for certificates: %w", err)
	}
	var err error
	if p.api, err = p.authority("ca", "plumb local cluster"); err != nil {
		return p, err
	}
	if p.etcd, err = p.authority("etcd-ca", "plumb local etcd"); err != nil {
		return p, err
	}
	if err := p.serviceAccountKey(); err != nil {
		return p, err
	}
	for _, l := range apiLeaves() {
		if err := p.issue(p.api, l); err != nil {
			return p, err
		}
	}
	for _, l := range etcdLeaves() {
		if err := p.issue(p.etcd, l); err != nil {
			return p, err
		}
	}
	return p, nil
}

func apiLeaves() []leaf {
	return []leaf{
		{name: "apiserver", common: "kube-apiserver", hosts: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local", loopback, "::1", "10.96.0.1"}},
		{name: "admin", common: "plumb-admin", groups: []string{"system:masters"}},
		// What the engine does is told apart from what the user does.
		{name: engineName, common: engineUser, groups: []string{"system:masters"}},
		{name: "controller-manager", common: "system:kube-controller-manager"},
		{name: "scheduler", common: "system:kube-scheduler"},
		{name: "kwok", common: kwokUser},
	}
}

func etcdLeaves() []leaf {
	return []leaf{
		// etcd is its own peer and the client of its own gateway.
		{name: "etcd", common: "etcd", hosts: []string{"localhost", loopback}},
		{name: "etcd-client", common: "kube-apiserver"},
	}
}

// authority loads a certificate authority, or makes it if there is none. A
// damaged one is an error: a new one would make every kubeconfig invalid.
func (p pki) authority(name, common string) (authority, error) {
	if _, err := os.Stat(p.cert(name)); errors.Is(err, os.ErrNotExist) {
		if err := p.makeAuthority(name, common); err != nil {
			return authority{}, fmt.Errorf("make the certificate authority %s: %w", name, err)
		}
	}
	pair, err := tls.LoadX509KeyPair(p.cert(name), p.key(name))
	if err != nil {
		return authority{}, fmt.Errorf("load the certificate authority %s: %w", p.cert(name), err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return authority{}, fmt.Errorf("load the certificate authority %s: its key cannot sign", p.cert(name))
	}
	return authority{cert: pair.Leaf, key: key}, nil
}

func (p pki) makeAuthority(name, common string) error {
	template, err := newTemplate(common, nil, authorityLife)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	key, err := newKey()
	if err != nil {
		return err
	}
	return p.sign(name, template, template, key, key)
}

// issue makes the certificate, unless there is a good one.
func (p pki) issue(by authority, l leaf) error {
	if p.isGood(by, l) {
		return nil
	}
	template, err := newTemplate(l.common, l.groups, leafLife)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, host := range l.hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := p.sign(l.name, template, by.cert, key, by.key); err != nil {
		return fmt.Errorf("issue the certificate %s: %w", l.name, err)
	}
	return nil
}

func (p pki) isGood(by authority, l leaf) bool {
	pair, err := tls.LoadX509KeyPair(p.cert(l.name), p.key(l.name))
	if err != nil || time.Until(pair.Leaf.NotAfter) < renewBefore {
		return false
	}
	if pair.Leaf.Subject.CommonName != l.common || !slices.Equal(pair.Leaf.Subject.Organization, l.groups) {
		return false
	}
	for _, host := range l.hosts {
		if pair.Leaf.VerifyHostname(host) != nil {
			return false
		}
	}
	return pair.Leaf.CheckSignatureFrom(by.cert) == nil
}

// sign writes the key and then the certificate, so that a certificate that is
// there has its key.
func (p pki) sign(name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if err := writeKey(p.key(name), key); err != nil {
		return err
	}
	return writeFile(p.cert(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// serviceAccountKey makes the pair of keys that signs and verifies the tokens
// of service accounts.
func (p pki) serviceAccountKey() error {
	public := p.serviceAccountPublic()
	if _, err := os.Stat(public); err == nil {
		return nil
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(p.key("service-account"), key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writeFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (p pki) serviceAccountPublic() string { return filepath.Join(p.dir, "service-account.pub") }

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func newTemplate(common string, groups []string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: common, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour), // for a clock that is set back a little
		NotAfter:     time.Now().Add(life),
	}, nil
}
