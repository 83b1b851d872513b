package secrets

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// TestLocalKeys decrypts with the keys of the user of a command.
func TestLocalKeys(t *testing.T) {
	a := ageRecipient(t)
	file := encrypt(t, "yaml", secretManifest, "", 0, []recipient{a})
	files := map[string]string{"app/s.yaml": file}
	none := func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no key") }
	b, err := tools.Render(t.Context(), request(files, NewLocal([]Material{{Name: "keys.txt", Data: a.material.Data}}, none)))
	if err != nil || !strings.Contains(bundleText(b), "apiVersion") || bytes.Contains([]byte(bundleText(b)), []byte("ENC[")) {
		t.Fatalf("with a key: %v, %s", err, bundleText(b))
	}
	_, err = tools.Render(t.Context(), request(files, NewLocal(nil, none)))
	if err == nil {
		t.Fatal("without a key it is rendered")
	}
	for _, text := range []string{"you have no key for it", "SOPS_AGE_KEY_FILE", "--no-decrypt", "s.yaml"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "Secret with the label") {
		t.Errorf("it speaks of projects: %v", err)
	}
}
