package routing

// SenderView says where a delivery shows in its sender's status folders, and with
// which flags: a pure function of where it stands. FlagSeen is among the flags
// where nobody needs to look.
func SenderView(m *Message, d *Delivery) (Folder, Flags) {
	if m.Notice || m.Audience&ShowSender == 0 {
		return FolderNone, 0
	}
	f := commonFlags(m, d)
	if d.Failure != "" && d.State == Queued || d.Told&ToldDelayed != 0 {
		f |= FlagDelayed
	}
	if d.Passed || d.Step > 0 {
		f |= FlagFallback
	}
	if d.Late {
		f |= FlagLate
	}
	if d.Warned || len(m.Warnings) > 0 {
		f |= FlagWarning
	}
	if d.State == Acked {
		f |= FlagAnswered | FlagAcknowledged
	}
	look := d.State == Held || d.State == Failed || d.State == Expired || d.Warned ||
		d.Step > 0 && d.State == Queued && d.Attempts == 0 // it fell back
	if !look {
		f |= FlagSeen
	}
	return senderFolders[d.State], f
}

// senderFolders is the folder of each state. What stands by has nothing to show
// yet, and what was not needed never will.
var senderFolders = [...]Folder{
	Standby: FolderNone, Held: FolderHeld, Queued: FolderQueued, Sending: FolderQueued, Relayed: FolderSent,
	Delivered: FolderDelivered, Read: FolderRead, Acked: FolderAcknowledged, Failed: FolderFailed,
	Expired: FolderExpired, Cancelled: FolderCancelled, Unused: FolderNone,
}

// IncomingView says where a message shows in the Status/Incoming folders of an
// account that it was sent to: own is the account's delivery, chain all deliveries
// of the same recipient, own included. It shows from the moment the message is on
// its way there, and not at all where it never came.
func IncomingView(m *Message, r *Recipient, own *Delivery, chain []Delivery) (Folder, Flags) {
	audience := ShowRecipients
	if own.Step > 0 {
		audience = ShowAlternates
	}
	if m.Notice || m.Audience&audience == 0 {
		return FolderNone, 0
	}
	coming := own.State == Queued || own.State == Sending || own.State == Held
	if !coming && !own.State.Left() {
		return FolderNone, 0
	}
	f := commonFlags(m, own)
	if own.Step > 0 {
		f |= FlagFallback
	}
	if own.State == Acked {
		f |= FlagAnswered | FlagAcknowledged
	}
	if ackedByOther(own, chain) {
		f |= FlagAcknowledgedOther
	}
	if fate(r, chain) == Open {
		if coming {
			f |= FlagSeen // nothing to look at yet
		}
		return FolderOpen, f
	}
	return FolderSettled, f | FlagSettled | FlagSeen
}

func ackedByOther(own *Delivery, chain []Delivery) bool {
	for i := range chain {
		if chain[i].ID != own.ID && chain[i].State == Acked {
			return true
		}
	}
	return false
}

// commonFlags are those every audience may see. No program is to send a receipt
// for a report (RFC 3503).
func commonFlags(m *Message, d *Delivery) Flags {
	f := FlagMDNSent
	if m.Priority >= Urgent {
		f |= FlagFlagged | FlagUrgent
	}
	if d.Last.Sealed {
		f |= FlagEncrypted
	}
	return f
}
