package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Postfix is a private instance of the Postfix that is installed, in a directory of its
// own. What slows it down on purpose (in_flow_delay) or needs the network (DNS) is
// switched off; all else is as Debian delivers it, but for chroot.
type Postfix struct {
	Dir     string // made where missing
	NextHop string // host:port
	Hold    bool   // keeps what it accepts and sends nothing

	addr   string
	master int
}

// HasPostfix says why Postfix cannot be measured here, nil if it can.
func HasPostfix() error {
	for _, program := range []string{"postfix", "postconf"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	if os.Getuid() != 0 {
		return errors.New("postfix can only be started by root")
	}
	if _, err := user.Lookup("postfix"); err != nil {
		return err
	}
	return nil
}

// Addr is a Server's.
func (p *Postfix) Addr() string { return p.addr }

func (p *Postfix) path(name string) string { return filepath.Join(p.Dir, name) }

// Start makes the instance, and returns when it takes mail.
func (p *Postfix) Start(ctx context.Context) error {
	addrs, err := FreePorts(1)
	if err != nil {
		return err
	}
	p.addr = addrs[0]
	// Its processes run as the user postfix, who must be able to get there.
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{{"", 0o755}, {"etc", 0o755}, {"queue", 0o755}, {"data", 0o700}, {"log", 0o755}} {
		if err := errors.Join(os.MkdirAll(p.path(d.name), d.mode), os.Chmod(p.path(d.name), d.mode)); err != nil {
			return err
		}
	}
	if err := p.own("data"); err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(p.path("etc/main.cf"), []byte(p.main()), 0o644),
		os.WriteFile(p.path("etc/master.cf"), []byte(p.services()), 0o644)); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "postfix", "-c", p.path("etc"), "start").CombinedOutput(); err != nil {
		return fmt.Errorf("start postfix: %w\n%s", err, out)
	}
	text, err := os.ReadFile(p.path("queue/pid/master.pid"))
	if err != nil {
		return errors.Join(err, p.Stop())
	}
	if p.master, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return errors.Join(err, p.Stop())
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := greeted(p.addr)
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("postfix is not ready: %w", err), p.Stop())
		}
	}
}

// own gives a directory to the user postfix.
func (p *Postfix) own(name string) error {
	u, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(p.path(name), uid, -1)
}

func (p *Postfix) main() string {
	restrictions := "permit_mynetworks, reject"
	if p.Hold {
		restrictions = "check_client_access static:HOLD, " + restrictions
	}
	return fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %s
data_directory = %s
maillog_file = %s
maillog_file_prefixes = %s
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:%d
smtp_host_lookup = native
disable_dns_lookups = yes
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = %s
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
message_size_limit = 104857600
mailbox_size_limit = 0
in_flow_delay = 0
alias_maps =
alias_database =
local_recipient_maps =
biff = no
`, p.path("queue"), p.path("data"), p.path("log/maillog"), p.path("log"), port(p.NextHop), restrictions)
}

// services is Debian's master.cf without chroot, and with our port.
func (p *Postfix) services() string {
	return fmt.Sprintf(`127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`, port(p.addr))
}

// Usage is a Server's.
func (p *Postfix) Usage() (Usage, error) { return usageOf(p.master) }

// Stop is a Server's.
func (p *Postfix) Stop() error {
	if out, err := exec.Command("postfix", "-c", p.path("etc"), "stop").CombinedOutput(); err != nil {
		return fmt.Errorf("stop postfix: %w\n%s", err, out)
	}
	return nil
}
