// Package dsn reads delivery reports and receipts leniently, and writes them
// strictly; it owns the enhanced status codes.
//
// Parse never fails: what it is given came from outside, and says at worst nothing.
// A false failure would send a message to its alternate for nothing, so whatever is
// not clearly a report of failure is none.
package dsn
