package dsn

// This file is the table of servers. Add a family here, and to recognisers, when a form
// needs more than the words that bounces have in common.

var qmail = family{
	signs:  []string{"this is the qmail-send program", "this is the deliver program", "i'm afraid i wasn't able to deliver your message to the following", "i'm afraid i wasn't able to deliver the following message"},
	failed: []string{"permanent error", "wasn't able to deliver", "couldn't be delivered", "unable to deliver", "giving up"},
	read:   paragraphs,
}

var exim = family{
	signs: []string{"created automatically by mail delivery software", "this message was created automatically by the mail system",
		"a message that you sent could not be delivered to", "a message that you sent has not yet been delivered to"},
	failed:  []string{"could not be delivered", "permanent error", "failed:", "not delivered", "invalid address"},
	delayed: []string{"has not yet been delivered", "message has been frozen", "will continue to attempt", "delivery attempts will continue"},
	read:    listed,
}

var postfix = family{
	signs: []string{"this is the postfix program at", "this is the postfix mail system at", "this is the mail system at host"},
	failed: []string{"could not be delivered", "undeliverable", "your message could not",
		"appended below", "was not delivered"},
	delayed: []string{"this is a warning only", "you do not need to resend your message", "could not be delivered for more than", "it will be retried until"},
	read:    paragraphs,
}

var sendmail = family{
	signs: []string{"the following addresses had permanent fatal errors", "the following addresses had transient non-fatal errors",
		"the following addresses had delivery problems", "transcript of session follows", "the original message was received at"},
	failed: []string{"permanent fatal errors", "user unknown", "host unknown", "service unavailable", "cannot send message", "delivery problems",
		"unable to deliver", "(unrecoverable error)"},
	delayed: []string{"this is a warning message only", "transient non-fatal errors", "will keep trying until message is"},
	done:    []string{"had successful delivery notifications"},
	read:    sections,
}

var openSMTPD = family{
	signs:   []string{"this is the mailer-daemon, please do not reply"},
	failed:  []string{"an error has occurred while attempting to deliver", "could not be delivered", "permanent failure"},
	delayed: []string{"a message is delayed for more than", "delivery will be attempted again", "please note that this is only a temporary failure"},
	read:    paragraphs,
}

var google = family{
	signs: []string{"delivery to the following recipient failed", "delivery to the following recipients failed", "delivery to the following recipient has been delayed",
		"technical details of permanent failure", "technical details of temporary failure", "your message wasn't delivered to", "google tried to deliver your message"},
	failed:  []string{"failed permanently", "permanent failure", "wasn't delivered", "delivery failed", "failed:"},
	delayed: []string{"this is a warning message only", "you do not need to resend", "has been delayed", "will retry for"},
	read:    indented,
}

var exchange = family{
	signs: []string{"did not reach the following recipient", "did not reach some or all of the intended recipients",
		"delivery has failed to these recipients", "couldn't be delivered to"},
	failed: []string{"did not reach", "delivery has failed", "couldn't be delivered"},
	read:   dated,
}

var yahoo = family{
	signs: []string{"unable to deliver message to the following address", "we were unable to deliver your message to the following address",
		"unable to deliver your message to the following address"},
	failed: []string{"unable to deliver"},
	read:   paragraphs,
}

var dma = family{
	signs:  []string{"this is the dragonfly mail agent"},
	failed: []string{"error delivering your mail", "could not be delivered"},
	read:   loose,
}

var groupWise = family{
	signs:  []string{"the message that you sent was undeliverable to the following"},
	failed: []string{"undeliverable"},
	read:   indented,
}

var james = family{
	signs:  []string{"this is the james mail server at", "i include the list of recipients and the reason why"},
	failed: []string{"permanent error", "wasn't able to deliver", "unable to deliver"},
	read:   loose,
}

var domino = family{
	signs:  []string{"was not delivered to:", "failed to deliver to '"},
	failed: []string{"because:", "failed to deliver", "not listed in"},
	read:   indented,
}

var notes = family{
	signs:  []string{"failure reasons --"},
	failed: []string{"failure reasons --"},
	read:   loose,
}

var zoho = family{
	signs:  []string{"error_code :"},
	failed: []string{"error_code :"},
	read:   loose,
}
