package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Verdicts remembers which differences a real plan has said are no change, so
// that they do not cost a plan again. A scope is one Application at one commit,
// with one set of variables and one serial of its state: a caller puts all that
// into the name of it, since any of it may make a change of what was none.
type Verdicts struct {
	mu     sync.Mutex
	limit  int
	scopes map[string][]string // fingerprints, the oldest first
}

// NewVerdicts returns an empty memory of at most so many reports for each scope;
// the oldest are forgotten.
func NewVerdicts(limit int) *Verdicts {
	return &Verdicts{limit: limit, scopes: map[string][]string{}}
}

// Remember notes that a plan that was made after the report had no change.
func (v *Verdicts) Remember(scope string, r Report) {
	v.mu.Lock()
	defer v.mu.Unlock()
	mark := r.fingerprint()
	if mark == "" {
		return
	}
	known := slices.DeleteFunc(slices.Clone(v.scopes[scope]), func(k string) bool { return k == mark })
	known = append(known, mark)
	if extra := len(known) - v.limit; extra > 0 {
		known = slices.Clone(known[extra:])
	}
	v.scopes[scope] = known
}

// Settled tells whether no plan is needed to know that nothing has changed: all
// is the same, or differs as a plan has said before is no change.
func (v *Verdicts) Settled(scope string, r Report) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Same() {
		return true
	}
	mark := r.fingerprint()
	return mark != "" && slices.Contains(v.scopes[scope], mark)
}

// fingerprint identifies all that differs, taken together: of two differences
// that are no change each, both at once can be one. It is empty where nothing
// differs, or something is unknown.
func (r Report) fingerprint() string {
	sum, differs := sha256.New(), false
	for _, result := range r.Results {
		switch result.Verdict {
		case Same:
			continue
		case Differs, Gone:
		default:
			return ""
		}
		if result.fingerprint == "" {
			return ""
		}
		differs = true
		fmt.Fprintln(sum, result.fingerprint)
	}
	if !differs {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Forget forgets a scope.
func (v *Verdicts) Forget(scope string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.scopes, scope)
}

// MarshalJSON writes what is remembered; it holds hashes and no values.
func (v *Verdicts) MarshalJSON() ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return json.Marshal(v.scopes)
}

// UnmarshalJSON reads what was written.
func (v *Verdicts) UnmarshalJSON(text []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.limit == 0 {
		return errors.New("read verdicts: make it with NewVerdicts")
	}
	scopes := map[string][]string{}
	if err := json.Unmarshal(text, &scopes); err != nil {
		return fmt.Errorf("read verdicts: %w", err)
	}
	v.scopes = scopes
	return nil
}
