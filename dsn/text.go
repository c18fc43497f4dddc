package dsn

// StatusText returns one plain sentence that tells a person what a status means (RFC
// 3463, and the codes registered since by RFC 5248): that of the code, else that of
// its subject, else that of its class. The zero Status has "".
func StatusText(s Status) string {
	if s.IsZero() {
		return ""
	}
	class := s.Class
	if class == 2 && (s.Subject != 0 || s.Detail != 0) {
		if text, ok := successText[[2]uint16{s.Subject, s.Detail}]; ok {
			return text
		}
		return classText[2]
	}
	if text, ok := codeText[[2]uint16{s.Subject, s.Detail}]; ok {
		return text
	}
	if text, ok := subjectText[s.Subject]; ok {
		return text
	}
	return classText[class]
}

var classText = map[uint8]string{
	2: "It went well.",
	4: "It did not work this time; it may later.",
	5: "It will not work, however often it is tried.",
}

var successText = map[[2]uint16]string{
	{1, 5}: "The address is good.",
	{3, 6}: "It was taken, with a lower priority than was asked for.",
	{5, 0}: "It was delivered.",
	{6, 4}: "It was delivered, with a change of form that lost something.",
}

// subjectText is for codes that are not in codeText.
var subjectText = map[uint16]string{
	1: "There is something wrong with the address.",
	2: "There is something wrong with the mailbox.",
	3: "There is something wrong with the mail server there.",
	4: "The mail server there could not be reached.",
	5: "The mail servers did not understand each other.",
	6: "The mail server there cannot handle this kind of message.",
	7: "The mail server there does not allow it.",
}

// codeText is by subject and detail.
var codeText = map[[2]uint16]string{
	{1, 1}:  "The mailbox does not exist there.",
	{1, 2}:  "The mail domain does not exist, or takes no mail.",
	{1, 3}:  "The address is not written correctly.",
	{1, 4}:  "The address stands for more than one mailbox.",
	{1, 6}:  "The mailbox has moved, and nobody said where to.",
	{1, 7}:  "The sender's address is not written correctly.",
	{1, 8}:  "The sender's mail domain does not exist, or takes no mail.",
	{1, 9}:  "It was handed to a system that will not report on it.",
	{1, 10}: "The mail domain says that it takes no mail.",
	{2, 1}:  "The mailbox is disabled.",
	{2, 2}:  "The mailbox is full.",
	{2, 3}:  "The message is larger than the mailbox takes.",
	{2, 4}:  "The list could not be expanded.",
	{3, 1}:  "The mail server there has no room left.",
	{3, 2}:  "The mail server there takes no messages at present.",
	{3, 3}:  "The mail server there cannot do what was asked for.",
	{3, 4}:  "The message is larger than the mail server takes.",
	{3, 5}:  "The mail server there is not set up correctly.",
	{4, 1}:  "The mail server there does not answer.",
	{4, 2}:  "The connection to the mail server there broke off.",
	{4, 3}:  "The directory that says where mail goes cannot be asked.",
	{4, 4}:  "No way to the mail server there was found.",
	{4, 5}:  "The mail server there is overloaded.",
	{4, 6}:  "The message went in a circle.",
	{4, 7}:  "It was tried until its time ran out.",
	{5, 1}:  "The mail server there did not allow that command.",
	{5, 2}:  "The mail server there did not understand a command.",
	{5, 3}:  "The message has more recipients than the mail server takes.",
	{5, 4}:  "The mail server there did not understand an argument.",
	{5, 5}:  "The mail servers speak different versions of their language.",
	{5, 6}:  "A login was longer than the mail server takes.",
	{6, 1}:  "The mail server there does not take this kind of content.",
	{6, 2}:  "The message would have to be converted, which is not allowed.",
	{6, 3}:  "The message would have to be converted, which cannot be done.",
	{6, 4}:  "The message would lose something in being converted.",
	{6, 5}:  "The message could not be converted.",
	{6, 6}:  "The content of the message could not be had.",
	{6, 7}:  "The address needs international mail, which is not offered there.",
	{6, 9}:  "The message needs international mail, which is not offered there.",
	{7, 1}:  "The mail server there refused the message.",
	{7, 2}:  "The sender may not write to this list.",
	{7, 3}:  "The message would have to change its protection, which cannot be done.",
	{7, 4}:  "The mail server there does not offer the security that is needed.",
	{7, 5}:  "The message cannot be encrypted or decrypted.",
	{7, 6}:  "The method of encryption is not known there.",
	{7, 7}:  "The message was damaged or changed on its way.",
	{7, 8}:  "The name or the password was not accepted.",
	{7, 9}:  "The way of logging in is too weak.",
	{7, 10}: "The mail server wants an encrypted connection.",
	{7, 11}: "Logging in wants an encrypted connection.",
	{7, 13}: "The account is disabled.",
	{7, 14}: "There is no trust between the mail servers.",
	{7, 15}: "The priority of the message is too low at present.",
	{7, 16}: "The message is too large for its priority.",
	{7, 17}: "The mailbox has changed hands.",
	{7, 18}: "The mail domain has changed hands.",
	{7, 20}: "The message has no signature that the mail server accepts.",
	{7, 21}: "The message has no signature of its author's domain.",
	{7, 23}: "The sender's domain does not allow this server to send for it.",
	{7, 24}: "The sender's domain could not be checked.",
	{7, 25}: "The sending server has no name in the directory.",
	{7, 26}: "The message passed none of the checks of its origin.",
	{7, 27}: "The sender's mail domain says that it takes no mail.",
	{7, 28}: "Too many messages came at once.",
	{7, 30}: "The next mail server does not offer the security that the message requires.",
}
