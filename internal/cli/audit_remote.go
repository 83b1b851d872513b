package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/plumb-dev/plumb/internal/ledger"
)

const (
	// fileTime is how long a server may take to give a file of its ledger, fileBytes
	// bounds it.
	fileTime  = time.Minute
	fileBytes = 18 << 20
	// answerBytes bounds what of a server's refusal is shown.
	answerBytes = 400
	// many is from how many new entries on it is said how far fetching them is.
	many = 20000
)

// remoteLedger is a ledger that a server gives.
type remoteLedger struct {
	server, tokenFile, authority string
	plain                        bool
}

func (r *remoteLedger) bind(flags *pflag.FlagSet) {
	flags.StringVar(&r.server, "server", "", "`URL` of plumb server, to copy its ledger and read the copy")
	flags.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token that is sent to --server (no other one ever is)")
	flags.StringVar(&r.authority, "certificate-authority", "", "`FILE` with the certificates of who vouches for --server (default: the system's)")
	flags.BoolVar(&r.plain, "insecure-plain-http", false, "send the token to an http:// address that is not of this machine")
	_ = cobra.MarkFlagFilename(flags, "token-file")
	_ = cobra.MarkFlagFilename(flags, "certificate-authority")
}

// stray tells of flags that say something about a server where none is named.
func (r *remoteLedger) stray() error {
	for flag, given := range map[string]bool{
		"--token-file": r.tokenFile != "", "--certificate-authority": r.authority != "", "--insecure-plain-http": r.plain,
	} {
		if given {
			return fmt.Errorf("%s is about a server: name it with --server", flag)
		}
	}
	return nil
}

