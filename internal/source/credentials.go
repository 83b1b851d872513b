package source

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// Opens tells whether they hold anything by which a repository is reached that is
// not without them.
func (c Credentials) Opens() bool {
	return c.Password != "" || c.BearerToken != "" || c.SSHPrivateKey != "" || c.TLSClientKey != "" || c.CABundle != "" || c.Proxy != "" || c.Insecure
}

// Fingerprint tells credentials apart without holding them. It is for keys in
// memory only: it is not salted, so it belongs in no log and on no disk.
func (c Credentials) Fingerprint() string {
	raw, err := json.Marshal(struct{ V any }{V: plainCredentials(c)})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// MarshalJSON hides everything, so that credentials inside another value do
// not reach a log or an answer by accident.
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"[credentials]"`), nil }

type plainCredentials Credentials

// minSecret is the shortest text that is masked: hiding shorter ones would
// make messages unreadable and reveal them by their absence.
const minSecret = 3

// Mask hides the credentials, in the forms they take in URLs and headers, and
// every URL's user information, in a text.
func (c Credentials) Mask(text string) string {
	text = MaskURL(text)
	secrets := []string{c.Password, c.BearerToken, c.SSHPrivateKey, c.TLSClientKey}
	for _, secret := range secrets {
		secret = strings.TrimSpace(secret)
		if len(secret) < minSecret {
			continue
		}
		for _, form := range []string{
			secret,
			url.QueryEscape(secret),
			url.PathEscape(secret),
			url.UserPassword("", secret).String()[1:],
			base64.StdEncoding.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + secret)),
		} {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	if u, err := url.Parse(c.Proxy); err == nil && u.User != nil {
		if secret, ok := u.User.Password(); ok && len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}
