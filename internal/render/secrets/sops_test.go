package secrets

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/plumb-dev/plumb/internal/render"
)

const secretManifest = `apiVersion: v1
kind: Secret
metadata:
    name: db
    namespace: shop
stringData:
    password: ` + canary + `
    empty: ""
    port: "5432"
`

func TestDecrypt(t *testing.T) {
	a, p := ageRecipient(t), pgpRecipient(t)
	other := ageRecipient(t)
	for name, tc := range map[string]struct {
		reason              string
		file, format, plain string
		regex               string
		groups              [][]recipient
		threshold           int
		material            []Material
		want                string // if it is not plain
		visible             []string
	}{
		"yaml with age":       {reason: "the usual", file: "s.yaml", format: "yaml", plain: secretManifest, groups: [][]recipient{{a}}, material: []Material{a.material}},
		"yaml with pgp":       {reason: "the other usual", file: "s.yml", format: "yaml", plain: secretManifest, groups: [][]recipient{{p}}, material: []Material{p.material}},
		"partial":             {reason: "only what the regex names is encrypted", file: "s.yaml", format: "yaml", plain: secretManifest, regex: "^(data|stringData)$", groups: [][]recipient{{a}}, material: []Material{a.material}, visible: []string{"kind: Secret", "name: db"}},
		"one of several":      {reason: "any key of a group opens", file: "s.yaml", format: "yaml", plain: secretManifest, groups: [][]recipient{{other, p, a}}, material: []Material{a.material}},
		"two Secrets":         {reason: "all Secrets of the project count", file: "s.yaml", format: "yaml", plain: secretManifest, groups: [][]recipient{{p}}, material: []Material{a.material, p.material}},
		"parts":               {reason: "as many groups as the threshold says", file: "s.yaml", format: "yaml", plain: secretManifest, groups: [][]recipient{{a}, {p}, {other}}, threshold: 2, material: []Material{a.material, p.material}},
		"several documents":   {reason: "each is decrypted", file: "s.yaml", format: "yaml", plain: secretManifest + "---\n" + strings.ReplaceAll(secretManifest, "name: db", "name: other"), groups: [][]recipient{{a}}, material: []Material{a.material}},
		"json":                {reason: "JSON stays JSON", file: "s.json", format: "json", plain: "{\n\t\"password\": \"" + canary + "\"\n}", groups: [][]recipient{{a}}, material: []Material{a.material}},
		"dotenv":              {reason: "for a secretGenerator's envs", file: "s.env", format: "dotenv", plain: "PASSWORD=" + canary + "\nUSER=web\n", groups: [][]recipient{{a}}, material: []Material{a.material}},
		"dotenv, other name":  {reason: "the content tells", file: "db.properties", format: "dotenv", plain: "PASSWORD=" + canary + "\n", groups: [][]recipient{{p}}, material: []Material{p.material}},
		"ini":                 {reason: "sections stay", file: "s.ini", format: "ini", plain: "[db]\npassword = " + canary + "\n", groups: [][]recipient{{a}}, material: []Material{a.material}},
		"binary":              {reason: "whatever the file is", file: "tls.key", format: "binary", plain: "\x00\x01" + canary, groups: [][]recipient{{a}}, material: []Material{a.material}},
		"tfvars":              {reason: "HCL is encrypted as a whole", file: "prod.tfvars", format: "binary", plain: "password = \"" + canary + "\"\n", groups: [][]recipient{{a}}, material: []Material{a.material}},
		"tfvars.json":         {reason: "JSON by its ending", file: "prod.tfvars.json", format: "json", plain: "{\n\t\"password\": \"" + canary + "\"\n}", groups: [][]recipient{{p}}, material: []Material{p.material}},
		"yaml, no known name": {reason: "the content tells", file: "values.enc", format: "yaml", plain: secretManifest, groups: [][]recipient{{a}}, material: []Material{a.material}},
	} {
		t.Run(name, func(t *testing.T) {
			file := encrypt(t, tc.format, tc.plain, tc.regex, tc.threshold, tc.groups...)
			discreet(t, "the encrypted file", file)
			for _, v := range tc.visible {
				if !strings.Contains(file, v) {
					t.Errorf("%s: %q is not to be read in\n%s", tc.reason, v, file)
				}
			}
			plain, texts, err := openWith(t, nil, tc.material...).Decrypt(tc.file, []byte(file))
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if strings.TrimSpace(string(plain)) != strings.TrimSpace(tc.plain) {
				t.Errorf("%s: got\n%s\nwant\n%s", tc.reason, plain, tc.plain)
			}
			if !strings.Contains(strings.Join(texts, "\n"), canary) {
				t.Errorf("%s: the secret is not among the texts: %q", tc.reason, texts)
			}
			for _, public := range []string{"Secret", "v1", "db", "shop"} {
				if slices.Contains(texts, public) && tc.format == "yaml" {
					t.Errorf("%s: %q would be masked everywhere", tc.reason, public)
				}
			}
		})
	}
}

