package pgp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// twoForms returns two forms of one certificate: as it was made, and after change.
func twoForms(t *testing.T, config func(*packet.Config), change func(*openpgp.Entity, *packet.Config) error) (first, later []byte) {
	t.Helper()
	key := newKey(t, "bob@example.org", config, func(e *openpgp.Entity, c *packet.Config) (err error) {
		if first, err = serializePublic(e); err != nil {
			return err
		}
		at := *c
		at.Time = func() time.Time { return born.Add(24 * time.Hour) }
		return change(e, &at)
	})
	return first, key.public
}

// lastLonger adds to a certificate signatures that have it last for two years.
func lastLonger(e *openpgp.Entity, c *packet.Config) error {
	life := uint32(2 * 365 * 24 * time.Hour / time.Second)
	again := func(old *packet.Signature) *packet.Signature {
		sig := *old
		sig.CreationTime, sig.KeyLifetimeSecs = c.Now(), &life
		return &sig
	}
	for name, id := range e.Identities {
		sig := again(id.SelfCertifications[0].Packet)
		if err := sig.SignUserId(name, e.PrimaryKey, e.PrivateKey, c); err != nil {
			return err
		}
		id.SelfCertifications = append(id.SelfCertifications, packet.NewVerifiableSig(sig))
	}
	sub := &e.Subkeys[0]
	sig := again(sub.Bindings[0].Packet)
	if err := sig.SignKey(sub.PublicKey, e.PrivateKey, c); err != nil {
		return err
	}
	sub.Bindings = append(sub.Bindings, packet.NewVerifiableSig(sig))
	return nil
}

// TestRenew: a form found of a known certificate adds to it, and takes nothing away.
func TestRenew(t *testing.T) {
	revoke := func(e *openpgp.Entity, c *packet.Config) error { return e.Revoke(packet.KeyCompromised, "", c) }
	for _, test := range []struct {
		name   string
		config func(*packet.Config)
		change func(*openpgp.Entity, *packet.Config) error
		first  string // why the form before cannot be used
		later  string // nor the one after
	}{
		{"revoked", nil, revoke, "", "is revoked"},
		{"its subkey revoked", nil, func(e *openpgp.Entity, c *packet.Config) error {
			return e.Subkeys[0].Revoke(packet.KeyCompromised, "", c)
		},
			"", "is revoked"},
		{"another subkey", nil, func(e *openpgp.Entity, c *packet.Config) error { return e.AddEncryptionSubkey(c) }, "", ""},
		{"it lasts longer", seconds(time.Hour), lastLonger, "expired", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, later := twoForms(t, test.config, test.change)
			other := keyOf(t, "other").public
			both := Renew([][]byte{other, first}, later)
			if back := Renew([][]byte{later}, first); !bytes.Equal(both, back) && len(both) != len(back) {
				t.Errorf("the other way round it has %d octets, not %d", len(back), len(both))
			}
			if again := Renew([][]byte{both}, later); !bytes.Equal(again, both) {
				t.Errorf("what was known is added again")
			}
			for _, c := range []struct {
				name   string
				public []byte
				want   string
			}{{"first", first, test.first}, {"later", later, test.later}, {"renewed", both, test.later}, {"the old form found later", Renew([][]byte{both}, first), test.later}} {
				err := Usable(c.public, noon)
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", c.name, err, c.want)
				}
			}
		})
	}
	bob, other := keyOf(t, "bob").public, keyOf(t, "other").public
	for name, found := range map[string][]byte{"another key": other, "no key": []byte("<html>"), "nothing": nil} {
		if renewed := Renew([][]byte{bob}, found); renewed != nil {
			t.Errorf("%s was taken for the same", name)
		}
	}
	if renewed := Renew(nil, bob); renewed != nil {
		t.Error("what is not known was renewed")
	}
}

// FuzzRenew: whatever somebody without the key hands out, what is known stays what it is.
func FuzzRenew(f *testing.F) {
	bob, other := keyOf(f, "bob").public, keyOf(f, "other").public
	revoked := newKey(f, "other@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
		if err := e.Subkeys[0].Revoke(packet.KeyCompromised, "", c); err != nil {
			return err
		}
		return e.Revoke(packet.KeyCompromised, "", c)
	}).public
	mine, theirs := certPackets(f, bob), certPackets(f, revoked)
	f.Add(bob)
	f.Add(other)
	f.Add(revoked)
	for i := range mine {
		f.Add(bytes.Join(mine[:i], nil)) // what is left out is not taken away
		for _, foreign := range theirs {
			f.Add(slices.Concat(bytes.Join(mine[:i+1], nil), foreign, bytes.Join(mine[i+1:], nil)))
		}
	}
	f.Fuzz(func(t *testing.T, found []byte) {
		renewed := Renew([][]byte{bob}, found)
		if renewed == nil {
			return
		}
		if !bytes.Equal(renewed, bob) {
			t.Errorf("it has %d octets now, and had %d; %v", len(renewed), len(bob), Usable(renewed, noon))
		}
	})
}

// certPackets divides a certificate into its packets.
func certPackets(t testing.TB, public []byte) (packets [][]byte) {
	t.Helper()
	in := bytes.NewReader(public)
	for in.Len() > 0 {
		from := len(public) - in.Len()
		o := packet.NewOpaqueReader(in)
		if _, err := o.Next(); err != nil {
			t.Fatal(err)
		}
		packets = append(packets, public[from:len(public)-in.Len()])
	}
	return packets
}
