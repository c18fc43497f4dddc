// Package routing decides where a message goes next, and when, and drives it
// there. It is the domain in the middle of the gateway: policy, state machine,
// schedule and flow. It knows no network, no SQL and no files: what it needs of the
// world it declares as interfaces (ports.go), which the spokes satisfy.
//
// Next computes the state of a delivery and nothing else does; Plan decides what a
// chain does next and nothing else does. Both are pure. See docs/states.md for the
// table of all states by all events, which is generated from this package.
package routing
