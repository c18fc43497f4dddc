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

// TestNoFalseFailuresOfRobots has ticket systems, lists, filters, receipts and answers of a
// postmaster's quote such subjects: they hold or confirm, and none says that anything
// failed.
func TestNoFalseFailuresOfRobots(t *testing.T) {
	subjects := []string{"Delivery failed: pump 3", "Mailbox full on mx2", "Undelivered alarm", "Returned mail queue above 500", "Message status", "User unknown at gate 2", "Failure notice: boiler", "Unzustellbar: Paket 7", "Zustellung fehlgeschlagen: Anlage 4"}
	prefixes := []string{"", "Re: ", "[Ticket#1001] ", "Confirmation: ", "Eingangsbestätigung: ", "Accusé de réception : ", "Gelesen: ", "Not read: ", "Thank you for contacting us - "}
	headers := []string{
		"Return-Path: <>\nFrom: No-Reply <noreply@example.com>\n",
		"Return-Path: <>\nFrom: Notification <notification@example.com>\n",
		"Return-Path: <>\nFrom: ops-list-bounces@example.com\nX-Mailman-Version: 2.1\nList-Id: <ops>\nPrecedence: bulk\n",
		"From: No-Reply <noreply@example.com>\n",
		"From: Spam Gateway <spam-filter@example.com>\n",
		"Return-Path: <>\nFrom: Postmaster <postmaster@example.com>\nAuto-Submitted: auto-replied\nIn-Reply-To: <orig@gw.example>\n",
		"Return-Path: <>\nFrom: ticket system <system@example.com>\nAuto-Submitted: auto-generated\n",
	}
	bodies := []string{
		"Thank you for your message \"%s\". We have received it and will answer soon.\n",
		"Your mail '%s' to the list ops has been held until the list moderator can review it for approval. The reason it is being held: post by non-member to a members-only list.\n",
		"Your message \"%s\" has been received and was given the number 4711. It could not be assigned to an agent yet.\n",
		"I am away until Monday. Your message about \"%s\" will not be forwarded.\n",
		"Ihre Nachricht \"%s\" ist eingegangen. Wir können Ihre Anfrage zurzeit nicht sofort bearbeiten.\n",
		"Nous avons bien reçu votre message « %s ». Nous ne pouvons pas répondre immédiatement.\n",
		"Hemos recibido su mensaje \"%s\". No podemos responder de inmediato.\n",
		"Your message\n\n   To: bea\n   Subject: %s\n   Sent: today\n\nwas read on Monday.\n",
		"Your message\n\n   To: bea\n   Subject: %s\n\nwas deleted without being read on Monday.\n",
		"Hello, I use a spam filter. Please click the link to have your message \"%s\" delivered to me: http://x.example/1\n",
		"This mailbox is not monitored. Please do not reply to \"%s\".\n",
		"Mrs Miller no longer works for us. Your message \"%s\" was forwarded to her successor.\n",
		"The mailbox of Bea is full of alarms today; I will read \"%s\" tomorrow.\n",
	}
	random, n := chance(t), 0
	for _, header := range headers {
		for _, prefix := range prefixes {
			for _, subject := range subjects {
				for _, body := range bodies {
					if !*long && random.Intn(8) > 0 {
						continue
					}
					raw := header + "To: b-token@gw.example\nSubject: " + prefix + subject + "\nMessage-ID: <a@example.com>\n\n" + fmt.Sprintf(body, subject)
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
