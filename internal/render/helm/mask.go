package helm

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"

	"github.com/plumb-dev/plumb/internal/render"
)

// secretKey matches the names under which charts take secrets.
var secretKey = regexp.MustCompile(`(?i)passw|passphrase|secret|token|credential|api[-_]?key|private[-_]?key|access[-_]?key`)

const (
	masked = "++++++++"
	// maskedFrom is the length from which a value is worth masking: "true" and
	// "80" would garble a message and tell nothing.
	maskedFrom = 5
)

// mask takes what is probably a secret out of an error: templates may fail with a
// message that quotes a value, and the message goes into the status.
func mask(err error, values any) error {
	if err == nil {
		return nil
	}
	var secrets []string
	collectSecrets(values, false, &secrets)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	at := (*render.FileError)(nil)
	text := err.Error()
	if errors.As(err, &at) {
		text = at.Err.Error()
	}
	clean := text
	for _, s := range secrets {
		clean = strings.ReplaceAll(clean, s, masked)
	}
	if clean == text {
		return err
	}
	hidden := &maskedError{text: clean, is: err}
	if at != nil {
		return &render.FileError{File: at.File, Line: at.Line, Err: hidden}
	}
	return hidden
}

func collectSecrets(v any, secret bool, into *[]string) {
	switch v := v.(type) {
	case common.Values:
		collectSecrets(map[string]any(v), secret, into)
	case map[string]any:
		for key, value := range v {
			collectSecrets(value, secret || secretKey.MatchString(key), into)
		}
	case []any:
		for _, value := range v {
			collectSecrets(value, secret, into)
		}
	case string:
		if secret && len(v) >= maskedFrom {
			*into = append(*into, v)
		}
	}
}

// maskedError is an error with another text. It does not give away the one that
// it hides, except to be compared.
type maskedError struct {
	text string
	is   error
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return errors.Is(e.is, target) }
