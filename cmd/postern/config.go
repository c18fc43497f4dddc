package main

import (
	"time"

	"postern/relay"
	"postern/routing"
	"postern/store"
)

// Config is the configuration as it is written down in TOML. The zero value means
// nothing; defaultConfig is where every load begins. config.example.toml explains
// each key.
type Config struct {
	Hostname     string   `toml:"hostname"`
	Data         string   `toml:"data"`
	ReturnDomain string   `toml:"return_domain"`
	LocalDomains []string `toml:"local_domains"`
	TimeZone     string   `toml:"time_zone"`
	AddressTags  bool     `toml:"address_tags"`
	SubjectTags  bool     `toml:"subject_tags"`
	Subject      string   `toml:"outer_subject"`
	Postmaster   string   `toml:"postmaster"` // an account

	Listen []Listener `toml:"listen"`
	TLS    TLS        `toml:"tls"`
	Relay  Relay      `toml:"relay"`

	Levels   map[string]Level  `toml:"levels"`
	Policies map[string]Policy `toml:"policies"`
	Rules    []Rule            `toml:"rule"`
	Domains  map[string]Domain `toml:"domains"`
	Accounts map[string]Sender `toml:"accounts"`
	DKIM     map[string]DKIM   `toml:"dkim"`
	Keys     Keys              `toml:"keys"`

	Stamp   Stamp   `toml:"stamp"`
	Limits  Limits  `toml:"limits"`
	History History `toml:"history"`
	Log     Log     `toml:"log"`

	dir string // of the file: relative paths in it start here
}

// Listener is one address the gateway listens at, and for whom.
type Listener struct {
	Kind    Kind   `toml:"kind"`
	Address string `toml:"address"`
	// The rest is for the kind device alone.
	Account   string   `toml:"account"`
	Networks  []Prefix `toml:"networks"`
	PlainAuth bool     `toml:"allow_plain_auth"`
}

// needsTLS reports whether l cannot be without a certificate.
func (l Listener) needsTLS() bool {
	switch l.Kind {
	case KindSubmission, KindSubmissions, KindIMAP, KindIMAPS:
		return true
	}
	return false
}

// Kind says what a listener speaks.
type Kind string

// The kinds of listener.
const (
	KindSubmission  Kind = "submission"  // SMTP with STARTTLS and AUTH (RFC 6409)
	KindSubmissions Kind = "submissions" // the same inside TLS (RFC 8314)
	KindDevice      Kind = "device"      // SMTP for programs that know neither TLS nor AUTH
	KindInbound     Kind = "inbound"     // bounces, receipts and replies
	KindIMAP        Kind = "imap"        // IMAP with STARTTLS
	KindIMAPS       Kind = "imaps"       // the same inside TLS
	KindMetrics     Kind = "metrics"     // HTTP: /metrics, /healthz, /readyz
)

// kinds lists every Kind in the order of the documentation.
var kinds = []string{string(KindSubmission), string(KindSubmissions), string(KindDevice), string(KindInbound),
	string(KindIMAP), string(KindIMAPS), string(KindMetrics)}

// TLS names the certificate of the listeners. The files are read again when they change.
type TLS struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Relay says how mail leaves: by a route, else by the smarthosts, else by MX.
type Relay struct {
	Workers             int               `toml:"workers"`
	TLS                 string            `toml:"tls"` // of servers found by MX, and of routes
	MTASTS              bool              `toml:"mta_sts"`
	RememberTLS         bool              `toml:"remember_tls"`
	DNSSECResolver      string            `toml:"dnssec_resolver"` // address:port, "" for none
	TrustRemoteResolver bool              `toml:"trust_remote_resolver"`
	AllowPrivate        bool              `toml:"allow_private"`
	AllowNetworks       []Prefix          `toml:"allow_networks"`
	Routes              map[string]string `toml:"routes"` // domain → "host:port"
	Smarthosts          []Smarthost       `toml:"smarthost"`
}

// Smarthost is a server that takes mail for every domain.
type Smarthost struct {
	Host     string `toml:"host"`
	Port     int    `toml:"port"`
	TLS      string `toml:"tls"`
	Username string `toml:"username"`
	Password Secret `toml:"password_from"`
}

// Level is what a priority brings with it.
type Level struct {
	Retry    routing.Schedule `toml:"retry"`
	Patience Duration         `toml:"patience"`
	Warn     Duration         `toml:"warn"`
	Expires  Duration         `toml:"expires"`
	Window   Duration         `toml:"window"`
}

// Policy is a chain with failure responses that a message asks for by name.
type Policy struct {
	Goal       *routing.Goal `toml:"goal"`
	Alternates []Alternate   `toml:"alternates"`
	OnFailure  Responses     `toml:"on_failure"`
	StandDown  bool          `toml:"stand_down"`
}

// Rule gives values to the submissions that meet all of its conditions.
type Rule struct {
	Account   string `toml:"account"`
	Network   Prefix `toml:"network"`
	Sender    string `toml:"sender"`
	Recipient string `toml:"recipient"`
	Subject   string `toml:"subject"`

	Priority   *routing.Priority `toml:"priority"`
	Policy     string            `toml:"policy"`
	Goal       *routing.Goal     `toml:"goal"`
	Device     string            `toml:"device"`
	Location   Location          `toml:"location"`
	Alternates []Alternate       `toml:"alternates"`
	OnFailure  Responses         `toml:"on_failure"`
}

