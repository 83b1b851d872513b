package ledger

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Names of files in the ledger's folder, beside the folder of the log.
const (
	logDir         = "log"
	keyFile        = "key"     // the private key, for its owner's eyes only
	publicFile     = "key.pub" // all public keys of the log, the latest last
	chainFile      = "checkpoints"
	indexFile      = "index.db"
	lockFile       = "lock"
	originBase     = "plumb.dev/ledger/"
	maxKeyFileSize = 64 << 10
)

// signingKey is the private key with the public one.
type signingKey struct {
	signer note.Signer
	public string
}

// loadKey reads the private key. Where there is none it makes one if it may.
func loadKey(dir string, create bool) (signingKey, error) {
	path := filepath.Join(dir, keyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		var id [8]byte
		if _, err := rand.Read(id[:]); err != nil {
			return signingKey{}, fmt.Errorf("make a key for the ledger: %w", err)
		}
		return newKey(dir, originBase+hex.EncodeToString(id[:]))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return signingKey{}, fmt.Errorf("the ledger in %s has entries, but its private key %s is gone: bring the file back, or move the folder away to begin a new ledger", dir, keyFile)
	}
	if err != nil {
		return signingKey{}, fmt.Errorf("read the ledger's key: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return signingKey{}, fmt.Errorf("the ledger's private key %s can be read by others (mode %04o): chmod 600 it, and think of replacing it", path, info.Mode().Perm())
	}
	return parseKey(strings.TrimSpace(string(raw)))
}

// newKey makes a key and keeps it.
func newKey(dir, origin string) (signingKey, error) {
	private, key, err := generateKey(origin)
	if err != nil {
		return signingKey{}, err
	}
	return key, keepKey(dir, private, key)
}

func generateKey(origin string) (private string, key signingKey, err error) {
	private, _, err = note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", signingKey{}, fmt.Errorf("make a key for the ledger: %w", err)
	}
	key, err = parseKey(private)
	return private, key, err
}

// keepKey makes a key the one that signs.
func keepKey(dir, private string, key signingKey) error {
	if err := addPublic(dir, key.public); err != nil { // first: nothing may be signed by a key that nobody knows
		return err
	}
	if err := writeFile(filepath.Join(dir, keyFile), []byte(private+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the ledger's key: %w", err)
	}
	return nil
}

// parseKey reads a key in the form of signed notes, and works out its public half.
func parseKey(private string) (signingKey, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return signingKey{}, errors.New("read the ledger's key: it is not a signer's key of signed notes") // never what it is instead
	}
	parts := strings.SplitN(private, "+", 5) // PRIVATE+KEY+name+hash+seed
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return signingKey{}, errors.New("read the ledger's key: it is not an Ed25519 key")
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return signingKey{}, errors.New("read the ledger's key: it has no public half")
	}
	verifier, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return signingKey{}, fmt.Errorf("read the ledger's key: %w", err)
	}
	return signingKey{signer, verifier}, nil
}

// addPublic adds a public key to those of the log.
func addPublic(dir, public string) error {
	path := filepath.Join(dir, publicFile)
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the ledger's public keys: %w", err)
	}
	lines := strings.Fields(string(known))
	if slices.Contains(lines, public) {
		return nil
	}
	text := strings.Join(append(lines, public), "\n") + "\n"
	if err := writeFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("keep the ledger's public key: %w", err)
	}
	return nil
}

// Keys are the public keys that may have signed a log's checkpoints, all of the
// same name: the log's origin.
type Keys struct {
	origin    string
	texts     []string
	list      []note.Verifier // in the order of texts
	verifiers note.Verifiers
}

// Origin names the log.
func (k Keys) Origin() string { return k.origin }

// Texts are the keys as they are written, the latest last.
func (k Keys) Texts() []string { return slices.Clone(k.texts) }

// Latest is the key that signs now.
func (k Keys) Latest() string { return k.texts[len(k.texts)-1] }

// ReadKeys reads public keys, one a line; lines that begin with # say something
// about them.
func ReadKeys(file string) (Keys, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Keys{}, fmt.Errorf("read the ledger's public key: %w", err)
	}
	keys, err := ParseKeys(raw)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// ParseKeys reads public keys from text.
func ParseKeys(raw []byte) (Keys, error) {
	if len(raw) > maxKeyFileSize {
		return Keys{}, errors.New("this is no list of public keys: it is too large")
	}
	var k Keys
	var list []note.Verifier
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return Keys{}, errors.New("a line is not a verifier's key as `plumb audit checkpoint` prints it")
		}
		if strings.ContainsFunc(v.Name(), func(r rune) bool { return !strconv.IsPrint(r) }) {
			return Keys{}, errors.New("a key's name has letters that cannot be shown")
		}
		if k.origin != "" && v.Name() != k.origin {
			return Keys{}, fmt.Errorf("the keys are of different ledgers: %s and %s", k.origin, v.Name())
		}
		k.origin = v.Name()
		if !slices.Contains(k.texts, line) {
			k.texts, list = append(k.texts, line), append(list, v)
		}
	}
	if len(list) == 0 {
		return Keys{}, errors.New("there is no public key in it")
	}
	k.list, k.verifiers = list, note.VerifierList(list...)
	return k, nil
}

// writeFile replaces a file as a whole, for good.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // where it was not renamed
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
