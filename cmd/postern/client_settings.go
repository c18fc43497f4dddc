package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"postern/routing"
)

func (a *app) clientSettingsCommand() *cobra.Command {
	var autoconfig, mobileconfig bool
	c := &cobra.Command{
		Use:   "client-settings [ACCOUNT]",
		Short: "Print how a mail program is set up",
		Long: `Client-settings prints what a person types into a mail program, and the DNS records by
which programs find it by themselves (RFC 6186, RFC 8314). With an account it is about
that account, and without one about the domains of local_domains.

With --autoconfig it prints the file that Thunderbird and others look for at
https://autoconfig.DOMAIN/mail/config-v1.1.xml, and with --mobileconfig a profile for
iPhone, iPad and Mac. There is no password in either: the program asks for it.

The ports are those of the configuration. Of a port that another machine forwards,
tell the outer one instead.`,
		Example: `  postern client-settings alice
  postern client-settings --autoconfig > config-v1.1.xml
  postern client-settings alice --mobileconfig > alice.mobileconfig`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.clientSettings(cmd.Context(), args)
			if err != nil {
				return err
			}
			form := settingsText
			switch {
			case autoconfig:
				form = settingsAutoconfig
			case mobileconfig && s.Account == "":
				return errors.New("a profile is for one account: postern client-settings ACCOUNT --mobileconfig")
			case mobileconfig:
				form = settingsProfile
			}
			return form.Execute(a.stdout, s)
		},
	}
	c.Flags().BoolVar(&autoconfig, "autoconfig", false, "print the configuration file of Thunderbird (XML)")
	c.Flags().BoolVar(&mobileconfig, "mobileconfig", false, "print a profile for Apple's mail programs (needs ACCOUNT)")
	c.MarkFlagsMutuallyExclusive("autoconfig", "mobileconfig")
	return c
}

// mailSettings are how a mail program reaches the gateway.
type mailSettings struct {
	Host    string // that the certificate is for
	Account string // "" for anybody's
	Address string // of the account, "" for anybody's
	Domains []string
	IMAP    []mailServer // the best first
	SMTP    []mailServer
}

// mailServer is one way in.
type mailServer struct {
	Service  string // of its SRV record: RFC 6186 section 3, RFC 8314 section 5.1
	Port     int
	Implicit bool // TLS from the first octet, otherwise STARTTLS
}

