package routing

import (
	"strconv"
	"time"
)

// Folder is one of the status folders of the mailbox view. The zero Folder is not
// shown.
type Folder uint8

// The status folders. Their numbers are stored.
const (
	FolderNone Folder = iota
	FolderQueued
	FolderHeld
	FolderSent
	FolderDelivered
	FolderRead
	FolderAcknowledged
	FolderFailed
	FolderExpired
	FolderCancelled
	FolderOpen    // Status/Incoming/Open
	FolderSettled // Status/Incoming/Settled
)

var folderNames = [...]string{
	FolderQueued: "Status/Queued", FolderHeld: "Status/Held", FolderSent: "Status/Sent", FolderDelivered: "Status/Delivered",
	FolderRead: "Status/Read", FolderAcknowledged: "Status/Acknowledged", FolderFailed: "Status/Failed",
	FolderExpired: "Status/Expired", FolderCancelled: "Status/Cancelled", FolderOpen: "Status/Incoming/Open",
	FolderSettled: "Status/Incoming/Settled",
}

// Folders lists the status folders in the order they are shown.
func Folders() []Folder {
	all := make([]Folder, 0, len(folderNames)-1)
	for f := FolderQueued; int(f) < len(folderNames); f++ {
		all = append(all, f)
	}
	return all
}

// String returns the mailbox name of f, "" for FolderNone.
func (f Folder) String() string {
	if int(f) < len(folderNames) {
		return folderNames[f]
	}
	return ""
}

// Mailbox is a folder of an account: a status folder, or an ordinary one.
type Mailbox struct {
	ID          int64
	Account     string
	Name        string // UTF-8, "/" between levels; INBOX in capitals
	Status      Folder // FolderNone for an ordinary, writable mailbox
	SpecialUse  string // RFC 6154 attribute such as `\Sent`, or ""
	Subscribed  bool
	UIDValidity uint32
	UIDNext     uint32
	Told        uint32 // the first UID that no session was told of, as far as is kept
	Messages    int
	Unseen      int
	Size        int64 // sum of the sizes that are known
	Unmeasured  int   // messages whose size is not known: only in a status folder
}

// Item is one line of a mailbox as a session's snapshot holds it.
type Item struct {
	UID   uint32
	Flags Flags
	// Keywords are the keywords a client set, sorted; nil on a status entry, whose
	// keywords follow from Flags.
	Keywords []string
	Date     time.Time // internal date
	Size     int64     // exact size in bytes; 0 on a status entry that was not measured
}

// Flags is a set of system flags and of the keywords this gateway gives meaning to.
type Flags uint32

// The flags. Their bits are stored.
const (
	FlagSeen Flags = 1 << iota
	FlagAnswered
	FlagFlagged
	FlagDeleted
	FlagDraft
	FlagMDNSent           // $MDNSent (RFC 3503)
	FlagUrgent            // keyword Urgent
	FlagFallback          // keyword Fallback: an alternate, or a delivery whose alternate was started
	FlagDelayed           // keyword Delayed
	FlagEncrypted         // keyword Encrypted
	FlagLate              // keyword Late
	FlagWarning           // keyword Warning
	FlagAcknowledged      // keyword Acknowledged: this account acknowledged it
	FlagSettled           // keyword Settled: the message needs nobody any more
	FlagAcknowledgedOther // keyword Acknowledged-By-Other
)

// ReaderFlags are those of a status entry that are its reader's to change. All others tell
// the state of the delivery.
const ReaderFlags = FlagSeen | FlagFlagged | FlagDeleted

// Deposit is a message for a mailbox of this gateway.
type Deposit struct {
	Account  string
	Mailbox  string // "INBOX" where empty
	Flags    Flags
	Keywords []string
	Date     time.Time // internal date; zero: the time of the commit
	Size     int64     // of the message before sealing
	Sealed   []byte    // the message, sealed by the spool key
	Digest   []byte    // what lists of mail show of it, sealed likewise; nil where nobody made it
	// Delivery is the delivery this is the copy of, 0 for none: \Seen, \Answered
	// and Acknowledged on it become events.
	Delivery DeliveryID
}

// News is what has become of a mailbox since somebody looked at it.
type News struct {
	// Whole says that all there is was told, and not what is new alone.
	Whole bool
	// Touched are the UIDs, ascending, of messages that were there and may have
	// changed: those of them that were not told have gone. Nil where Whole.
	Touched []uint32
	// Mark is where the next look begins.
	Mark int64
}

// Mail is a message of an ordinary mailbox as it is kept, or its digest: what lists of
// mail show of it.
type Mail struct {
	UID     uint32
	Content int64  // a number that copies of the message share
	Sealed  []byte // by the spool key; nil for a digest that nobody made
}

// Entry is what a status folder shows under one UID.
type Entry struct {
	UID    uint32
	Folder Folder
	Flags  Flags
	Date   time.Time // of the last visible change
	// Message is without Data, Head and Key. View is sealed.
	Message   Message
	Recipient Recipient
	Delivery  Delivery // as it stood at the entry's change
	// Others are the other deliveries of the same recipient, for the sender's eyes.
	Others []Delivery
	// Journey is what happened up to the change, oldest first: to the recipient's
	// whole chain in the sender's folders, to the own delivery alone in Incoming.
	Journey []Record
	// Event is the last event it tells of.
	Event int64
	// Settled is set in Incoming when the message needs nobody any more.
	Settled bool
	// Measure is what is known of how large it is when it is shown.
	Measure Measure
}

// Measure is how large an entry of a status folder is when it is shown, in octets, and
// what else whoever shows it keeps of that. The zero Measure is not known.
type Measure struct {
	UID   uint32
	Size  uint32
	Shape []byte
}

// FlagChange is one change of flags, as STORE asks for it (RFC 3501 section 6.4.6).
type FlagChange struct {
	Mode     FlagMode
	Flags    Flags
	Keywords []string
}

// FlagMode says how a FlagChange combines with the flags there are.
type FlagMode uint8

// The modes.
const (
	FlagsAdd FlagMode = iota
	FlagsRemove
	FlagsReplace
)

// Contexts under which things kept on disk are sealed by the spool key, so that no
// blob can be passed off as another.
const (
	SealedView     = "view"     // + message id: Message.View
	SealedHead     = "head"     // + message id: Message.Head
	SealedKey      = "key"      // + message id: Message.Key
	SealedMail     = "mail"     // + account name: a message in a mailbox
	SealedDigest   = "digest"   // + account name: Deposit.Digest
	SealedEvidence = "evidence" // + delivery id: a report as it came; see EvidenceContext
)

// EvidenceContext is what a report about a delivery is sealed under. store.DB.Reseal
// says the same in SQL.
func EvidenceContext(id DeliveryID) string {
	return SealedEvidence + strconv.FormatInt(int64(id), 10)
}