// address reads --server. A token is not sent where others can read it.
func (r *remoteLedger) address() (*url.URL, error) {
	address := r.server
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("--server: %q is no address like https://plumb.example.org", printable(r.server))
	case u.User != nil:
		return nil, errors.New("--server: no password belongs into an address: name a file with a token with --token-file")
	case u.Scheme == "http" && !loopback(u.Hostname()) && !r.plain:
		return nil, fmt.Errorf("--server: over http:// anybody between here and %s can read the token and change what comes: use https://, a tunnel to this machine (kubectl port-forward), or say --insecure-plain-http", u.Host)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// folder is where the copy of a server's ledger is kept, if nobody says where. It is
// no cache: what was seen once is what a rewritten ledger is found out by.
func (r *remoteLedger) folder(env environment, u *url.URL) (string, error) {
	if env.StateDir == "" {
		return "", errors.New("there is no home directory to keep the ledger's copy in: say where with --dir")
	}
	name := strings.ReplaceAll(url.QueryEscape(strings.ToLower(u.Host)+u.Path), "%3A", "_")
	return filepath.Join(env.StateDir, "ledgers", strings.TrimLeft(name, ".")), nil
}

// copy brings the copy of a server's ledger up to date, and gives its folder.
func (r *remoteLedger) copy(ctx context.Context, c commandline, dir string, keys *ledger.Keys) (string, error) {
	u, err := r.address()
	if err != nil {
		return "", err
	}
	if dir == "" {
		if dir, err = r.folder(c.connection.env, u); err != nil {
			return "", err
		}
	}
	g, err := r.getter(u)
	if err != nil {
		return "", err
	}
	defer g.client.CloseIdleConnections()
	told := false
	m, err := ledger.Mirror(ctx, ledger.MirrorOptions{Dir: dir, Fetch: g.fetch, Keys: keys, Progress: func(n, of uint64) {
		if of >= many && (n < of || told) {
			told = true
			fmt.Fprintf(c.streams.Err, "%d of %d entries\n", n, of)
		}
	}})
	var tampered *ledger.TamperedError
	if errors.As(err, &tampered) {
		return "", fmt.Errorf("%w (at %s; the copy in %s is as it was)", err, u.Redacted(), dir)
	}
	var unreached *unreachedError
	if errors.As(err, &unreached) {
		if _, last := ledger.Seen(dir); !last.IsZero() {
			return "", fmt.Errorf("%w. A copy of %s is in %s: read it with --dir instead of --server", err, last.Local().Format(time.DateTime), dir)
		}
	}
	if err != nil {
		return "", err
	}
	if m.First {
		fmt.Fprintf(c.streams.Err, "the ledger at %s is read for the first time: from now on only this key counts, and those that it names; compare it with what `plumb audit checkpoint --keys` prints on the server\n%s\n",
			u.Redacted(), printable(m.Keys.Latest()))
	}
	return dir, nil
}

// getter fetches files of a ledger from a server.
type getter struct {
	base   *url.URL
	token  string
	file   string // that the token is from
	client *http.Client
}

func (r *remoteLedger) getter(u *url.URL) (*getter, error) {
	g := &getter{base: u, file: r.tokenFile}
	if r.tokenFile != "" {
		raw, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if g.token = strings.TrimSpace(string(raw)); g.token == "" || strings.ContainsAny(g.token, " \t\r\n") {
			return nil, fmt.Errorf("--token-file: there is no token, or more than one, in %s", r.tokenFile)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.authority != "" {
		raw, err := os.ReadFile(r.authority)
		if err != nil {
			return nil, fmt.Errorf("--certificate-authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--certificate-authority: there is no certificate in %s", r.authority)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
	transport.TLSClientConfig, transport.ResponseHeaderTimeout = config, fileTime
	g.client = &http.Client{Transport: transport, Timeout: fileTime, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token is for this host
	}}
	return g, nil
}

// unreachedError tells that a server did not give what it may have.
type unreachedError struct{ err error }

func (e *unreachedError) Error() string { return e.err.Error() }
func (e *unreachedError) Unwrap() error { return e.err }

func (g *getter) fetch(ctx context.Context, place string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base.String()+"/api/ledger/"+place, nil)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	if g.token != "" {
		request.Header.Set("Authorization", "Bearer "+g.token)
	}
	request.Header.Set("User-Agent", "plumb-cli")
	response, err := g.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, g.unreached(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, fileBytes+1))
	switch {
	case err != nil:
		return nil, g.unreached(err)
	case response.StatusCode != http.StatusOK:
		return nil, g.refused(place, response, content)
	case len(content) > fileBytes:
		return nil, fmt.Errorf("what answers at %s is no ledger of Plumb: it gives more than %d MB at once", g.base.Redacted(), fileBytes>>20)
	}
	return content, nil
}

// unreached says why a server can't be reached. Errors of the client name the
// address, which has no secret.
func (g *getter) unreached(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	next := "is `plumb server` running there?"
	switch {
	case errors.As(err, &authority):
		next = "name the certificate of who vouches for it with --certificate-authority"
	case errors.As(err, &name):
		next = "its certificate is for another name: use that one"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		next = "it speaks no TLS there: plumb server leaves that to an ingress in front of it"
	}
	return &unreachedError{fmt.Errorf("can't get the ledger from %s: %s (%w)", g.base.Redacted(), next, rootCause(err))}
}

// refused says what an answer means that is no file.
func (g *getter) refused(place string, response *http.Response, content []byte) error {
	said := ""
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		said = printable(strings.TrimSpace(string(content[:min(len(content), answerBytes)])))
	}
	at := g.base.Redacted()
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized && g.token == "":
		return fmt.Errorf("the server at %s gives its ledger to those who may read it: name a file with a token with --token-file, as `kubectl create token NAME` gives one", at)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("the server at %s does not accept the token in %s: it may have expired, or be of another cluster", at, g.file)
	case code == http.StatusForbidden && said != "":
		return fmt.Errorf("the server at %s: %s", at, said)
	case code == http.StatusNotFound && strings.HasPrefix(place, "tile/"):
		return fmt.Errorf("%s: %w", place, fs.ErrNotExist)
	case code == http.StatusNotFound && said == "404 page not found", code == http.StatusNotFound && said == "":
		return fmt.Errorf("there is no ledger at %s: is it the address of a plumb server, and new enough?", at)
	case code == http.StatusNotFound && place == "handovers":
		return fmt.Errorf("%s: %w", place, fs.ErrNotExist)
	case code >= 300 && code < 400:
		return fmt.Errorf("the server at %s sends elsewhere, to %s: name that address with --server if you trust it", at, printable(response.Header.Get("Location")))
	case code == http.StatusServiceUnavailable:
		return &unreachedError{fmt.Errorf("the server at %s: %s", at, cmp.Or(said, response.Status))}
	}
	return fmt.Errorf("the server at %s: %s", at, cmp.Or(said, printable(response.Status)))
}
