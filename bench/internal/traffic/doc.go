// Package traffic makes SMTP load, and takes it: a client that keeps many connections
// open and submits one message after the other on each, and a server that counts what
// it gets and fails on demand. Both do as little work as they can, because they share
// the machine with what they measure. Neither keeps the content of a message: a message
// is told from others by the local part of its recipient, which stays readable however
// the message is sealed.
package traffic
