package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// markName is the file that says how the database was left.
const markName = databaseName + "-mark"

// mark is a file of two records beside the database: the last event that was committed,
// written after every commit, and what the database's file looked like when this program
// last wrote to it. Neither is synced but at an orderly end: what a killed process wrote
// is there, and after a power failure, told by the number of the boot, it is not relied
// on. The records are text, each at its place:
//
//	event 00000000000000004711
//	{"inode":12,"size":409600,"modified":1764205380123456789,"state":"resting",…}
type mark struct {
	dir string

	mu    sync.Mutex
	f     *os.File
	event int64
	left  left

	copied bool // the database's file is another than the one it was written for, or it is missing
}

// left is how the database's file was left.
type left struct {
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	State    string `json:"state"`    // one of those below
	Boot     string `json:"boot"`     // of the kernel that wrote this
	Checked  int64  `json:"checked"`  // when all of it was last checked, seconds since 1970
	Suspect  bool   `json:"suspect"`  // it must be checked before it is used
}

// The states of the file.
const (
	writing = "writing" // the write-ahead log is being moved into it
	resting = "resting" // it is in use, and nobody writes to it
	ended   = "ended"   // it was closed in order, and is on disk
)

// The places of the records.
const (
	eventWidth = 32
	leftWidth  = 480
)

// openMark reads the mark in dir. found says that there was a whole one.
func openMark(dir string) (m *mark, found bool, err error) {
	m = &mark{dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, markName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if _, err := fmt.Fscanf(bytes.NewReader(text), "event %d\n", &m.event); err == nil && len(text) > eventWidth {
		found = json.Unmarshal(bytes.TrimSpace(text[eventWidth:]), &m.left) == nil
	}
	return m, found, nil
}

// begin has m written from now on. last is the last event on file.
func (m *mark) begin(last int64) (err error) {
	if m.f, err = os.OpenFile(filepath.Join(m.dir, markName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	m.event = -1
	return errors.Join(m.committed(last), m.note(resting))
}

// committed notes that the event was committed: it may not be missing after this.
func (m *mark) committed(event int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f == nil || event <= m.event {
		return nil
	}
	m.event = event
	_, err := m.f.WriteAt(fmt.Appendf(make([]byte, 0, eventWidth), "%-*s\n", eventWidth-1, fmt.Sprintf("event %020d", event)), 0)
	return err
}

// note writes what the database's file looks like now.
func (m *mark) note(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f == nil {
		return nil
	}
	now, err := look(m.dir)
	if err != nil {
		return err
	}
	now.State, now.Checked, now.Suspect = state, m.left.Checked, m.left.Suspect
	m.left = now
	if err := m.write(); err != nil || state != ended {
		return err
	}
	return synced(m.f.Sync())
}

// write writes the record of the file.
func (m *mark) write() error {
	text, err := json.Marshal(m.left)
	if err != nil {
		return err
	}
	_, err = m.f.WriteAt(fmt.Appendf(make([]byte, 0, leftWidth), "%-*s\n", leftWidth-1, text), eventWidth)
	return err
}

// checked notes that all of the database was found whole, and when.
func (m *mark) checked(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left.Checked, m.left.Suspect = at.Unix(), false
}

// suspect has the whole database checked before it is used again.
func (m *mark) suspect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left.Suspect = true
}

// age is how long ago all of the database was last checked.
func (m *mark) age(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Sub(time.Unix(m.left.Checked, 0))
}

// untouched reports whether the database's file is as this program left it, and if not,
// says why.
func (m *mark) untouched() (bool, string) {
	now, err := look(m.dir)
	if err != nil {
		return false, err.Error()
	}
	sameBoot := now.Boot != "" && now.Boot == m.left.Boot
	same := now.Inode == m.left.Inode && now.Size == m.left.Size && now.Modified == m.left.Modified
	switch {
	case m.left.Suspect:
		return false, "it was found damaged, or altered"
	case m.left.State == ended && same && now.State == ended:
		return true, ""
	case m.left.State == ended && same:
		return false, "there is a write-ahead log, and there should be none"
	case !sameBoot:
		return false, "the machine went down while it was in use, or it was moved"
	case m.left.State == writing && now.Inode == m.left.Inode:
		return true, "" // the process was killed while it wrote, and the log has it all
	case !same:
		return false, "something else has written to it"
	}
	return true, ""
}

// look looks at the database's file. The state is ended where there is no log.
func look(dir string) (left, error) {
	file := filepath.Join(dir, databaseName)
	info, err := os.Stat(file)
	if err != nil {
		return left{}, err
	}
	l := left{Size: info.Size(), Modified: info.ModTime().UnixNano(), State: resting, Boot: boot()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		l.Inode = s.Ino
	}
	if log, err := os.Stat(file + "-wal"); errors.Is(err, fs.ErrNotExist) || err == nil && log.Size() == 0 {
		l.State = ended
	}
	return l, nil
}

// boot tells one run of the kernel from another, "" where it cannot.
func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

func (m *mark) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f == nil {
		return nil
	}
	f := m.f
	m.f = nil
	return f.Close()
}
