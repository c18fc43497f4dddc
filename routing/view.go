package routing

// SenderView says where a delivery shows in its sender's status folders, and with
// which flags: a pure function of where it stands. FlagSeen is among the flags
// where nobody needs to look.
func SenderView(m *Message, d *Delivery) (Folder, Flags) { return FolderNone, 0 }

// IncomingView says where a message shows in the Status/Incoming folders of an
// account that it was sent to: own is the account's delivery, chain all deliveries
// of the same recipient, own included.
func IncomingView(m *Message, r *Recipient, own *Delivery, chain []Delivery) (Folder, Flags) {
	return FolderNone, 0
}