func TestNotEncrypted(t *testing.T) {
	for name, content := range map[string]string{
		"values of a chart named so": "sops:\n  enabled: true\n  mac: none\n",
		"a key of a ConfigMap":       "kind: ConfigMap\ndata:\n  sops: |\n    mac: ENC[AES256_GCM,data:x]\n",
		"json with a key":            `{"sops": {"enabled": true}, "data": "x"}`,
		"json that is none":          `{"sops": `,
		"yaml that is none":          "sops:\n\t- x: [",
		"a list":                     "- sops:\n    mac: ENC[x]\n",
		"a word":                     "what sops is for",
		"an env file":                "sops_enabled=true\n",
		"an ini file":                "[sops]\nenabled = true\n",
		"empty":                      "",
	} {
		t.Run(name, func(t *testing.T) {
			for _, file := range []string{"f.yaml", "f.json", "f.env", "f.ini", "f"} {
				plain, texts, err := openWith(t, nil).Decrypt(file, []byte(content))
				if err != nil || string(plain) != content || texts != nil {
					t.Errorf("%s: got %q, %q, %v", file, plain, texts, err)
				}
			}
		})
	}
}

func TestDecryptFails(t *testing.T) {
	a, p := ageRecipient(t), pgpRecipient(t)
	good := encrypt(t, "yaml", secretManifest, "^stringData$", 0, []recipient{a})
	lines := strings.Split(good, "\n")
	without := func(word string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Contains(l, word) }), "\n")
	}
	port := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "port:") })
	password := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "password:") })
	swapped := slices.Clone(lines)
	swapped[port] = "    port: " + strings.TrimPrefix(lines[password], "    password: ")
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i, c := range "bcdefghij" {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string("abcdefghi"[i])+",", 10), ","))
	}
	many := strings.Replace(good, "    age:\n", "    age:\n"+strings.Repeat("        - recipient: age1xxx\n          enc: x\n", maxMasterKeys+1), 1)
	for name, tc := range map[string]struct {
		reason   string
		content  string
		material []Material
		want     []string
		is       error
	}{
		"no key":          {reason: "a project without Secrets", content: good, want: []string{"s.yaml: the file is encrypted with SOPS for the age recipient age1", "project shop has no key for it", "plumb.dev/secret-type=decryption"}},
		"wrong key":       {reason: "another identity, and a PGP key", content: good, material: []Material{ageRecipient(t).material, p.material}, want: []string{"the age recipient age1", "looked into plumb-system/age, plumb-system/pgp"}},
		"odd key":         {reason: "a name that nobody reads", content: good, material: []Material{{Name: "plumb-system/odd", Data: map[string][]byte{"keys.txt": a.material.Data["age.agekey"]}}}, want: []string{"not known there: keys.txt"}},
		"broken key":      {reason: "what is wrong with a Secret comes up here", content: good, material: []Material{{Name: "plumb-system/broken", Data: map[string][]byte{"x.agekey": []byte(canary)}}}, want: []string{"key x.agekey of the Secret plumb-system/broken holds no age identity on line 1"}},
		"plugin":          {reason: "no program is started", content: good, material: []Material{{Name: "plumb-system/plugin", Data: map[string][]byte{"x.agekey": []byte("AGE-PLUGIN-YUBIKEY-1" + canary)}}}, want: []string{"Plumb starts no programs"}},
		"no mac":          {reason: "taken out", content: without("mac:"), material: []Material{a.material}, want: []string{"MAC does not fit"}},
		"changed in open": {reason: "a part that is not encrypted is protected, too", content: strings.Replace(good, "name: db", "name: evil", 1), material: []Material{a.material}, want: []string{"changed after it was encrypted"}},
		"value removed":   {reason: "something is missing", content: without("port:"), material: []Material{a.material}, want: []string{"changed after it was encrypted"}},
		"value moved":     {reason: "each value belongs to its place", content: strings.Join(swapped, "\n"), material: []Material{a.material}, want: []string{"cannot be decrypted with the file's own key"}},
		"no keys":         {reason: "the section is cut", content: strings.Replace(good, "    age:\n", "    agee:\n", 1), material: []Material{a.material}, want: []string{"it names no keys"}},
		"no date":         {reason: "the section is cut", content: strings.Replace(good, "lastmodified", "modified", 1), material: []Material{a.material}, want: []string{"its sops section cannot be read"}},
		"bomb":            {reason: "aliases are counted before they are expanded", content: bomb + good, material: []Material{a.material}, want: []string{"alias"}, is: render.ErrTooMuch},
		"many keys":       {reason: "each costs a try", content: many, material: []Material{a.material}, want: []string{"more than 200"}, is: render.ErrTooMuch},
		"deep json":       {reason: "nested too deep to be read", content: `{"a":` + strings.Repeat(`[`, 100_000) + `"sops"`, material: []Material{a.material}},
	} {
		t.Run(name, func(t *testing.T) {
			plain, _, err := openWith(t, nil, tc.material...).Decrypt("s.yaml", []byte(tc.content))
			if tc.want == nil {
				if err != nil || string(plain) != tc.content {
					t.Fatalf("%s: %v", tc.reason, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("%s: it opens", tc.reason)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q is missing in: %v", tc.reason, want, err)
				}
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s: %v is not %v", tc.reason, err, tc.is)
			}
			discreet(t, "the error", err.Error())
			for _, m := range tc.material {
				for _, data := range m.Data {
					for line := range strings.Lines(string(data)) {
						if line = strings.TrimSpace(line); len(line) > 20 && strings.Contains(err.Error(), line) {
							t.Errorf("%s: the error shows the key: %v", tc.reason, err)
						}
					}
				}
			}
		})
	}
}

