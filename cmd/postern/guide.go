package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// guide is what "postern local" tells a newcomer.
type guide struct {
	dir      dataDir
	ports    map[Kind]string // host:port
	world    string          // host:port of the world's HTTP
	accounts []localAccount
	command  string // how this program was started
}

// localAccount is one of the accounts of "postern local".
type localAccount struct {
	Name, Address, Role string
	Password            string // "" where the account was there before
}

// commandName is how a person would start this program: "go run ./cmd/postern" leaves
// a path behind that is gone tomorrow.
func commandName() string {
	name := os.Args[0]
	if strings.Contains(name, "go-build") || strings.HasSuffix(name, ".test") {
		return "go run ./cmd/postern"
	}
	return name
}

// printGuide writes the guide.
func printGuide(w io.Writer, g *guide) {
	if err := guideText.Execute(w, g); err != nil {
		fmt.Fprintf(w, "the guide could not be printed: %v\n", err)
	}
}

// Port is the port of a listener, for the template.
func (g *guide) Port(kind string) string {
	_, port, err := net.SplitHostPort(g.ports[Kind(kind)])
	if err != nil {
		return "?"
	}
	return port
}

// The rest of what the template needs.

func (g *guide) Dir() string              { return string(g.dir) }
func (g *guide) World() string            { return g.world }
func (g *guide) Command() string          { return g.command }
func (g *guide) Accounts() []localAccount { return g.accounts }
func (g *guide) Password(name string) string {
	return fmt.Sprintf(`"$(cat %s)"`, quoteShell(g.dir.path(passwordFile(name))))
}

// Kept says where the password of an account is that was there before.
func (g *guide) Kept(name string) string {
	file := g.dir.path(passwordFile(name))
	if _, err := os.Stat(file); err == nil {
		return "password in " + file
	}
	return "password: " + g.command + " account passwd " + name + " --data " + string(g.dir)
}

// Fresh reports whether accounts were made in this run.
func (g *guide) Fresh() bool {
	for _, a := range g.accounts {
		if a.Password != "" {
			return true
		}
	}
	return false
}

// quoteShell makes a path safe to paste.
func quoteShell(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._-+=@%:,", r) || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z'
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// passwordFile is where the generated password of an account is kept, so that the
// lines of the guide can be pasted again after a restart.
func passwordFile(account string) string { return filepath.Join("world", account+".password") }

var guideText = template.Must(template.New("guide").Parse(`Postern is running on this machine, with a small world behind it.
State, keys and the world's mail are in {{.Dir}}.

Accounts{{if .Fresh}} (the passwords are shown this once, and kept in {{.Dir}}/world){{end}}
{{- range .Accounts}}
  {{printf "%-6s %-20s" .Name .Address}} {{if .Password}}{{.Password}}{{else}}{{$.Kept .Name}}{{end}}   {{.Role}}
{{- end}}

Mail program
  IMAP       127.0.0.1, port {{.Port "imaps"}} with TLS, or {{.Port "imap"}} with STARTTLS
  SMTP       127.0.0.1, port {{.Port "submissions"}} with TLS, or {{.Port "submission"}} with STARTTLS
  The certificate is self-signed: {{.Dir}}/tls/cert.pem

Try it, in another terminal and in this directory (with swaks, curl, gpg and nc)
  # An urgent message to a host that will bounce it, with an alternate:
  swaks --server 127.0.0.1:{{.Port "submission"}} -tls -a PLAIN -au alice -ap {{.Password "alice"}} \
    -f alice@postern.test -t x@bounce.test --h-Subject 'The boiler' --body 'It is hot.' \
    --h-Postern-Priority urgent --h-Postern-Alternate ops@postern.test

  # Its status, as folders that any mail program shows:
  for f in Queued Sent Delivered Failed; do
    curl -sk -u alice:{{.Password "alice"}} imaps://127.0.0.1:{{.Port "imaps"}}/ -X "STATUS Status/$f (MESSAGES)"; done
  curl -sk -u alice:{{.Password "alice"}} 'imaps://127.0.0.1:{{.Port "imaps"}}/Status%2FFailed;MAILINDEX=1'

  # The whole journey (the id is in the reply to the final dot):
  {{.Command}} trace --data {{.Dir}} ID

  # What the world got, and what gpg makes of it:
  export GNUPGHOME=$(mktemp -d); gpg -q --import {{.Dir}}/world/keys/*.asc
  gpg -d {{.Dir}}/world/bounce.test/1.eml

  # A device that knows nothing but SMTP:
  printf '%s\r\n' 'HELO panel' 'MAIL FROM:<panel@postern.test>' 'RCPT TO:<ops@postern.test>' DATA \
    'Subject: [!flash] Gate 2 is open' '' 'It is.' . QUIT | nc -q 2 127.0.0.1 {{.Port "device"}}

  # A chain with every trigger, and the clock that drives it: the folders follow each turn.
  swaks --server 127.0.0.1:{{.Port "submission"}} -tls -a PLAIN -au alice -ap {{.Password "alice"}} \
    -f alice@postern.test -t lab@defer.test --h-Subject 'Result 4711' --body 'Call back.' \
    --h-Postern-Goal acked --h-Postern-On-Failure 'transient=retry(1d)' \
    --add-header 'Postern-Alternate: ward@ok.test; on=unsent; after=10m' \
    --add-header 'Postern-Alternate: ops@postern.test; on=undelivered; after=20m' \
    --add-header 'Postern-Alternate: doctor@reads.test; on=unread; after=30m' \
    --add-header 'Postern-Alternate: chief@bounce.test; on=unacked; after=40m' \
    --add-header 'Postern-Alternate: night@acks.test; on=fail'
  for turn in 10m 20m 30m 40m; do curl -sX POST http://{{.World}}/clock/$turn; sleep 5; done

  # defer.test defers until it is told otherwise:
  curl -X POST http://{{.World}}/defer.test/takes

  # The plan of a message, what waits, and the metrics:
  printf 'Subject: [!urgent] Hello\nTo: x@ok.test\n\nhi\n' | {{.Command}} explain -
  {{.Command}} queue list --data {{.Dir}}
  curl -s http://127.0.0.1:{{.Port "metrics"}}/metrics | grep ^postern

Domains of the world: ok.test takes, bounce.test bounces, refuse.test refuses, defer.test defers, reads.test reads,
acks.test replies, away.test is on vacation, slow.test is slow, drop.test drops the connection. More at http://{{.World}}/

Ctrl-C stops it. What happens now:
`))
