package store

import (
	"strings"
	"testing"
)

func TestRefuseNetwork(t *testing.T) {
	if err := refuseNetwork(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := refuseNetwork(t.TempDir() + "/none"); err == nil {
		t.Error("a directory that is not there was taken")
	}
	for kind, name := range map[uint32]string{0x6969: "NFS", 0xFF534D42: "CIFS", 0xFE534D42: "SMB"} {
		if err := refuseType(kind); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "a disk of this machine") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []uint32{0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630} { // ext4, XFS, btrfs, tmpfs, overlay
		if err := refuseType(kind); err != nil {
			t.Errorf("%#x: %v", kind, err)
		}
	}
}
