package dsn

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file says what people's words mean as a status. It is only asked where no
// number says more: a 550 alone may be anything.

// meaning is what the words of a failure say. Its pattern is matched with words that
// plainWords made.
type meaning struct {
	pattern *regexp.Regexp
	status  Status
	told    bool // believed only of what a host said of one recipient: the rest of a report may speak of it in passing
}

// byWords returns what the words of a text say. class replaces the class of what was
// found if it is not 0.
func byWords(text string, class uint8) Status { return mean(text, class, false) }

// Meaning returns the enhanced status that the words of a host's reply about one recipient
// mean, of the class given, and the zero Status where they mean nothing that is known. It is
// byWords where a few words more are believed.
func Meaning(text string, class uint8) Status { return mean(text, class, true) }

// maxMeaning is how much of a text is asked for its meaning, in bytes: who has not said
// by then why it failed returns something.
const maxMeaning = 16 << 10

func mean(text string, class uint8, told bool) Status {
	text = plainWords(text[:min(len(text), maxMeaning)])
	for _, m := range meanings {
		if (told || !m.told) && m.pattern.MatchString(text) {
			s := m.status
			if class != 0 {
				s.Class = class
			}
			return s
		}
	}
	return Status{}
}

// plainWords returns the words of a text in lower case, without accents and
// punctuation, with one blank between them. An address becomes the word "address":
// servers write it wherever their grammar has it.
func plainWords(text string) string {
	text = anyMailbox.ReplaceAllString(text, " address ")
	var b strings.Builder
	b.Grow(len(text))
	gap := false
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			r = unicode.ToLower(r)
			if r == '\'' || r == '`' {
				continue // doesn't, user's
			}
			if !('a' <= r && r <= 'z' || '0' <= r && r <= '9') {
				gap = true
				continue
			}
		case r == '’':
			continue
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r):
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteString(unaccented(unicode.ToLower(r)))
	}
	return b.String()
}

// unaccented returns a Latin letter without its accent, and any other as it is.
func unaccented(r rune) string {
	if r < 0xC0 {
		return string(r)
	}
	if plain, ok := accents[r]; ok {
		return plain
	}
	return string(r)
}

var accents = map[rune]string{
	'à': "a", 'á': "a", 'â': "a", 'ã': "a", 'ä': "a", 'å': "a", 'ą': "a", 'æ': "ae", 'ç': "c", 'ć': "c", 'č': "c", 'ď': "d", 'è': "e", 'é': "e", 'ê': "e", 'ë': "e", 'ę': "e", 'ě': "e",
	'ì': "i", 'í': "i", 'î': "i", 'ï': "i", 'ı': "i", 'ł': "l", 'ñ': "n", 'ń': "n", 'ň': "n", 'ò': "o", 'ó': "o", 'ô': "o", 'õ': "o", 'ö': "o", 'ø': "o", 'ő': "o", 'œ': "oe", 'ř': "r",
	'ś': "s", 'š': "s", 'ş': "s", 'ß': "ss", 'ť': "t", 'ù': "u", 'ú': "u", 'û': "u", 'ü': "u", 'ů': "u", 'ű': "u", 'ý': "y", 'ź': "z", 'ż': "z", 'ž': "z",
}

// whom are the names that servers have for a recipient.
const whom = `(?:users?|user ?names?|users? e ?mail name|recipients?|receivers?(?: address)?|rcpt|mail ?box(?:es)?|(?:e ?)?mail account|account|addresse?s?|addressee|local ?part|userid|person|customer|subscriber|spectator|alias|mail ?drop|name)`

