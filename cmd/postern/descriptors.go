package main

import "syscall"

// mayOpen is how many files this process may have open; 0 where that cannot be told. Go has
// raised it as far as the system lets it.
func mayOpen() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30))
}

// fitConnections lowers the number of connections to what the files that may be open allow (T13),
// so that who comes is told that there are too many, and the database, the queue and DNS
// never find that there is no file left. One in five is for them, and one for each worker. The rest is
// shared out: a listener that is flooded takes nothing from the others.
func (g *gateway) fitConnections(files int) {
	doors, imap := 0, false
	for _, l := range g.config.Listen {
		switch l.Kind {
		case KindIMAP, KindIMAPS:
			imap = true
		case KindMetrics:
		default:
			doors++
		}
	}
	if imap {
		doors++ // all of them together
	}
	l := &g.config.Limits
	if doors == 0 || files == 0 {
		return
	}
	fit := max((files-files/5-g.config.Relay.Workers)/doors, 1)
	if fit >= l.Connections {
		return
	}
	g.log.Warn("fewer connections are taken than the configuration allows: this process may not open so many files",
		"files", files, "connections", fit, "limits.connections", l.Connections, "remedy", "raise LimitNOFILE or ulimit -n, or lower limits.connections")
	l.Connections, l.ConnectionsPerAddress = fit, min(l.ConnectionsPerAddress, fit)
}