// Security is what mail programs call it.
func (m mailServer) Security() string {
	if m.Implicit {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// SocketType is what autoconfig calls it.
func (m mailServer) SocketType() string {
	if m.Implicit {
		return "SSL"
	}
	return "STARTTLS"
}

// Priority has programs prefer TLS from the first octet (RFC 8314 section 3).
func (m mailServer) Priority() int {
	if m.Implicit {
		return 0
	}
	return 10
}

// User is the account's name, or how Thunderbird is told that it is the address, which
// serves as well: a name need not be its local part.
func (s *mailSettings) User() string { return cmp.Or(s.Account, "%EMAILADDRESS%") }

// Domain is the first of the domains.
func (s *mailSettings) Domain() string { return s.Domains[0] }

// UUID is the same for every profile of one account, so that a new one takes the
// place of the one before (RFC 9562 section 5.8).
func (s *mailSettings) UUID(part string) string {
	u := sha256.Sum256([]byte(part + "\x00" + s.Account + "\x00" + s.Host))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// clientSettings gathers the settings of an account, or of everybody.
func (a *app) clientSettings(ctx context.Context, args []string) (*mailSettings, error) {
	c, err := a.reachable()
	if err != nil {
		return nil, err
	}
	s := &mailSettings{Host: c.hostname(), Domains: c.LocalDomains}
	if err := s.servers(c.Listen); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		err := a.withStore(ctx, func(o *opened) error {
			account, _, err := o.db.Account(ctx, args[0])
			if err != nil {
				return named("account", args[0], err)
			}
			return s.of(account)
		})
		if err != nil {
			return nil, err
		}
	}
	if len(s.Domains) == 0 {
		return nil, errors.New("no domain has its mail here (local_domains is empty): name an account")
	}
	return s, nil
}

// of makes the settings those of one account.
func (s *mailSettings) of(account routing.Account) error {
	if len(account.Addresses) == 0 {
		return fmt.Errorf("account %s has no address", account.Name)
	}
	s.Account, s.Address, s.Domains = account.Name, account.Addresses[0].String(), nil
	for _, address := range account.Addresses {
		if domain := asciiDomain(address.Domain); !slices.Contains(s.Domains, domain) {
			s.Domains = append(s.Domains, domain)
		}
	}
	return nil
}

// servers sorts the listeners that are for mail programs.
func (s *mailSettings) servers(listeners []Listener) error {
	for _, l := range listeners {
		_, text, err := net.SplitHostPort(l.Address)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", l.Address, err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("listen address %q: the port is no number", l.Address)
		}
		m := mailServer{Service: "_" + string(l.Kind), Port: port, Implicit: l.Kind == KindIMAPS || l.Kind == KindSubmissions}
		switch l.Kind {
		case KindIMAP, KindIMAPS:
			s.IMAP = append(s.IMAP, m)
		case KindSubmission, KindSubmissions:
			s.SMTP = append(s.SMTP, m)
		}
	}
	if len(s.IMAP) == 0 || len(s.SMTP) == 0 {
		return errors.New("a mail program needs IMAP and submission: listen with the kinds imaps and submissions")
	}
	best := func(a, b mailServer) int { return cmp.Compare(a.Priority(), b.Priority()) }
	slices.SortStableFunc(s.IMAP, best)
	slices.SortStableFunc(s.SMTP, best)
	return nil
}

// reachable is the configuration's part that mail programs depend on. A directory of
// "postern local" needs none: the gateway has written down where it listens.
func (a *app) reachable() (*Config, error) {
	c, err := a.load()
	if !errors.Is(err, os.ErrNotExist) || a.configFile != "" || a.dataDir == "" {
		return c, err
	}
	text, readErr := os.ReadFile(dataDir(a.dataDir).path(addressFile))
	if readErr != nil {
		return nil, err
	}
	var addresses map[Kind]string
	if err := json.Unmarshal(text, &addresses); err != nil {
		return nil, fmt.Errorf("read %s: %w", addressFile, err)
	}
	c = defaultConfig()
	c.Hostname, c.LocalDomains, c.Listen = "localhost", []string{localDomain}, nil
	for _, kind := range kinds {
		if address, ok := addresses[Kind(kind)]; ok {
			c.Listen = append(c.Listen, Listener{Kind: Kind(kind), Address: address})
		}
	}
	return c, nil
}

// escapeXML makes text fit to stand in an element.
func escapeXML(text string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}

// settingsText is for people, and for who keeps the zone.
var settingsText = template.Must(template.New("text").Parse(`
{{- if .Account}}Mail of {{.Address}}
{{else}}Mail of everybody at {{range $i, $d := .Domains}}{{if $i}}, {{end}}{{$d}}{{end}}
{{end}}
{{- with index .IMAP 0}}
  Incoming    IMAP   {{$.Host}}   port {{.Port}}   {{.Security}}{{end}}
{{- with index .SMTP 0}}
  Outgoing    SMTP   {{$.Host}}   port {{.Port}}   {{.Security}}{{end}}
  User name   {{if .Account}}{{.Account}}, or the address{{else}}the address, or the name of the account{{end}}
  Password    that of the account, for both; "normal password" where the program asks how
{{- if gt (len .IMAP) 1}}{{with index .IMAP 1}}
  If IMAP cannot be reached: port {{.Port}} with {{.Security}}{{end}}{{end}}
{{- if gt (len .SMTP) 1}}{{with index .SMTP 1}}
  If SMTP cannot be reached: port {{.Port}} with {{.Security}}{{end}}{{end}}

DNS records to publish (RFC 6186, RFC 8314), so that mail programs find it by themselves
{{range $d := .Domains}}
{{- range $.IMAP}}
  {{.Service}}._tcp.{{$d}}. IN SRV {{.Priority}} 1 {{.Port}} {{$.Host}}.
{{- end}}
{{- range $.SMTP}}
  {{.Service}}._tcp.{{$d}}. IN SRV {{.Priority}} 1 {{.Port}} {{$.Host}}.
{{- end}}
  _pop3._tcp.{{$d}}. IN SRV 0 0 0 .
  _pop3s._tcp.{{$d}}. IN SRV 0 0 0 .
{{end}}
Files
  postern client-settings --autoconfig
    to be served as{{range .Domains}}
      https://autoconfig.{{.}}/mail/config-v1.1.xml{{end}}
  postern client-settings {{or .Account "ACCOUNT"}} --mobileconfig
    to be opened on an iPhone, iPad or Mac
`))

// settingsAutoconfig is Mozilla's format, https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat
var settingsAutoconfig = template.Must(template.New("autoconfig").Funcs(template.FuncMap{"xml": escapeXML}).Parse(`<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="{{xml .Domain}}">
{{- range .Domains}}
    <domain>{{xml .}}</domain>
{{- end}}
    <displayName>Postern at {{xml .Host}}</displayName>
    <displayShortName>Postern</displayShortName>
{{- range .IMAP}}
    <incomingServer type="imap">
      <hostname>{{xml $.Host}}</hostname>
      <port>{{.Port}}</port>
      <socketType>{{.SocketType}}</socketType>
      <authentication>password-cleartext</authentication>
      <username>{{xml $.User}}</username>
    </incomingServer>
{{- end}}
{{- range .SMTP}}
    <outgoingServer type="smtp">
      <hostname>{{xml $.Host}}</hostname>
      <port>{{.Port}}</port>
      <socketType>{{.SocketType}}</socketType>
      <authentication>password-cleartext</authentication>
      <username>{{xml $.User}}</username>
    </outgoingServer>
{{- end}}
  </emailProvider>
</clientConfig>
`))

// settingsProfile is Apple's com.apple.mail.managed payload. Where there is no
// password in it, the device asks.
var settingsProfile = template.Must(template.New("profile").Funcs(template.FuncMap{"xml": escapeXML}).Parse(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadType</key><string>Configuration</string>
  <key>PayloadVersion</key><integer>1</integer>
  <key>PayloadIdentifier</key><string>postern.{{xml .Host}}.{{xml .Account}}</string>
  <key>PayloadUUID</key><string>{{.UUID "profile"}}</string>
  <key>PayloadDisplayName</key><string>Mail of {{xml .Address}}</string>
  <key>PayloadContent</key>
  <array>
    <dict>
      <key>PayloadType</key><string>com.apple.mail.managed</string>
      <key>PayloadVersion</key><integer>1</integer>
      <key>PayloadIdentifier</key><string>postern.{{xml .Host}}.{{xml .Account}}.mail</string>
      <key>PayloadUUID</key><string>{{.UUID "mail"}}</string>
      <key>PayloadDisplayName</key><string>{{xml .Address}}</string>
      <key>EmailAccountType</key><string>EmailTypeIMAP</string>
      <key>EmailAccountDescription</key><string>{{xml .Address}}</string>
      <key>EmailAddress</key><string>{{xml .Address}}</string>
{{- with index .IMAP 0}}
      <key>IncomingMailServerHostName</key><string>{{xml $.Host}}</string>
      <key>IncomingMailServerPortNumber</key><integer>{{.Port}}</integer>
      <key>IncomingMailServerUseSSL</key><true/>
      <key>IncomingMailServerAuthentication</key><string>EmailAuthPassword</string>
      <key>IncomingMailServerUsername</key><string>{{xml $.Account}}</string>
{{- end}}
{{- with index .SMTP 0}}
      <key>OutgoingMailServerHostName</key><string>{{xml $.Host}}</string>
      <key>OutgoingMailServerPortNumber</key><integer>{{.Port}}</integer>
      <key>OutgoingMailServerUseSSL</key><true/>
      <key>OutgoingMailServerAuthentication</key><string>EmailAuthPassword</string>
      <key>OutgoingMailServerUsername</key><string>{{xml $.Account}}</string>
      <key>OutgoingPasswordSameAsIncomingPassword</key><true/>
{{- end}}
    </dict>
  </array>
</dict>
</plist>
`))
