package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumb-dev/plumb/test/tofutest"
)

// TestSoak is a small soak: "make soak-tofu" is the real one.
func TestSoak(t *testing.T) {
	plumb := os.Getenv("PLUMB_TEST_BINARY")
	if filepath.Base(plumb) != "plumb" {
		plumb = filepath.Join("..", "..", "bin", "plumb")
	}
	if _, err := os.Stat(plumb); err != nil {
		t.Fatalf("this test looks at the built program: run \"make build\" first: %v", err)
	}
	var out strings.Builder
	err := run(t.Context(), options{
		kills: 3, apps: 2, seed: 4, plumb: plumb, bin: filepath.Dir(tofutest.Get(t).Tofu), patience: 2 * time.Minute, out: &out,
	})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
}
