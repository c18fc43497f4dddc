package dsn

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoFalseFailures has programs and people answer messages whose subjects read like
// those of bounces, since alarms have such subjects. None of it is a failure, however
// its author hides.
func TestNoFalseFailures(t *testing.T) {
	subjects := []string{"Delivery failed: pump 3", "Mailbox full on mx2", "Undelivered alarm", "Returned mail queue above 500", "Rejected: batch 7", "Message status"}
	prefixes := []string{"Re: ", "Automatic reply: ", "Out of office: ", "AW: ", "", "Thank you for your message - ", "[Ticket#1001] ", "Auto: "}
	headers := []string{
		"Return-Path: <>\nFrom: Bea <bea@example.com>\n",
		"Return-Path: <>\nFrom: Bea <bea@example.com>\nIn-Reply-To: <orig@gw.example>\n",
		"Return-Path: <>\nFrom: Bea <bea@example.com>\nAuto-Submitted: auto-replied\n",
		"Return-Path: <>\nFrom: Helpdesk <support@example.com>\nPrecedence: bulk\n",
		"From: Bea <bea@example.com>\nReferences: <orig@gw.example>\n",
		"From: Bea <bea@example.com>\nX-Autoreply: yes\n",
		"From: Administrator <admin@example.com>\nIn-Reply-To: <orig@gw.example>\n",
		"From: Postmaster <postmaster@example.com>\nIn-Reply-To: <orig@gw.example>\nAuto-Submitted: no\n",
	}
	bodies := []string{
		"Thank you for your message \"%s\". We have received it and will answer soon.\n",
		"I am away until Monday. Your message about \"%s\" will be read then. If it is urgent, call the hotline.\n",
		"Ich bin bis Montag nicht erreichbar. Ihre Nachricht wird nicht weitergeleitet.\n",
		"Je suis en congé jusqu'au 5. Votre message ne sera pas transmis.\n",
		"I no longer work here. Please write to sales@example.com instead.\n",
		"Acknowledged, I am on it. The log says: 550 5.1.1 user unknown for ops@example.net, so the mail could not be delivered to them.\n",
		"Your request \"%s\" has been given the number 1001. Please keep it in the subject.\n",
		"Got it.\n\n> Delivery failed: pump 3\n> 550 5.1.1 user unknown\n",
	}
	n := 0
	for _, subject := range subjects {
		for _, prefix := range prefixes {
			for _, header := range headers {
				for _, body := range bodies {
					if strings.Contains(body, "%s") {
						body = fmt.Sprintf(body, subject)
					}
					if strings.HasPrefix(header, "Return-Path: <>") && prefix != "Re: " && prefix != "AW: " && strings.Contains(body, "550") {
						continue // this is what a bounce is like
					}
					raw := header + "To: b-token@gw.example\nSubject: " + prefix + subject + "\nMessage-ID: <a@example.com>\n\n" + body
					if got := Parse([]byte(raw)); got.Kind == KindFailed {
						if n++; n <= 10 {
							t.Errorf("a false failure (%s):\n%s", got.Family, raw)
						}
					}
				}
			}
		}
	}
	if n > 0 {
		t.Errorf("%d false failures", n)
	}
}
