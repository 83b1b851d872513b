package fakecloud

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Behaviour is how the API treats everybody. The zero value is a cloud at its
// best.
type Behaviour struct {
	// Latency is added to each request, and up to Jitter more at random.
	Latency Duration `json:"latency,omitzero"`
	Jitter  Duration `json:"jitter,omitzero"`
	// ReadLag is how long readers still see what was before a change: nothing
	// of what was created, all of what was deleted.
	ReadLag Duration `json:"readLag,omitzero"`
	// Rate is how many requests a second are answered, with Burst more at once;
	// the others get 429, with a Retry-After of whole seconds if that is set. 0:
	// all are answered.
	Rate       float64  `json:"rate,omitzero"`
	Burst      int      `json:"burst,omitzero"`
	RetryAfter Duration `json:"retryAfter,omitzero"`
}

// Duration is a time.Duration that is "1.5s" in JSON.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Action is what a fault does to a request.
type Action string

// The actions.
const (
	Fail     Action = "fail"     // answer with Status (500) and Message
	Throttle Action = "throttle" // answer 429
	Drop     Action = "drop"     // close the connection
	Hang     Action = "hang"     // do not answer before Release, or the client gives up
	Crash    Action = "crash"    // make the provider that asked crash
)

// CrashHeader is what an answer bears that makes a provider crash.
const CrashHeader = "X-Fakecloud-Crash"

// Fault is something that will go wrong.
type Fault struct {
	// Op, Kind and ID choose requests: create, read, update, delete or list;
	// empty is any.
	Op   string `json:"op,omitempty"`
	Kind string `json:"kind,omitempty"`
	ID   string `json:"id,omitempty"`
	// Skip is how many such requests still go well; Times how many then do not
	// (0 is one, -1 all).
	Skip  int `json:"skip,omitempty"`
	Times int `json:"times,omitempty"`

	Action Action `json:"action"`
	// Late lets the request take effect first: only its answer is lost.
	Late    bool   `json:"late,omitempty"`
	Status  int    `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
}

func (f Fault) validate() error {
	if !slices.Contains([]Action{Fail, Throttle, Drop, Hang, Crash}, f.Action) {
		return fmt.Errorf("there is no action %q: %w", f.Action, ErrInvalid)
	}
	return nil
}

// Behave changes how the API treats everybody.
func (c *Cloud) Behave(b Behaviour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behaviour, c.bucket = b, bucket{tokens: float64(max(b.Burst, 1)), filled: c.now()}
}

// Inject adds a fault. Where several match a request, the first one strikes.
func (c *Cloud) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	if f.Times == 0 {
		f.Times = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
	return nil
}

// Heal takes all faults away, and lets go of what hangs.
func (c *Cloud) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
	c.release()
}

// Release lets go of the requests that hang: they go on.
func (c *Cloud) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
}

func (c *Cloud) release() {
	if c.released != nil {
		close(c.released)
	}
	c.released = make(chan struct{})
}

// bucket holds the tokens of a rate limit.
type bucket struct {
	tokens float64
	filled time.Time
}

// admit tells whether the rate limit lets a request pass.
func (c *Cloud) admit() bool {
	b := c.behaviour
	if b.Rate == 0 {
		return true
	}
	now := c.now()
	c.bucket.tokens = min(c.bucket.tokens+now.Sub(c.bucket.filled).Seconds()*b.Rate, float64(max(b.Burst, 1)))
	c.bucket.filled = now
	if c.bucket.tokens < 1 {
		return false
	}
	c.bucket.tokens--
	return true
}

// strike returns the fault that a request meets, and uses it up.
func (c *Cloud) strike(op, kind, id string) *Fault {
	for i, f := range c.faults {
		if f.Op != "" && f.Op != op || f.Kind != "" && f.Kind != kind || f.ID != "" && f.ID != id {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				c.faults = slices.Delete(c.faults, i, i+1)
			}
		}
		c.stats["fault"]++
		struck := *f
		return &struck
	}
	return nil
}

// delay waits as long as the cloud is slow, and tells whether the client is
// still there.
func (c *Cloud) delay(r *http.Request) bool {
	c.mu.Lock()
	wait := time.Duration(c.behaviour.Latency)
	if c.behaviour.Jitter > 0 {
		wait += rand.N(time.Duration(c.behaviour.Jitter))
	}
	c.mu.Unlock()
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// suffer lets a fault happen, and tells whether the request goes on after it.
func (c *Cloud) suffer(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	switch f.Action {
	case Throttle:
		c.throttle(w)
	case Drop:
		panic(http.ErrAbortHandler)
	case Hang:
		c.mu.Lock()
		released := c.released
		c.mu.Unlock()
		select {
		case <-released:
			return true
		case <-r.Context().Done():
		}
	case Crash:
		w.Header().Set(CrashHeader, "1")
		refuse(w, http.StatusInternalServerError, "Crash", "the provider is to crash now")
	default:
		status, message := f.Status, f.Message
		if status == 0 {
			status = http.StatusInternalServerError
		}
		if message == "" {
			message = "the cloud fails because it was told to"
		}
		refuse(w, status, "Injected", message)
	}
	return false
}

func (c *Cloud) throttle(w http.ResponseWriter) {
	c.mu.Lock()
	after := time.Duration(c.behaviour.RetryAfter)
	c.stats["throttled"]++
	c.mu.Unlock()
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	refuse(w, http.StatusTooManyRequests, "Throttled", "too many requests")
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": message}})
}
