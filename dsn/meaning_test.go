package dsn

import "testing"

// TestMeanings has what hosts say with a 550 and no better code, and the subject of
// the status that it means (RFC 3463 section 2): 1 the address, 2 the mailbox, 3 the
// system, 4 the network, 5 the protocol, 6 the content, 7 a policy; 0 nothing.
func TestMeanings(t *testing.T) {
	for subject, texts := range map[uint16][]string{
		1: {"User unknown", "unknown user account", "<ann@example.com> does not exist.", "User [ann@example.com] does not exist", "ann@example.com is not a known user on this system",
			"** No mail box available for this user **", "BAD_RECIPIENT", "Recipient ann@example.com was not found in LDAP server", `unknown local-part "ann" in domain "example.com"`, "There is no one at this address",
			"no ann@example.com in name directory", "mailbox for ann@example.com does not exist", "the user's email name is not found", "recipient no longer on server: ann@example.com", "Unable to find alias user", "Nie ma takiego konta", "no such mail drop defined", "recipient not exist", "can't accept user", "Address rejected ann@example.com", "mailbox ann@example.com unavailable (x)",
			"Adresse d au moins un destinataire invalide", "Utilisateur inconnu !", "Empfänger unbekannt", "Empfaenger unbekannt", "Benutzer existiert nicht", "no existe ese usuario", "destinatario sconosciuto",
			"usuário desconhecido", "okänd mottagare", "Użytkownik nieznany", "нет такого пользователя", "ユーザーが存在しません", "该用户不存在", "Name or service not known", "no MX or A records", "recipient domain must exist"},
		2: {"user is over the quota", "does not have enough space", "User has too many messages on the server", "User has exhausted allowed storage space", "Questo indirizzo e' bloccato per inutilizzo", "Boîte du destinataire pleine", "Postfach voll", "casella piena", "buzón lleno", "message for <ann@example.com> would exceed mailbox quota",
			"The user's space has been used up", "is a deactivated mailbox", "The account ann@example.com is currently suspended", "mailbox is frozen", "recipient rejected: temporarily inactive", "This account has been disabled or discontinued"},
		3: {"message size 18876259 exceeds size limit 10485760 of server mx[198.51.100.1]", "message file too big", "exceeded maximum inbound message size", "Nachricht zu groß", "insufficient system storage", "system load is too high", "Server busy", "local configuration error"},
		4: {"lost connection with mx.example while receiving the greeting", "hop count exceeded - possible mail loop", "message has exceeded maximum hop count", "exceeded maximum delivery attempts", "all hosts have been failing for a long time and were last tried after this message arrived", "host is unreachable"},
		5: {"Syntax error in parameters", "too many recipients"},
		6: {"SMTPUTF8 is required, but was not offered", "Message contains invalid headers"},
		7: {"Sender address rejected: user unknown", "domain of sender address ann@example.org does not exist", "Client host rejected: cannot find your hostname", "is not allowed to send mail from example.com", "sorry, that domain isn't in my list of allowed rcpthosts",
			"not allowed to relay through this machine", "IP/domain reputation problems", "temporarily deferred due to unresolvable RFC.5321 from domain", "your server requires confirmation", "does not pass DMARC verification", "Post by non-member to a members-only list", "you're using a mass mailer", "because the recipient is not accepting mail with attachments"},
		0: {"", "550", "Transaction failed", "Good day"},
	} {
		for _, text := range texts {
			if got := Meaning(text, 5); got.Subject != subject {
				t.Errorf("%q: got %s, want 5.%d.*", text, got, subject)
			}
		}
	}
}

// TestWordsOfThePassing keeps words that a report says in passing from being taken for
// its reason.
func TestWordsOfThePassing(t *testing.T) {
	for _, text := range []string{
		"For security, this message was sent automatically. Contact your administrator if access was denied by mistake.",
		"Please confirm that you typed the name correctly.",
	} {
		if got := byWords(text, 0); !got.IsZero() {
			t.Errorf("%q: got %s", text, got)
		}
	}
}
