// Package store keeps all of the gateway's state, and is the only code that speaks
// SQL: messages and their sealed content, deliveries and everything that happened to
// them, the notices that wait, accounts, keys and mailboxes.
//
// # What a nil error means
//
// A method that writes returns nil when what it wrote is on disk: committed, with the
// write-ahead log synced (synchronous=FULL). Any other answer means that nothing of it
// was written. Requests of many callers share one commit; where one fails half done, the
// transaction is begun anew with each in a savepoint of its own, so that it does not fail
// its neighbours.
//
// The store decides nothing about deliveries. It reads a chain, asks routing.Advance or
// routing.Turn what comes of an event or of time, and writes the answer: rows, records,
// tasks, the entries of the status folders and the flags that follow, in one
// transaction. Announcements and signals come after the commit.
//
// # When the disk fails
//
// A full disk refuses writes with routing.ErrDiskFull until there is room, a locked
// database with routing.ErrBusy. An input or output error of the database is final: the
// kernel may have dropped what it could not write, and asking again would be told that
// all is well. The store then refuses every write, and Run returns the error; a restart
// reads from disk what is really there.
//
// # What is on disk
//
// A directory that only its owner can enter: postern.db with its write-ahead log, and
// bodies/ with sealed content too large for a row. A file there is synced before the
// commit that speaks of it, and removed after the commit that no longer does. Everything
// private comes sealed, and the store never sees it otherwise. When nothing can need the
// content of a message any more, its key is erased, overwritten in the database, and out
// of the write-ahead log within seconds.
package store