// anyOf makes the pattern of a meaning: one of these, as whole words.
func anyOf(alternatives ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?:^|\P{L})(?:` + strings.Join(alternatives, "|") + `)`)
}

// meanings are asked in order: what is more special stands before what is less.
var meanings = []meaning{
	{pattern: anyOf(`insufficient system (?:storage|resources)`, `no space left on device`, `system (?:disk )?full`), status: Status{5, 3, 1}},
	{pattern: anyOf(`(?:relay|daily|hourly|sending|rate)(?: relay| sending)? (?:quota|limit)s?`), status: Status{5, 7, 1}},
	{pattern: anyOf(fullWords...), status: Status{5, 2, 2}},
	{pattern: anyOf(`not unique`, `(?:is |name |address )ambiguous`, `(?:several|multiple|more than one) match(?:es)?\b`, `nicht eindeutig`), status: Status{5, 1, 4}},
	{pattern: anyOf(largeWords...), status: Status{5, 3, 4}},
	{pattern: anyOf(relayWords...), status: Status{5, 7, 1}},
	{pattern: anyOf(senderWords...), status: Status{5, 7, 1}},
	{pattern: anyOf(disabledWords...), status: Status{5, 2, 1}},
	{pattern: anyOf(unknownHostWords...), status: Status{5, 1, 2}},
	{pattern: anyOf(syntaxWords...), status: Status{5, 1, 3}},
	{pattern: anyOf(unknownWords...), status: Status{5, 1, 1}},
	{pattern: anyOf(`too many hops`, `hop count`, `loop(?:s|ing|ed)? (?:detected|found|count|broken|back)`, `(?:mail|routing|forwarding|message|messages)(?: is| in a| probably in a)? loop(?:ing|s)?\b`, `create a mail loop`), status: Status{5, 4, 6}},
	{pattern: anyOf(expiredWords...), status: Status{4, 4, 7}},
	{pattern: anyOf(networkWords...), status: Status{4, 4, 1}},
	{pattern: anyOf(policyWords...), status: Status{5, 7, 1}},
	{pattern: anyOf(weakPolicyWords...), status: Status{5, 7, 1}, told: true},
	{pattern: anyOf(`(?:server|system|host|too)(?: is)?(?: \pL+)? busy`, `too (?:busy|much load)`, `system load`, `load is too high`, `too many sessions`, `throttl`), status: Status{5, 3, 2}, told: true},
	{pattern: anyOf(weakUnknownWords...), status: Status{5, 1, 0}, told: true},
	{pattern: anyOf(`too many recipients`), status: Status{5, 5, 3}, told: true},
	{pattern: anyOf(`smtputf8`), status: Status{5, 6, 7}, told: true},
	{pattern: anyOf(`8bitmime`, `binarymime`), status: Status{5, 6, 3}, told: true},
	{pattern: anyOf(`(?:invalid|missing|bad|malformed|illegal|duplicate)(?: \w+)? headers?`, `headers? (?:error|are not accepted)`, `malformed mime`, `invalid mime`), status: Status{5, 6, 0}, told: true},
	{pattern: anyOf(`syntax error`, `(?:command|parameter)s?(?: \w+)? (?:not|unrecogni)`, `bad sequence`, `unrecogni[sz]ed command`), status: Status{5, 5, 0}, told: true},
	{pattern: anyOf(systemWords...), status: Status{5, 3, 0}, told: true},
}

// fullWords say that a mailbox holds no more.
var fullWords = []string{
	`(?:over|exceed(?:s|ed|ing)?|beyond|reached|above|out of|violates|insufficient|not enough)(?: [\pL\d]+){0,4} (?:quota|storage(?: limit| space| allocation)?|allocation|disk ?space|disc ?space|disk quota|space limit|mailbox size|mailbox limit|mailbox space|local limit|receiving limits?|allowed size)\b`,
	`(?:quota|disk ?space|disc ?space|mailbox space|users space|storage|mail box space)(?: [\pL\d]+){0,4} (?:exceeded|full|violation|used up|exhausted|reached|not enough|overflow|overdrawn|excedida|superada|depassee?|uberschritten|erschopft)`,
	`(?:exhausted|overdrawn|used up)(?: [\pL\d]+){0,4} (?:storage|quota|disk ?space|space)`, `quota (?:exceeded|violation|full)`, `overquota`, `over quota`, `exceeded his`, `mailbox size limit`,
	`(?:mail ?box|inbox|mail ?folder|maildir|account|folder|recipient|user)(?: [\pL\d]+){0,3} (?:is )?(?:too )?full\b`, `full (?:mail ?box|inbox)`, `mail ?box exceed`,
	`(?:does not|doesnt) have enough(?: [\pL\d]+)? space`, `space not enough`, `not enough space`, `out of storage`, `maildir over`, `too much mail data`, `too much mail stored`, `too many (?:mails|messages|e ?mails) (?:on|in|stored)`,
	`boite(?: \pL+){0,4} pleine`, `postfach(?: \pL+){0,3} voll`, `speicherplatz`, `casella(?: \pL+){0,3} piena`, `buzon(?: \pL+){0,3} lleno`, `caixa(?: \pL+){0,3} cheia`, `postbus(?: \pL+)? vol`, `skrzynka(?: \pL+){0,3} pelna`,
	`переполнен`, `превышен(?:а|ие)? квот`, `[\pL]*いっぱい`, `[\pL]*容量`, `[\pL]*已满`, `[\pL]*空间不足`,
}

// largeWords say that the message is too large.
var largeWords = []string{
	`(?:message|mail|e ?mail|file|data|content|attachment|it)(?: [\pL\d]+){0,3} too (?:big|large|long)`, `(?:message|mail|file)(?: file)? too (?:big|large|long)`,
	`(?:size|length)(?: [\d]+)?(?: [\pL\d]+){0,2} exceed`, `exceed(?:s|ed|ing)?(?: [\pL\d]+){0,5} (?:message|inbound|incoming|mail|maximum|size)(?: message)? (?:size|limit)`,
	`max(?:imum)?(?: allowed)? (?:message|mail|inbound|incoming)(?: message)? size`, `larger than the`, `too big`, `message size limit`, `size limit (?:exceeded|for)`, `exceeds size limit`, `size limit$`, `class size limit`,
	`nachricht(?: \pL+)? zu gro`, `trop volumineux`, `troppo grande`, `demasiado grande`, `muito grande`, `te groot`, `слишком больш`, `[\pL]*サイズ(?:が|の)`, `[\pL]*邮件过大`,
}

// relayWords say that a host does not carry mail for the recipient's domain.
var relayWords = []string{
	`relay(?:ing)?(?: [\pL\d]+){0,3} (?:denied|prohibited|not|refused)`, `(?:not|unable to|cannot|dont|no|insecure mail|as a)(?: \pL+){0,2} relay`, `rcpthosts`, `relay through`, `non local e ?mail address`,
}

// senderWords say that it is the sender, or the host that the message came from, who
// is not wanted, in many of the words that are said of recipients.
var senderWords = []string{
	`senders?(?: [\pL\d]+){0,4} (?:rejected|denied|refused|blocked|unknown|invalid|not (?:allowed|accepted|found|permitted|verified|pre)|does ?nt exist|does not exist|spammer|black ?listed|empty|failed)\b`, `sender verify`,
	`(?:invalid|bad|unroutable|unrouteable|null|empty|bogus|forged|unverified|unauthenticated|valid)(?: envelope)? (?:senders?|mail from|return path|from address)\b`, `mail from not`, `from domain is invalid`, `fully qualified (?:e ?mail|domain|host)`,
	`(?:client|sending|your)(?: [\pL\d]+){0,2} (?:host ?name|host|ips?|ip address|server|network|remotehost)(?: [\pL\d]+){0,6} (?:rejected|blocked|black ?listed|denied|refused|mismatch\w*|suspicious\w*|requires|banned|reputation)`,
	`(?:cannot|can not|cant|could not|unable to) (?:find|resolve|verify) your`, `reverse dns`, `ptr record`, `dynamic ips?\b`, `generic dns`, `ip name lookup`, `client ip`, `unresolvable(?: [\pL\d]+){0,3} (?:relay|from|sender)`,
	`(?:mail|messages?|access|connections?|e ?mail) from (?:this |your |the )?(?:ips?|ip address|host|server|network|mail server|hosts|servers)\b`, `accept(?:ing|s)?(?: any)? (?:mail|messages) from`, `mail from ip`, `no access from`, `not allowed to send`,
	`(?:poor|low|bad) reputation`, `reputation`, `rbls?\b`, `dnsrbl`, `dnsbl`, `(?:is|are|been|host|ip|currently) listed (?:at|in|on|by)`, `smtp server of your isp`, `open proxy`, `spf (?:record|fail|check)`, `sender policy framework`, `dmarc`, `dkim`, `batv`, `backscatter protection`, `bouncedeny`, `returned mail not accepted`,
	`deferred due to user complaints`,
}

// disabledWords say that the mailbox is there, and takes nothing.
var disabledWords = []string{
	`(?:account|mail ?box|user|recipient|customer|konto|postfach|address|cuenta|compte)(?: (?:is|has|been|was|are|that|you|tried|to|reach|currently|temporarily|temporary|permanently|rejected|expired|this|the|or|in|your|e ?mail|address|ist|wurde|est|ha|sido)){0,7} (?:disabled|deactivated|inactive|not active|suspended|locked|frozen|discontinued|expired|terminated|gesperrt|deaktiviert|desactivad[oa]|desactivee?|archivee?|bloquead[oa])\b`,
	`(?:account|mail ?box)(?: (?:is|has|been|was|currently)){0,3} (?:blocked|closed|cancelled)\b`,
	`(?:disabled|suspended|deactivated|inactive|frozen|locked|expired) (?:users?|recipients?|accounts?|mail ?box(?:es)?)\b`, `temporar(?:y|ily) (?:locked|suspended|inactive)`, `extended inactivity`, `suspend the service`,
	`mailbox unavailable or access denied`, `account that you tried to reach is disabled`, `no longer (?:active|in use)`, `inactiv[oa]`, `bloccat[oa]`, `inutilizzo`, `por falta de uso`, `zablokowan`, `nieaktywn`, `is not accepting any mail`,
}

// unknownHostWords say that there is no such domain.
var unknownHostWords = []string{
	`(?:domain|host|host ?name|mail domain)(?: (?:name|part|is|was|are|mentioned|in|of|e ?mail|address|or|the|your|could|can|be|must|[a-z0-9]+ com)){0,6} (?:not found|not known|unknown|not be found|does not exist|doesnt exist|not exist|must exist|not resolve|not be resolved|isnt|invalid|not reachable|must exist)\b`,
	`domain must exist`, `(?:no|nonexistent|non existent|invalid|bad|unknown|illegal|unrouteable|unroutable)(?: (?:such|mail|destination|recipient|valid)){0,2} (?:domain|host|host ?name|host domain name)\b`, `bad destination system`, `no (?:valid |usable )?(?:mx|dns|mail exchanger)\b`, `no mx or a records?`,
	`name or service not known`, `no address associated`, `name service error`, `dns error`, `dns records for`, `unable to (?:look up|resolve)`, `domain lookup failed`, `could not find a gateway`, `couldnt find any host`, `nxdomain`,
}

// syntaxWords say that the address is not written correctly.
var syntaxWords = []string{
	`(?:malformed|misformed|incorrectly constructed|improperly formed|badly formed|syntactically (?:invalid|incorrect))(?: [\pL\d]+){0,2} (?:address|recipient|mail ?box)`, `(?:address|recipient|mailbox)(?:es)?(?: [\pL\d]+){0,4} (?:malformed|incorrectly constructed|syntactically)`,
	`(?:address|mailbox|recipient) syntax`, `syntax(?: error)? in (?:\w+ )?(?:mailbox |recipient )?address`, `(?:un)?balanced (?:angle )?brackets?`, `missing (?:or malformed )?local part`,
}

// unknownWords say that there is no such recipient.
var unknownWords = []string{
	`(?:no|nonexistent|non existent|not an?|isnt an?|not|invalid|unknown|unrecogni[sz]ed|illegal|bad|undeliverable|unrouteable|unroutable)(?: (?:such|valid|known|active|existing|local|virtual|final|envelope|destination|delivery|mail|e ?mail|or|illegal|unknown|invalid|registered|correct)){0,4} ` + whom + `\b`,
	whom + `(?: (?:is|was|were|are|has|have|been|name|or|of|for|id|account|mail ?box|user|e ?mail|address|here|at|this|that|currently|specified|you|tried|to|reach|couldnt|could|can|not|be|list|the|a|here|local|rejected|[a-z]|\d+)){0,7} (?:unknown|not found|not be found|be found|not known|invalid|not exists?|doesnt exist|does not exist|do not exist|dont exist|no longer exists?|no longer valid|not present|not recogni[sz]ed|not listed|not valid|nonexistent|non existent|wrong|missing)\b`,
	`(?:recipient|mail ?box|account)(?: (?:is|was|not|currently|address)){0,3} (?:unavailable|unavaiable|not available|available|not local|not accepted|not ok|local|ok)\b`,
	`(?:does not|doesnt|not|no longer) exist(?: here|s here)?\b`, `no (?:user|mail ?box|account)`, `not our customer`, `no longer (?:on|at|with|here|available|employed|works)\b`, `unable to find(?: \pL+){0,2} (?:user|recipient|mailbox|alias)`, `no one with that`, `(?:doesnt|does not|not) handle mail for`, `user (?:doesnt|does not) have`, `(?:cant|cannot) accept user`, `does not like recipient`, `not listed in`, `not known at`, `isnt here`, `no one at this address`,
	`badrcptto`, `badrecipientto`, `validrcptto`, `recip ?not ?found`, `recipient ?not ?found`, `user ?unknown`, `unknown ?user`, `email addresses that do not`, `not e ?mail addresses`, `no matches to nameserver`, `final email delivery point`, `recipient verify`, `wrong or no longer valid`,
	`(?:empf(?:a|ae)nger|benutzer|adresse|konto)(?: \pL+){0,3} (?:unbekannt|nicht gefunden|nicht vorhanden|ungultig)`, `unbekannter (?:benutzer|empf)`, `exist(?:iert|e) nicht`, `existiert nicht`, `konnte nicht gefunden werden`, `unbekannt oder nicht erreichbar`,
	`(?:utilisateur|destinataire|adresse|boite)(?: \pL+){0,4} (?:inconnue?|invalide|introuvable)`, `nexiste pas`, `n existe pas`, `introuvable`,
	`(?:usuari[oa]|destinatari[oa]|utente|direccion|endereco|indirizzo|casella|cuenta|conta|buzon)(?: \pL+){0,3} (?:desconocid[oa]|desconhecid[oa]|sconosciut[oa]|inesistente|inexistente|no valid[oa]|no encontrad[oa])`, `desconocid[oa]`, `desconhecid[oa]`, `sconosciut[oa]`, `inesistente`, `destinatario errato`, `no existe`, `nao existe`, `non esiste`, `nessun utente`,
	`(?:bruger|bruker|mottagare?n?|mottaker|modtager)(?: \pL+){0,2} (?:findes ikke|finnes ikke|ukjent|ukendt|saknas)`, `okand (?:mottagare|anvandare)`, `bestaat niet`, `nie istnieje`, `nie ma takiego`, `nieznany`, `neexistuje`, `neznam[ya]`,
	`не существует`, `не найден`, `нет такого`, `неизвестн`, `[\pL]*存在しません`, `[\pL]*リストにありません`, `[\pL]*見つかりません`, `[\pL]*不存在`, `无此用户`, `[\pL]*존재하지`, `invalid phone number`,
}

// expiredWords say that a host gave up after a time.
var expiredWords = []string{
	`retry time(?:out)? (?:exceeded|not reached)`, `(?:message|delivery|mail|queue|retry)(?: [\pL\d]+){0,4} expired`, `message timed out`, `queue too long`, `been in the queue`, `(?:could )?not be delivered for more than`, `not delivered within`, `maximum queue time`, `maximum delivery attempts`, `too many(?: delivery)? attempts`,
	`failing for a long time`, `not been collected`, `allowed queue period`, `after this message arrived`,
}

// networkWords say that a host was not reached.
var networkWords = []string{
	`(?:connection|connect|connecting|session|operation|greeting|read|write|lookup)(?: [\pL\d]+){0,6} (?:timed out|timeout|refused|reset|failed|lost|dropped|closed)\b`, `lost connection`, `did not accept (?:our|the|any)(?: \w+){0,2} (?:connect|connections?)\b`, `socket error`, `could not initiate`, `no route to host`, `(?:network|host|hosts|server)(?: is| was)? unreachable`, `network error`,
	`(?:could not|couldnt|unable to|failed to|wasnt able to|cannot|can not|cant) (?:connect|contact|establish an smtp)`, `did not respond`, `not responding`, `timed out`, `connect to host`, `no answer from host`, `host is down`, `(?:remote )?host closed`, `name server reply`,
}

// policyWords say that the message, or whoever sent it, is not wanted.
var policyWords = []string{
	`\S*spam`, `black ?list`, `block ?list`, `blocked (?:using|by)`, `due to (?:\pL+ )?polic`, `(?:policy|policies) (?:violation|reasons?|rejection)`, `for policy`, `access denied`, `not (?:authori[sz]ed|permitted)`, `content (?:rejected|filter)`, `viruse?s?\b`, `infected`, `banned`, `unsolicited`, `unwanted messages`, `bulk mail`,
	`authentication required`, `requires authentication`, `message (?:was |has been |is )?(?:rejected|refused)`, `not accepting mail`, `illegal attachment`, `members only`, `closed mailing list`, `not subscribed`, `organi[sz]ation(?:al)? (?:settings|policy)`, `mass mailer`, `(?:local|security|organi[sz]ation) polic`,
}

// weakPolicyWords do so in a host's own reply; in the rest of a report they may be
// about anything.
var weakPolicyWords = []string{
	`polic(?:y|ies)`, `prohibit`, `denied`, `not allowed`, `blocked`, `grey ?list`, `rate limit`, `too many (?:messages|connections|e ?mails)`, `only accept`, `security`, `preferences`, `go away`, `moderat`, `notauthori[sz]ed`, `user reject`, `complaints`, `confirm`, `unauthenticated`, `non member`,
	`not a registered`, `abuse`, `verify`, `too many bounces`, `attachment`, `multiple addresses`, `listed`, `nicht berechtigt`, `starttls`, `encryption`,
}

// weakUnknownWords say no more than that the recipient was refused.
var weakUnknownWords = []string{`(?:recipients?|address|user)(?: (?:address|was|is|has|been))* (?:rejected|denied|refused|not accepted)`, `reject(?:ed|s) recipients?`}

// systemWords say that it is the host's own fault.
var systemWords = []string{
	`(?:configuration|config|internal|local|system|queue file|server)(?: [\pL\d]+){0,2} error`, `misconfigured`, `local error`, `cant create`, `command died`, `command failed`, `mailer error`, `service (?:is )?(?:currently )?unavailable`,
}
