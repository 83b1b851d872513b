package tofu_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/plumb-dev/plumb/internal/driver"
	"github.com/plumb-dev/plumb/internal/render"
	"github.com/plumb-dev/plumb/test/fakecloud"
)

// The canaries: secrets from where they come.
const (
	canaryVar      = "canary-variable-K3x9"
	canaryEnv      = "canary-environment-K3x9"
	canaryOutput   = "canary-output-K3x9"
	canaryResource = "canary-resource-K3x9"
	canaryNumber   = "canary-number-K3x9"
)

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// leaks tells which canaries are in a text, in whatever form.
func leaks(text string) []string {
	var found []string
	for _, canary := range []string{canaryVar, canaryEnv, canaryOutput, canaryResource, canaryNumber} {
		for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), fmt.Sprintf("%x", canary)} {
			if strings.Contains(text, form) {
				found = append(found, form)
			}
		}
	}
	return found
}

func secret(text string) render.Value {
	b, _ := json.Marshal(text)
	return render.Value{JSON: b, Sensitive: true}
}

const secretive = idempotent + `
variable "secret" {
  type = string
}
variable "more" {
  type    = map(string)
  default = {}
}
resource "cloud_secret" "it" {
  name  = "it"
  value = var.secret
}
resource "cloud_vpc" "it" {
  cidr_block = "10.0.0.0/16"
  tags       = { Name = "it", value = var.secret }
}
output "secret" {
  value     = "canary-output-K3x9"
  sensitive = true
}
`

// TestSecrets looks for secrets in all that a driver tells.
func TestSecrets(t *testing.T) {
	s := calm(t)
	s.driver.Close()
	log := &buffer{}
	s.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.start()
	with := func(text string, more map[string]string) driver.Desired {
		d := want(text)
		m := *d.Bundle.Module
		m.Variables = map[string]render.Value{"secret": secret(canaryVar)}
		for name, value := range more {
			m.Variables[name] = secret(value)
		}
		m.Env = map[string]render.Value{"CLOUD_PASSWORD": secret(canaryEnv)}
		d.Bundle.Module = &m
		return d
	}
	tell := func(what string, said any) {
		t.Helper()
		text, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		if found := leaks(string(text) + fmt.Sprintf("%+v", said)); len(found) > 0 {
			t.Errorf("%s: it tells %q: %s", what, found, text)
		}
	}
	compared := func(what string, d driver.Desired) driver.Comparison {
		t.Helper()
		c, err := s.driver.Compare(context.Background(), d)
		if err != nil {
			tell(what, err.Error()+fmt.Sprintf("%+v", err))
			var refused *driver.RefusedError
			if errors.As(err, &refused) {
				tell(what, refused.Why)
			}
			return c
		}
		told := c
		told.Outputs = map[string]render.Value{}
		for name, v := range c.Outputs {
			if !v.Sensitive { // sensitive ones are for other Applications
				told.Outputs[name] = v
			}
		}
		tell(what, told)
		return c
	}
	d := with(secretive, nil)
	c := compared("the first plan", d)
	quoting := "refused: " + canaryVar + " and " + canaryEnv + " and " + base64.StdEncoding.EncodeToString([]byte(canaryVar))
	s.inject(fakecloud.Fault{Op: "create", Kind: "secret", Action: fakecloud.Fail, Status: 400, Message: quoting})
	results := s.apply(d, c, false)
	tell("a provider that quotes what it was given", results)
	s.problem("it", results["cloud_secret.it"], "ApplyFailed", "refused: ")
	s.good(s.apply(d, compared("the rest", d), false))
	compared("in sync", d)
	if c := s.compare(d); !c.Outputs["secret"].Sensitive {
		t.Errorf("the output is not sensitive: %+v", c.Outputs)
	}
	s.inject(fakecloud.Fault{Op: "read", Kind: "secret", Action: fakecloud.Fail, Status: 400, Message: quoting, Times: -1})
	d.Fresh = true
	compared("a refresh that fails", d)
	s.cloud.Heal()
	world{s.cloud}.Edit(t, object("cloud_vpc", "it", "").Ref, canaryVar+"-changed")
	compared("a drift", d)
	for what, text := range map[string]string{
		"a value of another type":      strings.Replace(secretive, "type = string", "type = number", 1),
		"a value that is not valid":    strings.Replace(secretive, "type = string", "type = string\n  validation {\n    condition = length(var.secret) < 3\n    error_message = \"no: ${var.secret}\"\n  }", 1),
		"a function that fails":        secretive + "locals {\n  n = tonumber(var.secret)\n}\noutput \"n\" {\n  value = local.n\n  sensitive = true\n}\n",
		"an output that is not marked": secretive + "output \"plain\" {\n  value = var.secret\n}\n",
		"a precondition":               secretive + "resource \"cloud_bucket\" \"b\" {\n  name = \"b\"\n  lifecycle {\n    precondition {\n      condition = var.secret == \"x\"\n      error_message = \"it is ${nonsensitive(var.secret)}\"\n    }\n  }\n}\n",
	} {
		compared(what, with(text, nil))
	}
	compared("an expression that is none", with(secretive, map[string]string{"more": "{ a = " + canaryNumber + " ( }"}))
	if found := leaks(log.String()); len(found) > 0 {
		t.Errorf("the log tells %q:\n%s", found, log)
	}
	s.driver.Forget(owner)
	d = with(secretive, nil)
	d.Deleting = true
	c = compared("a destruction", d)
	results = s.apply(d, c, true)
	tell("a destruction", results)
	s.good(results)
}

// TestCopiedSecret looks for a sensitive value where a provider has copied it to: in
// an attribute that nothing marks.
func TestCopiedSecret(t *testing.T) {
	s := calm(t)
	text := func(value string) string {
		return "variable \"s\" {\n  default   = \"" + value + "\"\n  sensitive = true\n}\nresource \"terraform_data\" \"it\" {\n  input = var.s\n}\n"
	}
	s.sync(want(text(canaryResource)))
	c := s.compare(want(text(canaryVar)))
	if len(c.Plan.Steps) != 1 {
		t.Fatalf("the plan is %v", steps(c))
	}
	told, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if found := leaks(string(told)); len(found) > 0 {
		t.Errorf("it tells %q: %s", found, told)
	}
}
