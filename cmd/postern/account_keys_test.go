package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/keyring"
	"postern/pgp"
	"postern/routing"
)

// gpg has GnuPG open the armored message in mail with the keys given, at the time of the
// test's clock, and returns its status lines.
func (s *sealing) gpg(mail string, keys ...[]byte) (content, status string) {
	s.t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		if os.Getenv("CI") == "true" {
			s.t.Fatal("gpg is missing")
		}
		s.t.Skip("gpg is missing")
	}
	home, err := os.MkdirTemp("", "gpg") // the agent's socket must have a short name
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	run := func(stdin []byte, args ...string) string {
		cmd := exec.CommandContext(s.t.Context(), "gpg", append([]string{"--homedir", home, "--batch", "--no-tty", "--trust-model", "always",
			"--faked-system-time", s.clock.Now().UTC().Format("20060102T150405!")}, args...)...)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
		out, err := cmd.Output()
		if err != nil {
			s.t.Fatalf("gpg %v: %v\n%s", args, err, stderr.Bytes())
		}
		return string(out)
	}
	for _, key := range keys {
		run(key, "--import")
	}
	file := filepath.Join(home, "status")
	_, message, _ := strings.Cut(mail, "-----BEGIN PGP MESSAGE-----")
	message, _, _ = strings.Cut(message, "-----END PGP MESSAGE-----")
	content = run([]byte("-----BEGIN PGP MESSAGE-----"+message+"-----END PGP MESSAGE-----\n"), "--status-file", file, "--decrypt")
	said, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	return content, string(said)
}

// TestAccountKey: an account with a key of its own signs with it, shows it, and keeps in
// Sent a copy that its owner alone can read.
func TestAccountKey(t *testing.T) {
	s := newSealing(t)
	dir := dataDir(t.TempDir())
	gateway, alice, bob := s.secret("gw@gw.test", 0), s.secret("alice@gw.test", 0), s.secret("bob@dest.test", 0)
	if err := os.MkdirAll(dir.path(accountKeyDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.path(accountKeyDir+"/alice.asc"), pgp.ArmorSecret(alice), 0o600); err != nil {
		t.Fatal(err)
	}
	accounts, err := dir.readAccountKeys()
	if err != nil || len(accounts) != 1 {
		t.Fatalf("%d keys of accounts, %v", len(accounts), err)
	}
	keys := &gatewayKeys{spool: s.spool, signing: gateway, accounts: accounts}
	sealer, own, err := keys.sealers(s.random, s.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	c := defaultConfig()
	c.Accounts = map[string]Sender{"alice": {Autocrypt: true, EncryptToSelf: true}, "panel": {Autocrypt: true}}
	if faults := c.checkAccountKeys(own); len(faults) != 1 || !strings.Contains(faults[0], "keys/accounts/panel.asc") {
		t.Errorf("faults %q", faults)
	}
	s.gate.Sealer, s.runner.Sealer = sealer, sealer
	s.gate.Signers, s.runner.Signers = own, own
	s.gate.Autocrypt = c.autocrypt(own, s.clock.Now)
	s.gate.Config.ToSelf = c.policy().ToSelf
	s.gate.Own = &keyring.Finder{Ring: s.db, Usable: sealer.UsableFor, Now: s.clock.Now}
	alicePublic, bobPublic := publicOf(t, alice), publicOf(t, bob)
	s.filePublic("alice@gw.test", alicePublic)
	s.filePublic("bob@dest.test", bobPublic)

	receipt, err := s.submit("bob@dest.test")
	if err != nil {
		t.Fatal(err)
	}
	s.run(s.tried(receipt.ID, 1))
	sent := s.wire.all()
	if len(sent) != 1 || !strings.Contains(sent[0], "Autocrypt: addr=alice@gw.test; keydata=") {
		t.Fatalf("sent %q", sent)
	}
	content, said := s.gpg(sent[0], bob, alicePublic)
	if !strings.Contains(content, canary+" in the body") || !strings.Contains(said, "VALIDSIG "+certOf(t, alicePublic).Fingerprint) {
		t.Errorf("bob read\n%s\nand gpg said\n%s", content, said)
	}
	if n := strings.Count(said, "ENC_TO "); n != 1 {
		t.Errorf("%d key packets in a relayed copy", n)
	}
	mail := s.sentMail("alice")
	content, said = s.gpg(mail, alice)
	if !strings.Contains(content, canary+" in the body") || strings.Count(said, "ENC_TO ") != 1 {
		t.Errorf("alice read\n%s\nand gpg said\n%s", content, said)
	}
	// A domain for which mail leaves in clear: what the account signed opens here too.
	data, wrapped, err := own["alice"].Seal("id", nil, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sealer.Open(nil, "id", data, wrapped); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	s.noPlaintext()
}

// sentMail returns the one message in an account's Sent.
func (s *sealing) sentMail(account string) string {
	s.t.Helper()
	boxes, err := s.db.Mailboxes(s.t.Context(), account)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, box := range boxes {
		if box.Name != "Sent" || box.Status != routing.FolderNone {
			continue
		}
		items, err := s.db.Items(s.t.Context(), box)
		if err != nil || len(items) != 1 {
			s.t.Fatalf("%d messages in Sent, %v", len(items), err)
		}
		sealed, err := s.db.Load(s.t.Context(), box, items[0].UID)
		if err != nil {
			s.t.Fatal(err)
		}
		mail, err := s.spool.Unwrap(routing.SealedMail+account, sealed)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(mail)
	}
	s.t.Fatal("there is no Sent")
	return ""
}

func publicOf(t *testing.T, secret []byte) []byte {
	t.Helper()
	public, err := pgp.PublicOf(secret)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func certOf(t *testing.T, public []byte) pgp.Cert {
	t.Helper()
	certs, err := pgp.ParseCerts(public)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestAccountKeyRefused(t *testing.T) {
	s := newSealing(t)
	secret := pgp.ArmorSecret(s.secret("alice@gw.test", 0))
	for _, test := range []struct {
		name, want string
		text       []byte
		mode       os.FileMode
	}{
		{"open to others", "chmod 600", secret, 0o640}, // T27
		{"no secret", "no secret part", pgp.ArmorPublic(publicOf(t, secret)), 0o600},
		{"no key", "alice.asc", []byte("hello"), 0o600},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := dataDir(t.TempDir())
			if err := os.MkdirAll(dir.path(accountKeyDir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir.path(accountKeyDir+"/alice.asc"), test.text, test.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := dir.readAccountKeys(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}
