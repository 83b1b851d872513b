package git

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/plumb-dev/plumb/internal/source"
)

// access is what one command needs to reach a remote. Secrets go to git by its
// environment, never by arguments or URLs; what must be a file (keys) is one
// with mode 0600 in a directory that close removes.
type access struct {
	cred   source.Credentials
	env    []string
	config [][2]string
	dir    string
}

// defaultUser is the user name that Git hosts accept beside a token.
const defaultUser = "x-access-token"

// credentialHelper answers from the environment. Git runs it with a shell.
const credentialHelper = `!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$PLUMB_GIT_USERNAME" "$PLUMB_GIT_PASSWORD"; }; f` //nolint:gosec // names variables, holds nothing

// newAccess prepares credentials for a remote at its effective URL.
func newAccess(tmp, effective string, cred source.Credentials) (*access, error) {
	a := &access{cred: cred}
	if err := a.prepare(tmp, effective); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *access) prepare(tmp, effective string) error {
	if a.needsFiles() {
		dir, err := os.MkdirTemp(tmp, "access-")
		if err != nil {
			return fmt.Errorf("directory for credentials: %w", err)
		}
		a.dir = dir
	}
	if err := a.prepareTLS(); err != nil {
		return err
	}
	a.prepareHTTP(effective)
	if a.cred.Proxy != "" {
		a.set("http.proxy", a.cred.Proxy)
	}
	if a.cred.NoProxy != "" {
		a.env = append(a.env, "no_proxy="+a.cred.NoProxy, "NO_PROXY="+a.cred.NoProxy)
	}
	return a.prepareSSH()
}

func (a *access) needsFiles() bool {
	c := a.cred
	return c.SSHPrivateKey != "" || c.KnownHosts != "" || c.CABundle != "" || c.TLSClientCert != "" || c.TLSClientKey != ""
}

func (a *access) set(key, value string) { a.config = append(a.config, [2]string{key, value}) }

// prepareHTTP passes a user name and password, or a token, to one host only: a
// redirect or a submodule elsewhere does not get them.
func (a *access) prepareHTTP(effective string) {
	u, err := url.Parse(effective)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return
	}
	scope := u.Scheme + "://" + u.Host
	user := a.cred.Username
	if user == "" {
		user = defaultUser
	}
	switch {
	case a.cred.BearerToken != "":
		a.set("http."+scope+".extraHeader", "Authorization: Bearer "+a.cred.BearerToken)
	case a.cred.Password != "" && a.cred.ForceBasicAuth:
		basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + a.cred.Password))
		a.set("http."+scope+".extraHeader", "Authorization: Basic "+basic)
	case a.cred.Password != "":
		a.set("credential.helper", "")
		a.set("credential."+scope+".helper", "")
		a.set("credential."+scope+".helper", credentialHelper)
		a.env = append(a.env, "PLUMB_GIT_USERNAME="+user, "PLUMB_GIT_PASSWORD="+a.cred.Password)
	}
}

func (a *access) prepareTLS() error {
	if a.cred.Insecure {
		a.set("http.sslVerify", "false")
	}
	for _, part := range []struct{ key, name, text string }{
		{"http.sslCAInfo", "ca.pem", a.cred.CABundle},
		{"http.sslCert", "client.pem", a.cred.TLSClientCert},
		{"http.sslKey", "client.key", a.cred.TLSClientKey},
	} {
		if part.text == "" {
			continue
		}
		file, err := a.file(part.name, part.text)
		if err != nil {
			return err
		}
		a.set(part.key, file)
	}
	return nil
}

// prepareSSH names key and known hosts where there are any; otherwise the
// user's own ssh configuration holds.
func (a *access) prepareSSH() error {
	c := a.cred
	if c.SSHPrivateKey == "" && c.KnownHosts == "" && !c.Insecure {
		return nil
	}
	args := []string{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"}
	if c.SSHPrivateKey != "" {
		key, err := a.file("ssh.key", strings.TrimRight(c.SSHPrivateKey, "\r\n")+"\n")
		if err != nil {
			return err
		}
		args = append(args, "-i", quote(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
	}
	switch {
	case c.Insecure:
		args = append(args, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
	case c.KnownHosts != "":
		known, err := a.file("known_hosts", strings.TrimRight(c.KnownHosts, "\n")+"\n")
		if err != nil {
			return err
		}
		args = append(args, "-o", "StrictHostKeyChecking=yes", "-o", quote("UserKnownHostsFile="+known), "-o", "GlobalKnownHostsFile=/dev/null")
	default:
		args = append(args, "-o", "StrictHostKeyChecking=yes")
	}
	a.env = append(a.env, "GIT_SSH_COMMAND="+strings.Join(args, " "), "GIT_SSH_VARIANT=ssh")
	return nil
}

func (a *access) file(name, text string) (string, error) {
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write credentials: %w", err)
	}
	return file, nil
}

// environment gives the variables, with configuration counted on from what the
// user's environment already holds.
func (a *access) environment(from int) []string {
	env := append([]string{}, a.env...)
	for i, kv := range a.config {
		n := strconv.Itoa(from + i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+kv[0], "GIT_CONFIG_VALUE_"+n+"="+kv[1])
	}
	if len(a.config) > 0 {
		env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(from+len(a.config)))
	}
	return env
}

func (a *access) close() {
	if a.dir != "" {
		_ = os.RemoveAll(a.dir)
	}
}

// quote makes a text one word for the shell that git runs ssh with.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
