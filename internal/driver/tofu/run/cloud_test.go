package run_test

import (
	"testing"

	"github.com/plumb-dev/plumb/test/fakecloud"
)

// inject makes creations of a kind fail.
func inject(t *testing.T, b *bench, kind, message string) {
	t.Helper()
	if err := b.cloud.Inject(fakecloud.Fault{Op: "create", Kind: kind, Times: -1, Action: fakecloud.Fail, Status: 400, Message: "the value " + message + " is bad"}); err != nil {
		t.Fatal(err)
	}
}
