package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"postern/routing"
)

// Duration is a time.Duration as routing.ParseDuration reads it, or "0" for none.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	if string(b) == "0" {
		*d = 0
		return nil
	}
	parsed, err := routing.ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

// String writes d as UnmarshalText reads it.
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	return routing.FormatDuration(time.Duration(d))
}

// Period is a time for which something is kept: "30d", "10y" (of 365 days each), or 0.
type Period time.Duration

// periodUnits are the units of a period, largest first.
var periodUnits = []struct {
	letter string
	unit   Period
}{{"y", 365 * Period(24*time.Hour)}, {"d", Period(24 * time.Hour)}}

// maxYears is how long a period can be.
const maxYears = 100

// UnmarshalText reads a period.
func (p *Period) UnmarshalText(b []byte) error {
	if string(b) == "0" {
		*p = 0
		return nil
	}
	for _, u := range periodUnits {
		digits, ok := strings.CutSuffix(string(b), u.letter)
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil && n > 0 {
			if n > uint64(maxYears*periodUnits[0].unit/u.unit) {
				return fmt.Errorf("%q is longer than %d years; write 0 for ever", b, maxYears)
			}
			*p = Period(n) * u.unit
			return nil
		}
	}
	return fmt.Errorf("%q is no such time; write 90d, 10y, or 0 for ever", b)
}

// String writes p as UnmarshalText reads it.
func (p Period) String() string {
	for _, u := range periodUnits {
		if p > 0 && p%u.unit == 0 {
			return strconv.FormatInt(int64(p/u.unit), 10) + u.letter
		}
	}
	return "0"
}

// Size is a number of bytes, written "512KiB", "50MiB" or as a bare number.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	number, unit := string(b), int64(1)
	for _, u := range []struct {
		name string
		unit int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = n, u.unit
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a size; write 512KiB or 50MiB", b)
	}
	*s = Size(n * unit)
	return nil
}

// Prefix is a network: "192.0.2.0/24", or an address alone.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads a network.
func (p *Prefix) UnmarshalText(b []byte) error {
	if a, err := netip.ParseAddr(string(b)); err == nil && a.Zone() == "" {
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	parsed, err := netip.ParsePrefix(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a network; write 192.0.2.0/24, 2001:db8::/32 or one address", b)
	}
	if parsed != parsed.Masked() {
		return fmt.Errorf("%q has bits set outside its mask; write %s", b, parsed.Masked())
	}
	p.Prefix = parsed
	return nil
}

// Alternate is an alternate in the words of Postern-Alternate.
type Alternate struct{ routing.Alternate }

// UnmarshalText reads an alternate.
func (a *Alternate) UnmarshalText(b []byte) (err error) {
	a.Alternate, err = routing.ParseAlternate(string(b))
	return err
}

// Responses are failure responses in the words of Postern-On-Failure.
type Responses routing.Responses

// UnmarshalText reads failure responses.
func (r *Responses) UnmarshalText(b []byte) error {
	parsed, err := routing.ParseResponses(string(b))
	*r = Responses(parsed)
	return err
}

// Location is a geo: URI (RFC 5870).
type Location string

// UnmarshalText reads a location.
func (l *Location) UnmarshalText(b []byte) error {
	parsed, err := routing.ParseLocation(string(b))
	*l = Location(parsed)
	return err
}

// Secret says where a secret is read from; the secret itself never stands in the
// configuration: "file:PATH", "env:NAME", or "credential:NAME" for a file that
// systemd put into $CREDENTIALS_DIRECTORY.
type Secret string

// UnmarshalText reads the place. Its errors do not repeat the text, which may be a
// password that was written down by mistake.
func (s *Secret) UnmarshalText(b []byte) error {
	kind, name, _ := strings.Cut(string(b), ":")
	switch kind {
	case "file", "env", "credential":
		if name == "" {
			return fmt.Errorf("%s: without a name; write %s:NAME", kind, kind)
		}
		if kind == "credential" && strings.ContainsRune(name, '/') {
			return errors.New("a credential's name has no slash; use file: for a path")
		}
	default:
		return errors.New("is not a place to read a secret from; write file:PATH, env:NAME or credential:NAME, and keep the secret there")
	}
	*s = Secret(b)
	return nil
}

// Read fetches the secret; a line end after it is cut off. dir is where relative
// paths start.
func (s Secret) Read(dir string) (string, error) {
	kind, name, _ := strings.Cut(string(s), ":")
	switch kind {
	case "":
		return "", nil
	case "env":
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		return value, nil
	case "credential":
		base := os.Getenv("CREDENTIALS_DIRECTORY")
		if base == "" {
			return "", fmt.Errorf("no credential %s: $CREDENTIALS_DIRECTORY is not set, as systemd does for the service", name)
		}
		// The service manager gives the service's user its credentials by an access control
		// list, whose mask shows as the permission of the group.
		return readSecretFile(filepath.Join(base, name), 0o037)
	}
	return readSecretFile(resolve(dir, name), 0o077)
}

// readSecretFile reads a file that must have none of the permissions in refused.
func readSecretFile(path string, refused os.FileMode) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&refused != 0 {
		return "", fmt.Errorf("%s may be read by others; chmod 600 it", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// resolve returns path as seen from dir.
func resolve(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
