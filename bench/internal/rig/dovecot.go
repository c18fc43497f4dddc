package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Dovecot is a private instance of the Dovecot that is installed, in a directory of its
// own. All is as Debian delivers it, but for where it listens, that mail is in Maildir
// format, and that the password is compared as it is, without a hash.
type Dovecot struct {
	Dir string // made where missing

	IMAPS  string // where it listens
	master int
}

// HasDovecot says why Dovecot cannot be measured here, nil if it can.
func HasDovecot() error {
	if _, err := exec.LookPath("dovecot"); err != nil {
		return errors.New("dovecot is not installed")
	}
	if os.Getuid() != 0 {
		return errors.New("dovecot can only be started by root")
	}
	for _, name := range []string{"dovecot", "dovenull"} {
		if _, err := user.Lookup(name); err != nil {
			return err
		}
	}
	return nil
}

// Addr is a Server's.
func (d *Dovecot) Addr() string { return d.IMAPS }

func (d *Dovecot) path(name string) string { return filepath.Join(d.Dir, name) }

// Start makes the instance, and returns when one can log in as Account.
func (d *Dovecot) Start(ctx context.Context) error {
	addrs, err := FreePorts(1)
	if err != nil {
		return err
	}
	d.IMAPS = addrs[0]
	for _, dir := range []string{"", "run", "state", "home"} {
		if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := writeCertificate(d.Dir); err != nil {
		return err
	}
	// Dovecot gives root no mail; the user dovecot will do, and has nothing else.
	u, err := user.Lookup("dovecot")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(d.path("home"), uid, gid); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("dovecot.conf"), []byte(d.config(uid, gid)), 0o644); err != nil {
		return err
	}
	// Its processes keep what it was given to write to, so that is no pipe.
	if err := exec.CommandContext(ctx, "dovecot", "-c", d.path("dovecot.conf")).Run(); err != nil {
		return fmt.Errorf("start dovecot: %w (see dovecot -c %s -F)", err, d.path("dovecot.conf"))
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(d.path("run/master.pid"))
		if err == nil {
			if d.master, err = strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				return nil
			}
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("dovecot is not ready: %w", err)
		}
	}
}

func (d *Dovecot) config(uid, gid int) string {
	return fmt.Sprintf(`protocols = imap
listen = 127.0.0.1
base_dir = %[1]s/run
state_dir = %[1]s/state
instance_name = bench
log_path = %[1]s/log
ssl = required
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
mail_location = maildir:~/Maildir
first_valid_uid = %[3]d
mail_max_userip_connections = 1000
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = %[2]d
    ssl = yes
  }
}
service stats {
  client_limit = 2000
}
passdb {
  driver = static
  args = password=%[5]s
}
userdb {
  driver = static
  args = uid=%[3]d gid=%[4]d home=%[1]s/home
}
namespace inbox {
  inbox = yes
}
`, d.Dir, port(d.IMAPS), uid, gid, Password)
}

// Usage is a Server's.
func (d *Dovecot) Usage() (Usage, error) { return usageOf(d.master) }

// Stop is a Server's.
func (d *Dovecot) Stop() error {
	if out, err := exec.Command("doveadm", "-c", d.path("dovecot.conf"), "stop").CombinedOutput(); err != nil {
		return fmt.Errorf("stop dovecot: %w\n%s", err, out)
	}
	for range 500 {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", d.master)); err != nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("dovecot does not stop")
}
