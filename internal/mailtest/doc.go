// Package mailtest is the world around a mail gateway, in one process: servers that
// follow a script (Script), that fail in a phase of one's choice (Sink), and a whole
// next hop whose domains behave by name (World), with the certificate, the client
// and the connections it takes to talk to them.
//
// Tests use all of it; of the rest of the program, only "postern local" uses World.
// Nothing here is fit to serve the Internet.
package mailtest
