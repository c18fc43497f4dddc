package traffic

import "fmt"

// Bounce is a delivery report (RFC 3464) to the return path token, saying that there is
// no mailbox of that address.
func Bounce(token, address string) []byte {
	return fmt.Appendf(nil, "From: MAILER-DAEMON@sink.test\r\nTo: <%s>\r\nSubject: Undelivered Mail Returned to Sender\r\n"+
		"Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nMessage-ID: <bounce@sink.test>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n"+
		"--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n"+
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; sink.test\r\n\r\n"+
		"Final-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such mailbox\r\n\r\n--b--\r\n", token, address)
}
