package imapd

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestRev2Client: a client that enables IMAP4rev2 and knows nothing of this server.
func TestRev2Client(t *testing.T) {
	st := newStreet(t)
	st.fake.deliver("alice", inbox, message1, 0)
	conn, err := tls.Dial("tcp", "localhost:"+st.tls, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(conn, nil)
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Login("alice", "secret").Wait())
	enabled, err := c.Enable(imap.CapIMAP4rev2).Wait()
	must(err)
	if !enabled.Caps.Has(imap.CapIMAP4rev2) {
		t.Fatal("not enabled")
	}
	const name = "Größe & Gewicht"
	must(c.Create(name, nil).Wait())
	boxes, err := c.List("", "Gr*", nil).Collect()
	must(err)
	if len(boxes) != 1 || boxes[0].Mailbox != name {
		t.Errorf("LIST: %+v", boxes)
	}
	a := c.Append(name, int64(len(message1)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}})
	_, err = io.WriteString(a, message1)
	must(err)
	must(a.Close())
	if data, err := a.Wait(); err != nil || data.UID != 1 {
		t.Errorf("APPEND: %+v, %v", data, err)
	}
	status, err := c.Status(name, &imap.StatusOptions{NumMessages: true, Size: true, NumDeleted: true}).Wait()
	must(err)
	if *status.NumMessages != 1 || *status.Size != int64(len(message1)) || *status.NumDeleted != 0 {
		t.Errorf("STATUS: %+v", status)
	}
	selected, err := c.Select(inbox, nil).Wait()
	must(err)
	if selected.NumMessages != 1 || selected.List == nil || selected.List.Mailbox != inbox {
		t.Errorf("SELECT: %+v", selected)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "FIRST"}}}, nil).Wait()
	must(err)
	if uids := found.AllUIDs(); len(uids) != 1 || uids[0] != 1 {
		t.Errorf("SEARCH: %+v", found)
	}
	messages, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Flags: true, Envelope: true,
		BinarySection:     []*imap.FetchItemBinarySection{{Part: []int{1}, Peek: true}},
		BinarySectionSize: []*imap.FetchItemBinarySectionSize{{Part: []int{1}}},
	}).Collect()
	must(err)
	if m := messages[0]; len(m.Flags) != 0 || m.Envelope.Subject != "First" || m.BinarySectionSize[0].Size != 13 ||
		!strings.HasPrefix(string(m.BinarySection[0].Bytes), "Hello Alice") {
		t.Errorf("FETCH: %+v", m)
	}
	moved, err := c.Move(imap.SeqSetNum(1), name).Wait()
	must(err)
	if moved.DestUIDs == nil {
		t.Errorf("MOVE: %+v", moved)
	}
	must(c.Unselect().Wait())
	must(c.Logout().Wait())
}
