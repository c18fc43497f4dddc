package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/relay"
	"postern/routing"
)

// validate records all that is wrong with c as far as c alone can tell.
func (c *Config) validate(r *reading) {
	c.validateNames(r)
	c.validateListeners(r)
	c.validateTLS(r)
	c.validateRelay(r)
	c.validateLevels(r)
	c.validatePolicies(r)
	c.validateRules(r)
	c.validateDomains(r)
	c.validateKeys(r)
	c.validateLimits(r)
	c.validateHistory(r)
}

func (c *Config) validateNames(r *reading) {
	if c.Hostname != "" {
		checkDomain(r, "hostname", c.Hostname)
	}
	if c.ReturnDomain != "" {
		checkDomain(r, "return_domain", c.ReturnDomain)
	}
	for i, d := range c.LocalDomains {
		path := fmt.Sprintf("local_domains[%d]", i)
		checkDomain(r, path, d)
		if slices.ContainsFunc(c.LocalDomains[:i], func(e string) bool { return strings.EqualFold(d, e) }) {
			r.fault(path, fmt.Sprintf("%q is listed twice", d), "remove one")
		}
		if c.ReturnDomain != "" && strings.EqualFold(d, c.ReturnDomain) {
			r.fault(path, fmt.Sprintf("%q is the return domain as well", d), "give the return domain a name of its own, such as returns."+d)
		}
	}
	if c.Data == "" {
		r.fault("data", "is empty", "name a directory, such as /var/lib/postern")
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil || c.TimeZone == "" {
		r.fault("time_zone", fmt.Sprintf("%q is not a time zone", c.TimeZone), `write "UTC" or a name such as "Europe/Berlin"`)
	}
	if strings.ContainsFunc(c.Subject, func(x rune) bool { return x < ' ' || x == 0x7f }) {
		r.fault("outer_subject", "holds control characters", "write one line of plain text")
	}
	oneOf(r, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(r, "log.format", c.Log.Format, "text", "json")
	for i, f := range c.Stamp.Fields {
		if _, ok := stampFields[f]; !ok {
			oneOf(r, fmt.Sprintf("stamp.fields[%d]", i), f, "device", "location", "sequence", "client")
		}
	}
}

// stampFields are the names of the stamp's optional fields.
var stampFields = map[string]routing.StampFields{"device": routing.StampDevice, "location": routing.StampLocation,
	"sequence": routing.StampSequence, "client": routing.StampClient}

func (c *Config) validateListeners(r *reading) {
	if len(c.Listen) == 0 {
		r.fault("listen", "no listener", "add at least one [[listen]] with a kind and an address")
	}
	at := map[string]int{}
	for i, l := range c.Listen {
		path := fmt.Sprintf("listen[%d]", i)
		oneOf(r, path+".kind", string(l.Kind), kinds...)
		if checkHostPort(r, path+".address", l.Address) {
			if first, taken := at[l.Address]; taken && !strings.HasSuffix(l.Address, ":0") {
				r.fault(path+".address", fmt.Sprintf("%q is taken by the listener on line %d", l.Address, r.line(fmt.Sprintf("listen[%d]", first))), "give each listener an address of its own")
			}
			at[l.Address] = i
		}
		if l.Kind == KindDevice {
			c.validateDevice(r, path, l)
			continue
		}
		if l.Account != "" {
			r.fault(path+".account", "is for the kind device alone", "remove it, or write kind = \"device\"")
		}
		if len(l.Networks) > 0 {
			r.fault(path+".networks", "is for the kind device alone", "remove it, or write kind = \"device\"")
		}
		if l.PlainAuth {
			r.fault(path+".allow_plain_auth", "would let passwords cross the network in clear", "remove it; it is for the kind device alone")
		}
	}
}

func (c *Config) validateDevice(r *reading, path string, l Listener) {
	if l.Account == "" && !l.PlainAuth {
		r.fault(path, "a device listener without an account", "write account = \"NAME\" for whom its messages are, or allow_plain_auth = true for devices that can log in but know no TLS")
	}
	if len(l.Networks) == 0 {
		r.fault(path, "a device listener without networks would take mail from anyone", "write networks = [\"192.0.2.0/24\"] with the devices' own")
	}
	for i, n := range l.Networks {
		if n.IsValid() && n.Bits() == 0 {
			r.fault(fmt.Sprintf("%s.networks[%d]", path, i), fmt.Sprintf("%s is everybody", n), "name the devices' own network")
		}
	}
}

func (c *Config) validateTLS(r *reading) {
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		r.fault("tls", "a certificate and its key go together", "write both cert and key, or neither")
		return
	}
	if c.TLS.Cert != "" {
		return
	}
	for i, l := range c.Listen {
		if l.needsTLS() {
			r.fault(fmt.Sprintf("listen[%d]", i), fmt.Sprintf("kind %s needs a certificate", l.Kind), "write cert and key in [tls]")
		}
	}
}

// tlsModes are the values of the tls keys of the relay.
var tlsModes = []string{string(relay.TLSOpportunistic), string(relay.TLSRequired), string(relay.TLSImplicit), string(relay.TLSNone)}

func (c *Config) validateRelay(r *reading) {
	within(r, "relay.workers", c.Relay.Workers, 1, 1000)
	if c.Relay.TLS == string(relay.TLSImplicit) {
		r.fault("relay.tls", `"tls" works with a smarthost only`, `write "starttls", "starttls-required" or "none"`)
	}
	oneOf(r, "relay.tls", c.Relay.TLS, tlsModes...)
	c.validateResolver(r)
	for domain, to := range c.Relay.Routes {
		path := join("relay.routes", domain)
		checkDomain(r, path, domain)
		if checkHostPort(r, path, to) && strings.HasPrefix(to, ":") {
			r.fault(path, fmt.Sprintf("%q names no host", to), `write "mail.example.org:25"`)
		}
	}
	for i, s := range c.Relay.Smarthosts {
		validateSmarthost(r, fmt.Sprintf("relay.smarthost[%d]", i), s)
	}
}

func validateSmarthost(r *reading, path string, s Smarthost) {
	if s.Host == "" {
		r.fault(path+".host", "is missing", `write host = "mail.example.org"`)
	} else if !addrOf(s.Host).IsValid() {
		checkDomain(r, path+".host", s.Host)
	}
	within(r, path+".port", s.Port, 0, 65535)
	if s.TLS != "" {
		oneOf(r, path+".tls", s.TLS, tlsModes...)
	}
	clear := s.TLS == string(relay.TLSNone) || s.TLS == string(relay.TLSOpportunistic)
	switch {
	case (s.Username == "") != (s.Password == "") && !r.bad(path+".password_from"):
		r.fault(path, "username and password_from go together", "write both, or neither")
	case s.Username != "" && s.TLS == string(relay.TLSNone):
		r.fault(path+".tls", "the password is never sent without TLS", `write "starttls-required" or "tls", or leave username and password_from out`)
	case s.Username != "" && clear && !isLoopback(addrOf(s.Host)):
		r.fault(path+".tls", fmt.Sprintf("%q could send the password in clear", s.TLS), `write "starttls-required" or "tls"`)
	}
}

// priorityNames are the keys of [levels.…], most urgent first.
var priorityNames = []string{"flash", "urgent", "high", "normal", "low", "bulk"}

func (c *Config) validateLevels(r *reading) {
	for name, l := range c.Levels {
		path := join("levels", name)
		if !slices.Contains(priorityNames, name) {
			r.fault(path, "is not the name of a priority", "known: "+strings.Join(priorityNames, ", "))
			continue
		}
		if len(l.Retry) == 0 {
			r.fault(path+".retry", "is empty", `write how long to wait between tries, such as "1m, 5m*2, 1h*"`)
		}
		if l.Patience <= 0 {
			r.fault(path+".patience", "is zero, so that the first transient failure would be final", "write how long to keep trying, such as 2h")
		}
		if l.Window <= 0 {
			r.fault(path+".window", "is zero, so that no bounce would be waited for", "write how long reports may take, such as 5d")
		}
		if l.Window > Duration(routing.TokenLife) {
			r.fault(path+".window", fmt.Sprintf("%s is longer than a return address is good for", l.Window), fmt.Sprintf("write %s or less", Duration(routing.TokenLife)))
		}
		if l.Expires > 0 && l.Warn >= l.Expires {
			r.fault(path+".warn", fmt.Sprintf("a warning after %s comes no sooner than expiry after %s", l.Warn, l.Expires), "make it shorter, or 0 for none")
		}
		if l.Expires > 0 && l.Patience > l.Expires {
			r.fault(path+".patience", fmt.Sprintf("%s is longer than expires, %s", l.Patience, l.Expires), "make it shorter")
		}
	}
}

func (c *Config) validatePolicies(r *reading) {
	for name, p := range c.Policies {
		path := join("policies", name)
		if name == "" || strings.ContainsAny(name, " \t;,()\"") {
			r.fault(path, fmt.Sprintf("%q cannot be written in a header field", name), "use letters, digits and hyphens")
		}
		if len(p.Alternates) == 0 && len(p.OnFailure) == 0 && p.Goal == nil {
			r.fault(path, "gives nothing", "write goal, alternates or on_failure")
		}
	}
}

func (c *Config) validateRules(r *reading) {
	for i, rule := range c.Rules {
		path := fmt.Sprintf("rule[%d]", i)
		if rule.Policy != "" {
			if _, ok := c.Policies[rule.Policy]; !ok {
				r.fault(path+".policy", fmt.Sprintf("there is no policy %q", rule.Policy), fmt.Sprintf("write [policies.%s], or use one of: %s", rule.Policy, listOr(slices.Sorted(maps.Keys(c.Policies)), "(none yet)")))
			}
		}
		gives := rule.Priority != nil || rule.Policy != "" || rule.Goal != nil || rule.Device != "" || rule.Location != "" ||
			len(rule.Alternates) > 0 || len(rule.OnFailure) > 0
		if !gives {
			r.fault(path, "gives nothing", "write priority, policy, goal, device, location, alternates or on_failure")
		}
	}
}

func listOr(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

func (c *Config) validateDomains(r *reading) {
	for name, d := range c.Domains {
		path := join("domains", name)
		if name != "*" {
			checkDomain(r, path, name)
		}
		oneOf(r, path+".encrypt", d.Encrypt, string(routing.Require), string(routing.Prefer), string(routing.Signed), string(routing.Plain))
		if d.RefuseKeyless && d.Encrypt != string(routing.Require) && name != "*" {
			r.fault(path+".refuse_keyless", "refuses nothing where mail need not be sealed", `write encrypt = "require", or remove it`)
		}
	}
	for name, d := range c.DKIM {
		checkDomain(r, join("dkim", name), name)
		if d.Selector != "" && !isSelector(d.Selector) {
			r.fault(join("dkim", name)+".selector", fmt.Sprintf("%q is not a selector", d.Selector), `write letters and digits, such as "postern"`)
		}
	}
	for name, a := range c.Accounts {
		if a.Encrypt != "" || !a.Autocrypt && !a.EncryptToSelf {
			oneOf(r, join("accounts", name)+".encrypt", a.Encrypt, string(routing.Require), string(routing.Signed))
		}
	}
}

func (c *Config) validateKeys(r *reading) {
	if strings.HasPrefix(string(c.Keys.SpoolFrom), "env:") {
		r.fault("keys.spool_from", "the environment of a process is no place for the key to everything", `write "file:PATH" or "credential:NAME"`)
	}
	if c.Keys.Server != "" {
		checkDomain(r, "keys.server", c.Keys.Server)
		if !c.Keys.Directory {
			r.fault("keys.server", "a key server without the directory would be asked for what a domain says itself", "write directory = true, or leave the server out")
		}
	}
}

func (c *Config) validateLimits(r *reading) {
	l := c.Limits
	if l.MessageSize < 64<<10 || l.MessageSize > 1<<30 {
		r.fault("limits.message_size", fmt.Sprintf("%d bytes are out of range", l.MessageSize), "write a size from 64KiB to 1GiB")
	}
	// RFC 5321 section 4.5.3.1.8 wants a hundred recipients taken at least.
	within(r, "limits.recipients", l.RecipientsPerMessage, 1, 10000)
	within(r, "limits.destinations", l.Destinations, 1, 1000)
	within(r, "limits.connections", l.Connections, 1, 100000)
	within(r, "limits.connections_per_address", l.ConnectionsPerAddress, 1, l.Connections)
}

// minKeep is how long what is done has to be kept: as long as something may come back to a
// return address.
const minKeep = Period(routing.TokenLife)

// tooShort says why p is, where it is less than minKeep.
func (p Period) tooShort() string {
	return fmt.Sprintf("after %s a bounce or a receipt may still come for a message", p)
}

func (c *Config) validateHistory(r *reading) {
	h := c.History
	switch {
	case h.Keep == 0:
	case h.Keep < minKeep:
		r.fault("history.keep", h.Keep.tooShort(), fmt.Sprintf("write %s or more, or 0 for ever", minKeep))
	case time.Duration(h.Keep) < time.Duration(c.Limits.DedupWindow):
		r.fault("history.keep", fmt.Sprintf("%s is shorter than limits.dedup_window, %s", h.Keep, c.Limits.DedupWindow), "make it longer, or the window shorter")
	case h.Reports > h.Keep:
		r.fault("history.reports", fmt.Sprintf("%s is longer than keep, %s, and reports go with their messages", h.Reports, h.Keep), "make it shorter, or write 0")
	}
}

// oneOf records a fault unless v is among known.
func oneOf(r *reading, path, v string, known ...string) {
	if slices.Contains(known, v) {
		return
	}
	text := fmt.Sprintf("%q is not known", v)
	if v == "" {
		text = "is missing"
	}
	r.fault(path, text, "write "+orList(known))
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func within(r *reading, path string, v, low, high int) {
	if v < low || v > high {
		r.fault(path, fmt.Sprintf("%d is out of range", v), fmt.Sprintf("write a number from %d to %d", low, high))
	}
}

// checkDomain records a fault unless d is a domain name that mail could go to.
func checkDomain(r *reading, path, d string) {
	remedy := "write a domain name such as mail.example.org"
	if _, err := netip.ParseAddr(d); err == nil {
		r.fault(path, fmt.Sprintf("%q is an address, not a name", d), remedy)
		return
	}
	if _, ok := parseDomain(d); !ok {
		r.fault(path, fmt.Sprintf("%q is not a domain name", d), remedy)
	}
}

// checkHostPort records a fault, and returns false, unless v is "host:port" with a
// number for a port; the host may be missing.
func checkHostPort(r *reading, path, v string) bool {
	if v == "" {
		r.fault(path, "is missing", `write "host:port", such as "127.0.0.1:2525" or ":587"`)
		return false
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		r.fault(path, fmt.Sprintf("%q is not host:port", v), `write "127.0.0.1:2525", "[::1]:2525" or ":587"`)
		return false
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		r.fault(path, fmt.Sprintf("%q is not a port number", port), "write a number from 1 to 65535")
		return false
	}
	return true
}

// addrOf returns the IP address that host is, the zero Addr for a name.
func addrOf(host string) netip.Addr {
	if host == "localhost" {
		host = "127.0.0.1"
	}
	a, _ := netip.ParseAddr(host)
	return a
}

func isLoopback(a netip.Addr) bool { return a.IsValid() && a.Unmap().IsLoopback() }
