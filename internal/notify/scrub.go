package notify

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const hidden = "xxxxx"

// scrubber takes secrets out of what services and libraries say of errors:
// their addresses hold tokens.
type scrubber struct {
	texts []string // the longest first
}

// The lengths from which a text, and a piece of one, is taken for a secret.
const (
	shortSecret = 4
	shortPiece  = 10
)

var separators = regexp.MustCompile(`[^A-Za-z0-9_~.]+`)

// with adds secrets in the forms in which they may come back: as they are,
// escaped, encoded, and in pieces, as some services take tokens apart.
func (s scrubber) with(secrets ...string) scrubber {
	all := slices.Clone(s.texts)
	for _, secret := range secrets {
		secret = strings.TrimSpace(secret)
		if len(secret) < shortSecret {
			continue
		}
		all = append(all, secret, url.QueryEscape(secret), url.PathEscape(secret),
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret)))
		host := ""
		if u, err := url.Parse(secret); err == nil {
			host = u.Hostname() // where something failed may be said
		}
		for _, piece := range separators.Split(secret, -1) {
			if len(piece) >= shortPiece && !strings.Contains(host, piece) {
				all = append(all, piece)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return scrubber{texts: slices.Compact(all)}
}

var (
	addresses = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+`)
	bearers   = regexp.MustCompile(`(?i)\b(bearer|basic|geniekey|token)\s+[A-Za-z0-9._~+/=-]{8,}`)
)

const maxErrorText = 300

// clean makes a text fit to be read by everybody: without secrets, with
// addresses cut down to their hosts, on one line, and short.
func (s scrubber) clean(text string) string {
	for _, t := range s.texts {
		text = strings.ReplaceAll(text, t, hidden)
	}
	text = addresses.ReplaceAllStringFunc(text, func(a string) string {
		u, err := url.Parse(strings.TrimRight(a, ".,;:)"))
		if err != nil || u.Host == "" {
			scheme, _, _ := strings.Cut(a, "://")
			return scheme + "://" + hidden
		}
		return u.Scheme + "://" + u.Host
	})
	text = bearers.ReplaceAllString(text, "$1 "+hidden)
	return shorten(oneLine(text), maxErrorText)
}

// oneLine makes runs of white space and control characters a space.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || isControl(r) }), " ")
}

// shorten cuts a text to so many bytes, between characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
