# A session as Python's imaplib has it: everything a program does, in order.
import imaplib, ssl, sys

host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


# STARTTLS on the plain port, and a login that is refused before it.
m = imaplib.IMAP4(host, int(sys.argv[4]))
try:
    m.login("alice", "secret")
    raise AssertionError("a password was taken in clear")
except imaplib.IMAP4.error as e:
    assert "PRIVACYREQUIRED" in str(e) or "LOGINDISABLED" in str(e), e
ok(m.starttls(context))
ok(m.login("alice", "secret"))
m.logout()

m = imaplib.IMAP4_SSL(host, port, ssl_context=context)
ok(m.authenticate("PLAIN", lambda _: b"\0alice\0secret"))
m._get_capabilities()  # imaplib keeps those of the greeting
for cap in ("IMAP4REV1", "MOVE", "UIDPLUS", "IDLE", "SPECIAL-USE", "NAMESPACE", "ESEARCH"):
    assert cap in m.capabilities, (cap, m.capabilities)
ok(m.namespace())
names = [line.decode() for line in ok(m.list())]
assert any("Status/Queued" in n for n in names) and any("\\Trash" in n for n in names), names
ok(m.create("Work"))
ok(m.subscribe("Work"))
ok(m.rename("Work", "Jobs"))
for n in range(5):
    text = "From: p@example.com\r\nTo: alice@example.com\r\nSubject: Job %d\r\nDate: Tue, 24 Nov 2026 10:0%d:00 +0000\r\n\r\nDo it %d.\r\n" % (n, n, n)
    ok(m.append("Jobs", r"(\Seen todo)" if n % 2 else None, imaplib.Time2Internaldate(1795514400 + n), text.encode()))
assert ok(m.select("Jobs")) == [b"5"]
assert ok(m.search(None, "SUBJECT", '"Job 3"')) == [b"4"]
assert ok(m.uid("SEARCH", "KEYWORD", "todo")) == [b"2 4"]
data = ok(m.fetch("1:*", "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
assert len([d for d in data if isinstance(d, tuple)]) == 5, data
whole = ok(m.fetch("3", "(RFC822)"))
assert whole[0][1].endswith(b"Do it 2.\r\n"), whole
ok(m.store("3", "+FLAGS", r"(\Flagged)"))
assert ok(m.uid("SEARCH", "FLAGGED")) == [b"3"]
ok(m.copy("1", "Trash"))
ok(m.uid("MOVE", "5", "Trash"))
ok(m.store("1:2", "+FLAGS.SILENT", r"(\Deleted)"))
assert ok(m.expunge())[-2:] == [b"2", b"1"]
assert ok(m.status("Jobs", "(MESSAGES UNSEEN)")) == [b'"Jobs" (MESSAGES 2 UNSEEN 0)']
assert ok(m.status("Trash", "(MESSAGES)")) == [b'"Trash" (MESSAGES 2)']
ok(m.close())
ok(m.delete("Jobs"))

# The mailbox view: read an entry, recall a message by moving its entry.
assert ok(m.select("Status/Queued")) == [b"1"]
entry = ok(m.fetch("1", "(BODY.PEEK[])"))[0][1]
assert b"Not delivered to bob@ok.test yet" in entry, entry
answer = m.uid("MOVE", "101", "Status/Read")
assert answer[0] == "NO", answer
ok(m.uid("MOVE", "101", "Status/Cancelled"))
assert ok(m.select("Status/Cancelled")) == [b"1"]
ok(m.store("1", "+FLAGS", r"(\Deleted)"))
ok(m.expunge())
assert ok(m.select("Status/Cancelled")) == [b"0"]
ok(m.noop())
m.logout()
print("done")
