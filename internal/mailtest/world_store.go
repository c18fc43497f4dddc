package mailtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"postern/pgp"
)

// store keeps r in memory and, where there is a Dir, in files. It gives r its
// number and, unless there is one already, its reply.
func (w *World) store(r *Received) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	r.N = len(w.taken[r.Domain]) + 1
	if r.Reply == "" {
		r.Reply = fmt.Sprintf("250 2.0.0 taken as %s/%d", r.Domain, r.N)
	}
	if w.Dir != "" {
		if err := w.writeFiles(r); err != nil {
			return err
		}
	}
	w.taken[r.Domain] = append(w.taken[r.Domain], *r)
	w.announce()
	return nil
}

func (w *World) writeFiles(r *Received) error {
	base := filepath.Join(w.Dir, r.Domain, strconv.Itoa(r.N))
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return err
	}
	envelope, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".json", append(envelope, '\n'), 0o600); err != nil {
		return err
	}
	return os.WriteFile(base+".eml", r.Raw, 0o600)
}

// load reads what an earlier run left in Dir, so that numbers go on.
func (w *World) load() error {
	for _, domain := range w.Domains() {
		for n := 1; ; n++ {
			base := filepath.Join(w.Dir, domain, strconv.Itoa(n))
			raw, err := os.ReadFile(base + ".eml")
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			envelope, err2 := os.ReadFile(base + ".json")
			if err := errors.Join(err, err2); err != nil {
				return fmt.Errorf("read kept message: %w", err)
			}
			r := Received{Raw: raw}
			if err := json.Unmarshal(envelope, &r); err != nil {
				return fmt.Errorf("read kept message %s.json: %w", base, err)
			}
			w.taken[domain] = append(w.taken[domain], r)
		}
	}
	return nil
}

// Keys returns the secret OpenPGP key of each domain, as packets. Its user id is
// the address *@domain; it serves for every address there. Keys are made on first
// use, and read from Dir where they were made before; there they stand as
// keys/<domain>.asc, without passphrase, fit for gpg --import.
func (w *World) Keys() (map[string][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	if w.secrets != nil {
		return w.secrets, nil
	}
	if w.Dir != "" {
		if err := w.load(); err != nil {
			return nil, err
		}
	}
	secrets := make(map[string][]byte)
	for _, domain := range w.Domains() {
		secret, err := w.key(domain)
		if err != nil {
			return nil, fmt.Errorf("key of %s: %w", domain, err)
		}
		secrets[domain] = secret
	}
	w.secrets = secrets
	return secrets, nil
}

// Certs returns the certificate of each domain, as packets: what the gateway has to
// know, under the address *@domain.
func (w *World) Certs() (map[string][]byte, error) {
	secrets, err := w.Keys()
	if err != nil {
		return nil, err
	}
	certs := make(map[string][]byte)
	for domain, secret := range secrets {
		if certs[domain], err = pgp.PublicOf(secret); err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", domain, err)
		}
	}
	return certs, nil
}

// key reads the key of a domain, or makes it.
func (w *World) key(domain string) ([]byte, error) {
	file := filepath.Join(w.Dir, "keys", domain+".asc")
	if w.Dir != "" {
		armored, err := os.ReadFile(file)
		if err == nil {
			return dearmored(armored)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	name := "everyone at " + strings.TrimSuffix(domain, ".test")
	secret, err := pgp.GenerateKey(name, "*@"+domain, w.Now(), w.Rand)
	if err != nil || w.Dir == "" {
		return secret, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	return secret, os.WriteFile(file, pgp.ArmorSecret(secret), 0o600)
}

func dearmored(text []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(block.Body)
}
