package smtpd

import "time"

// Limits bound what clients of one listener may use. A zero field has the default
// that is named beside it.
type Limits struct {
	Size       int64 // bytes of a message; 50 MiB
	Keep       int64 // bytes of a report that are kept, but for its end; 10 MiB (Inbound only)
	Recipients int   // recipients of a transaction; 100, the least RFC 5321 section 4.5.3.1.8 allows
	Memory     int64 // bytes of all messages that are being taken in and sealed; 256 MiB, and one message more

	Connections int // connections at once; 1000
	PerAddress  int // connections at once from one IPv4 address or IPv6 /64; 50
	Logins      int // failed logins of a connection; 3
	Errors      int // refused commands of a connection since its last message; Recipients + 20

	Command   time.Duration // wait for a command; 5 minutes (RFC 5321 section 4.5.3.2.7)
	Crowded   time.Duration // the same while four in five Connections are open; 1 minute
	Login     time.Duration // from connection to login, where one is needed; 1 minute
	Handshake time.Duration // TLS handshake; 30 seconds
	Block     time.Duration // wait for more of a message; 3 minutes
	Data      time.Duration // a whole message; 30 minutes
	Rate      int64         // bytes a second a message must come with, after the first Block; 500
	Write     time.Duration // wait for the client to take a reply; 1 minute
	Linger    time.Duration // after cutting a client off, wait for it to read why; 5 seconds
	Grace     time.Duration // messages under way when Serve's context ends; 30 seconds
}

// maxCommand is how long a command line may be, CRLF included. RFC 5321 section
// 4.5.3.1.4 asks for 512, and the extensions on offer add less than 2048.
const maxCommand = 4096

// maxLine is how long a line of a message may be. RFC 5321 section 4.5.3.1.6 asks
// for 1000, and real mail has far longer ones.
const maxLine = 128 << 10

func (l Limits) withDefaults() Limits {
	orDefault(&l.Recipients, 100)
	orDefault(&l.Connections, 1000)
	orDefault(&l.PerAddress, 50)
	orDefault(&l.Logins, 3)
	orDefault(&l.Errors, l.Recipients+20)
	orDefault(&l.Size, 50<<20)
	orDefault(&l.Keep, 10<<20)
	orDefault(&l.Memory, 256<<20)
	orDefault(&l.Rate, 500)
	orDefault(&l.Command, 5*time.Minute)
	orDefault(&l.Crowded, time.Minute)
	orDefault(&l.Login, time.Minute)
	orDefault(&l.Handshake, 30*time.Second)
	orDefault(&l.Block, 3*time.Minute)
	orDefault(&l.Data, 30*time.Minute)
	orDefault(&l.Write, time.Minute)
	orDefault(&l.Linger, 5*time.Second)
	orDefault(&l.Grace, 30*time.Second)
	return l
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