// TestEnvironment plants keys where SOPS and others look for them: none may be
// used.
func TestEnvironment(t *testing.T) {
	a := ageRecipient(t)
	t.Setenv("SOPS_AGE_KEY", string(a.material.Data["age.agekey"]))
	t.Setenv("HOME", t.TempDir())
	file := encrypt(t, "yaml", secretManifest, "", 0, []recipient{a})
	if _, _, err := openWith(t, nil).Decrypt("s.yaml", []byte(file)); err == nil {
		t.Error("the key was taken from the environment")
	}
}

func TestFingerprint(t *testing.T) {
	a := Material{Name: "ns/a", Data: map[string][]byte{"k": []byte("1"), "l": []byte("2")}}
	b := Material{Name: "ns/b", Data: map[string][]byte{"k": []byte("1")}}
	if New("p", []Material{a, b}).Fingerprint() != New("p", []Material{b, a}).Fingerprint() {
		t.Error("the order of Secrets counts")
	}
	changed := Material{Name: "ns/a", Data: map[string][]byte{"k": []byte("1"), "l": []byte("3")}}
	if New("p", []Material{a, b}).Fingerprint() == New("p", []Material{changed, b}).Fingerprint() {
		t.Error("a change does not count")
	}
	if text := fmt.Sprintf("%v %+v %#v", New("p", []Material{a}), New("p", []Material{a}), New("p", []Material{a})); text != "[keys] [keys] [keys]" {
		t.Errorf("keys print as %s", text)
	}
}
