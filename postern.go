// Package postern is the root of a mail gateway that gets a message through: by the
// front gate if it can, by another if it must, sealed on the way, and with its state
// in plain sight of whoever sent it and whoever it was meant for.
//
// There is no code here. The program is cmd/postern, the domain in the middle of it
// is package routing, and docs/DESIGN.md is the map of the house. The tests of this
// package watch over the whole: who may import whom, where the clock may be read,
// and how large things grow.
package postern
