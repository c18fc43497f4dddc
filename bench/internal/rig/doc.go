// Package rig starts the servers that are measured, each as processes of its own in a
// directory of its own and on loopback alone: the gateway as it is built from this
// tree, private instances of Postfix and of Dovecot, and a reference that does nothing
// but store. It reads from /proc what they cost.
package rig