// Domain is what holds for mail to one domain.
type Domain struct {
	Encrypt       string `toml:"encrypt"`
	RefuseKeyless bool   `toml:"refuse_keyless"`
}

// Sender is what holds for all mail of one account.
type Sender struct {
	Encrypt       string `toml:"encrypt"` // the least
	Autocrypt     bool   `toml:"autocrypt"`
	EncryptToSelf bool   `toml:"encrypt_to_self"`
}

// Keys says where the keys of addresses come from besides those on file, and who hears of
// what is wrong with them.
type Keys struct {
	Directory    bool     `toml:"directory"` // ask the Web Key Directory of the domain
	Server       string   `toml:"server"`    // then this key server; "" for none
	AllowPrivate bool     `toml:"allow_private"`
	Warn         Duration `toml:"warn"`
	Tell         string   `toml:"tell"` // an account
	// SpoolFrom is where the spool key is read from; "" for keys/spool.key.
	SpoolFrom Secret `toml:"spool_from"`
}

// Stamp is the least that is stamped into every message.
type Stamp struct {
	Fields []string `toml:"fields"`
}

// Limits bound what a client can ask for.
type Limits struct {
	MessageSize           Size     `toml:"message_size"`
	RecipientsPerMessage  int      `toml:"recipients"`
	Destinations          int      `toml:"destinations"`
	Connections           int      `toml:"connections"`
	ConnectionsPerAddress int      `toml:"connections_per_address"`
	DedupWindow           Duration `toml:"dedup_window"`
}

// History says how long is kept what is done; 0 is for ever.
type History struct {
	Keep    Period `toml:"keep"`    // all that is known of a message
	Reports Period `toml:"reports"` // the reports about it, as they came
}

// kept is h as the store has it.
func (h History) kept() store.Keep {
	return store.Keep{Messages: time.Duration(h.Keep), Reports: time.Duration(h.Reports)}
}

// Log says what is logged, and how.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// defaultConfig returns the configuration of an empty file. It is what
// config.example.toml says, key by key.
func defaultConfig() *Config {
	return &Config{
		Data:         "/var/lib/postern",
		LocalDomains: []string{},
		TimeZone:     "UTC",
		AddressTags:  true,
		SubjectTags:  true,
		Listen: []Listener{
			{Kind: KindSubmission, Address: ":587"},
			{Kind: KindSubmissions, Address: ":465"},
			{Kind: KindInbound, Address: ":25"},
			{Kind: KindIMAP, Address: ":143"},
			{Kind: KindIMAPS, Address: ":993"},
			{Kind: KindMetrics, Address: "127.0.0.1:9090"},
		},
		TLS:      TLS{Cert: "tls/cert.pem", Key: "tls/key.pem"},
		Relay:    Relay{Workers: 64, TLS: string(relay.TLSOpportunistic), MTASTS: true, RememberTLS: true, AllowNetworks: []Prefix{}, Routes: map[string]string{}, Smarthosts: []Smarthost{}},
		Levels:   defaultLevels(),
		Policies: map[string]Policy{},
		Rules:    []Rule{},
		Domains:  map[string]Domain{"*": {Encrypt: string(routing.Require)}},
		DKIM:     map[string]DKIM{},
		Accounts: map[string]Sender{},
		Keys:     Keys{Directory: true, Warn: Duration(30 * 24 * time.Hour)},
		Stamp:    Stamp{Fields: []string{}},
		Limits: Limits{MessageSize: 50 << 20, RecipientsPerMessage: 100, Destinations: 32, Connections: 1000,
			ConnectionsPerAddress: 50, DedupWindow: Duration(24 * time.Hour)},
		Log: Log{Level: "info", Format: "text"},
	}
}

// defaultLevels returns what each priority brings with it: the more urgent, the
// sooner a retry and the sooner a failure, so that an alternate still helps.
func defaultLevels() map[string]Level {
	const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
	level := func(patience, warn, expires time.Duration, retry ...routing.Wait) Level {
		return Level{Retry: retry, Patience: Duration(patience), Warn: Duration(warn),
			Expires: Duration(expires), Window: Duration(5 * day)}
	}
	wait := func(d time.Duration, times int) routing.Wait { return routing.Wait{For: d, Times: times} }
	return map[string]Level{
		"flash":  level(5*minute, 2*minute, day, wait(10*time.Second, 3), wait(30*time.Second, 0)),
		"urgent": level(15*minute, 10*minute, day, wait(30*time.Second, 4), wait(2*minute, 0)),
		"high":   level(2*hour, hour, 2*day, wait(minute, 3), wait(5*minute, 6), wait(15*minute, 0)),
		"normal": level(2*day, 4*hour, 5*day, wait(2*minute, 1), wait(10*minute, 3), wait(30*minute, 4), wait(hour, 0)),
		"low":    level(3*day, day, 5*day, wait(15*minute, 2), wait(hour, 0)),
		"bulk":   level(5*day, 0, 7*day, wait(30*minute, 2), wait(2*hour, 6), wait(4*hour, 0)),
	}
}
