package store

import (
	"fmt"
	"syscall"
)

// network are the file systems of other hosts, by what statfs(2) calls their type.
var network = map[uint32]string{
	0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB", 0x5346414F: "AFS",
}

// refuseNetwork refuses a directory that is on another host. The write-ahead log needs
// memory that all processes share, and locks that hold (sqlite.org/wal.html): over a network
// a second gateway could write to the same database, and both would lose mail.
func refuseNetwork(dir string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at the file system: %w", err)
	}
	return refuseType(uint32(s.Type))
}

func refuseType(t uint32) error {
	if name := network[t]; name != "" {
		return fmt.Errorf("it is on a network file system (%s), which cannot hold the database safely: use a disk of this machine", name)
	}
	return nil
}
