package routing

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"
)

// PasswordCost is what a password's hash costs with argon2id (RFC 9106). The zero
// PasswordCost is the first choice of the OWASP Password Storage Cheat Sheet:
// 19 MiB, 2 passes, 1 lane.
type PasswordCost struct {
	Memory uint32 // KiB
	Time   uint32 // passes
	Lanes  uint8
}

func (c PasswordCost) orDefault() PasswordCost {
	if c == (PasswordCost{}) {
		return PasswordCost{Memory: 19 << 10, Time: 2, Lanes: 1}
	}
	return c
}

const (
	saltLength = 16
	hashLength = 32
)

// HashPassword returns the hash of a password at the default cost, with a fresh
// salt, as a PHC string: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func HashPassword(password string, rand io.Reader) (string, error) {
	return PasswordCost{}.Hash(password, rand)
}

// Hash is HashPassword at cost c.
func (c PasswordCost) Hash(password string, rand io.Reader) (string, error) {
	c = c.orDefault()
	if password == "" {
		return "", errors.New("the password is empty")
	}
	if err := c.check(); err != nil {
		return "", err
	}
	salt := make([]byte, saltLength)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fmt.Errorf("draw a salt: %w", err)
	}
	hash := argon2.IDKey([]byte(password), salt, c.Time, c.Memory, c.Lanes, hashLength)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Lanes, encode(salt), encode(hash)), nil
}

// check keeps a hash from the disk within what a login may cost, and within what
// RFC 9106 section 3.1 allows.
func (c PasswordCost) check() error {
	if c.Time < 1 || c.Time > 64 || c.Lanes < 1 || c.Lanes > 64 || c.Memory < 8*uint32(c.Lanes) || c.Memory > 1<<20 {
		return fmt.Errorf("the cost m=%d,t=%d,p=%d of a password hash is out of range", c.Memory, c.Time, c.Lanes)
	}
	return nil
}

// waste takes the time that a check takes.
func (c PasswordCost) waste(password string) {
	c = c.orDefault()
	argon2.IDKey([]byte(password), make([]byte, saltLength), c.Time, c.Memory, c.Lanes, hashLength)
}

// CheckPassword reports whether hash is that of password. The error says what is
// wrong with the hash; it does not contain it.
func CheckPassword(hash, password string) (ok bool, err error) {
	c, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(password), salt, c.Time, c.Memory, c.Lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

func parseHash(s string) (c PasswordCost, salt, hash []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return c, nil, nil, errors.New("the password hash is not argon2id")
	}
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return c, nil, nil, fmt.Errorf("the password hash is not of argon2 version %d", argon2.Version)
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Lanes); err != nil || n != 3 {
		return c, nil, nil, errors.New("the password hash does not name its cost")
	}
	if err := c.check(); err != nil {
		return c, nil, nil, err
	}
	decode := base64.RawStdEncoding.Strict().DecodeString
	salt, err1 := decode(parts[4])
	hash, err2 := decode(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return c, nil, nil, errors.New("the password hash has no proper salt or hash")
	}
	return c, salt, hash, nil
}
