package message

// controlFields are what a sender tells the gateway, or a server on the way, and
// nobody else. They are removed before a message is sealed, so that no copy has them
// outside or inside, by the reason given.
var controlFields = NewNames(
	// Who else gets the message. RFC 5322 section 3.6.3 has Bcc removed or emptied;
	// the others are what old programs and servers made of it.
	"Bcc", "Resent-Bcc", "X-Bcc", "Apparently-To", "Envelope-To", "X-Envelope-To", "X-RCPT-To", "X-Original-To",
	"Original-Recipient",  // RFC 8098 section 2.3: names the envelope recipient, which may be a Bcc
	"Alternate-Recipient", // RFC 2156 section 2.3.1.2: allows an alternate, and shows that there may be one
	"Disclose-Recipients", // RFC 2156 section 2.3.1.2: about the envelope

	// Where reports go. Each copy has a return path of its own, and receipts are asked
	// for at that same address (RFC 8098 section 2.1); a sender's own would go past
	// the state of the delivery, and tell one recipient's address to another's server.
	"Return-Path", // RFC 5321 section 4.4: only the server of final delivery adds it
	"Errors-To", "X-Errors-To",
	"Originator-Return-Address",                                       // RFC 2156 section 2.3.1.2
	"Disposition-Notification-To", "Disposition-Notification-Options", // RFC 8098 sections 2.1 and 2.2
	"Return-Receipt-To", "X-Return-Receipt-To", "Return-Receipt-Requested", "Receipt-Requested-To",
	"Read-Receipt-To", "X-Confirm-Reading-To", "Confirm-Reading-To", "X-PMRQC", "Acknowledge-To",
	"Delivery-Receipt-To", "Notice-Requested-Upon-Delivery-To", "Registered-Mail-Reply-Requested-By",

	// What the reports are to be: carried out here by policy, by X.400 gateways on the
	// way if they were left in.
	"Generate-Delivery-Report", "Prevent-NonDelivery-Report", "Content-Return", // RFC 2156 section 2.3.1.2

	// When it is to go: carried out here (RFC 2156 section 2.3.1.2), and a second
	// server that obeys them too would hold a message that was held already.
	"Deferred-Delivery", "Latest-Delivery-Time", "X-Deferred-Delivery",

	// RFC 6758 section 3.1: the priority of this hop.
	"MT-Priority",
)

// Kept, after thought: Supersedes, Expires, Expiry-Date and Reply-By speak to the
// reader's program, and it should know; Priority, X-Priority, Importance,
// Sensitivity and the MMHS fields (RFC 6477) are shown to the reader; Auto-Submitted
// and X-Auto-Response-Suppress hold off automatic replies; Delivered-To is how
// servers notice a loop.

// StripControl removes the fields that are meant for the gateway: every Postern-*,
// blind recipients, and requests that it carries out itself. Names are compared
// without case, and without the blanks before their colon; folding is no cover
// (T4). Lines that are no field go too, because to another reader they may be one.
func StripControl(h *Header) {
	h.DelFunc(func(f Field) bool { return forGateway(f.Name) })
}

func forGateway(name string) bool {
	return name == "" || hasPrefix(name, "Postern-") || controlFields.Has(name)
}

// IsStructural reports whether a field describes the body and not the message (RFC
// 9787 section 1.1.1): MIME-Version and Content-*.
func IsStructural(name string) bool {
	const prefix = "Content-"
	return sameName(name, "MIME-Version") || len(name) > len(prefix) && hasPrefix(name, prefix)
}
