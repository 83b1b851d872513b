// Package registry reaches HTTP servers and OCI registries with an
// Application's credentials, and explains what goes wrong there in a user's
// words. It knows nothing of charts or manifests.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/plumb-dev/plumb/internal/source"
)

// Transport gives an HTTP transport with the credentials' certificates and proxy.
func Transport(cred source.Credentials) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cred.Insecure} //nolint:gosec // the user says so in the repository's Secret
	if cred.CABundle != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(cred.CABundle)) {
			return nil, &source.Error{Reason: source.ReasonRefused, Message: "the CA certificate given for the repository is not PEM"}
		}
		config.RootCAs = pool
	}
	if cred.TLSClientCert != "" || cred.TLSClientKey != "" {
		pair, err := tls.X509KeyPair([]byte(cred.TLSClientCert), []byte(cred.TLSClientKey))
		if err != nil {
			return nil, &source.Error{Reason: source.ReasonRefused, Message: "the TLS client certificate and key given for the repository do not fit together or are not PEM"}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Transport{
		Proxy: proxy(cred), TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext:           (&net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConnsPerHost:   4,
	}, nil
}

func proxy(cred source.Credentials) func(*http.Request) (*url.URL, error) {
	if cred.Proxy == "" {
		return http.ProxyFromEnvironment
	}
	config := httpproxy.Config{HTTPProxy: cred.Proxy, HTTPSProxy: cred.Proxy, NoProxy: cred.NoProxy}
	choose := config.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

// StatusError is an answer with a status that is not a success.
type StatusError struct {
	Code int
	URL  string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", source.MaskURL(e.URL), e.Code, http.StatusText(e.Code))
}

// Explain makes a user's error of a failed request to a repository.
func Explain(repo string, cred source.Credentials, err error) error {
	var known *source.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &known):
		if known.Repo == "" {
			named := *known
			named.Repo = cred.Mask(repo)
			return &named
		}
		return err
	}
	reason, message := classify(err)
	return &source.Error{Reason: reason, Repo: cred.Mask(repo), Message: message, Detail: cred.Mask(clip(err.Error()))}
}

func classify(err error) (source.Reason, string) {
	var status *StatusError
	var response *errcode.ErrorResponse
	code := 0
	if errors.As(err, &status) {
		code = status.Code
	} else if errors.As(err, &response) {
		code = response.StatusCode
	}
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var network net.Error
	switch {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return source.ReasonAuthentication, "authentication failed: check the user name, password or token in the repository's Secret, and that it may read this repository"
	case code == http.StatusNotFound, errors.Is(err, errdef.ErrNotFound):
		return source.ReasonNotFound, "not found: check the URL, the chart's name and the version"
	case code == http.StatusTooManyRequests:
		return source.ReasonUnreachable, "the server asks to wait (too many requests); it is asked again by itself"
	case code >= 500:
		return source.ReasonUnreachable, "the server has a fault; it is asked again by itself"
	case errors.As(err, &unknownCA), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verification):
		return source.ReasonCertificate, "the server's certificate is not trusted: give its CA (argocd-tls-certs-cm), or set insecure: \"true\" in the repository's Secret"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return source.ReasonRefused, "the server speaks plain HTTP: set insecureOCIForceHttp: \"true\" in the repository's Secret if that is wanted"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return source.ReasonTimedOut, "the server did not answer in time; it is asked again by itself"
	case errors.As(err, &network):
		return source.ReasonUnreachable, "host unreachable: it does not answer or its name cannot be resolved; it is asked again by itself"
	}
	return source.ReasonFailed, "the request failed"
}

func clip(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
