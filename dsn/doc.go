// Package dsn reads what mail servers and mail programs say about a message that was
// sent (delivery reports, receipts, automatic answers), and writes delivery reports. It
// owns the enhanced status codes.
//
// It reads leniently, because about half of all real bounces have no part for
// programs, and many of those that have one get it wrong; it writes strictly. When in
// doubt what came is no failure: a failure that was missed is found by time, one
// that was not sends a message to people who need not have seen it.
//
// Which delivery a report is about is not its business: the address that the report
// came to says so, and whatever the report says can be forged.
package dsn
