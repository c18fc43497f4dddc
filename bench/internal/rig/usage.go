package rig

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has cost so far, those it started included.
type Usage struct {
	CPU     time.Duration
	Written int64 // octets that had to go to disk
}

// Sub returns what was spent since before.
func (u Usage) Sub(before Usage) Usage {
	return Usage{CPU: u.CPU - before.CPU, Written: u.Written - before.Written}
}

// tick is the unit of times in /proc/PID/stat (proc(5)); it has been 10 ms on Linux
// for as long as programs have relied on it.
const tick = 10 * time.Millisecond

// usageOf adds up what the process pid and its descendants have cost. Those that have
// ended are in the figures of the process that waited for them.
func usageOf(pid int) (Usage, error) {
	children, err := childrenByParent()
	if err != nil {
		return Usage{}, err
	}
	total, err := usageOfOne(pid)
	if err != nil {
		return Usage{}, err
	}
	for waiting := children[pid]; len(waiting) > 0; waiting = waiting[1:] {
		// One that has just ended is counted with its parent the next time.
		if u, err := usageOfOne(waiting[0]); err == nil {
			total.CPU += u.CPU
			total.Written += u.Written
		}
		waiting = append(waiting, children[waiting[0]]...)
	}
	return total, nil
}

func usageOfOne(pid int) (u Usage, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return u, err
	}
	// utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5).
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read times of process %d: %w", pid, err)
		}
		u.CPU += time.Duration(n) * tick
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return u, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if n, ok := strings.CutPrefix(s.Text(), "write_bytes: "); ok {
			u.Written, err = strconv.ParseInt(n, 10, 64)
		}
	}
	return u, err
}

// statFields returns the fields of /proc/PID/stat behind the name, which may hold
// spaces: the first is the state, field 3.
func statFields(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	return fields, nil
}

func childrenByParent() (map[int][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fields, err := statFields(pid)
		if err != nil {
			continue // it has ended
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	return children, nil
}

// Resident returns how much memory a process occupies, in octets, and how much it ever
// did.
func Resident(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return now, peak, nil
}
