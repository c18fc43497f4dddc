package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// minPassword is how short a password may be, in bytes.
const minPassword = 8

// readPassword asks for a password: twice on a terminal, without echo; once where
// --password-file names a file, or "-" for standard input. A line end after it is
// cut off.
func (a *app) readPassword(file string) (string, error) {
	password, err := a.askPassword(file)
	if err != nil {
		return "", err
	}
	if len(password) < minPassword {
		return "", fmt.Errorf("the password is too short: use %d characters or more", minPassword)
	}
	if strings.ContainsAny(password, "\x00\r\n") {
		return "", errors.New("a password is one line of text")
	}
	return password, nil
}

func (a *app) askPassword(file string) (string, error) {
	switch file {
	case "":
	case "-":
		return firstLine(a.stdin)
	default:
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer f.Close()
		return firstLine(f)
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", errors.New("there is no terminal to ask for the password at: use --password-file FILE, or - for standard input")
	}
	first, err := a.hidden(in, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := a.hidden(in, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// hidden reads a line without echo.
func (a *app) hidden(in *os.File, prompt string) (string, error) {
	fmt.Fprint(a.stderr, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.stderr)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(b), nil
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// newPassword makes one that can be typed: 120 bits.
func newPassword() string { return strings.ToLower(rand.Text()[:24]) }
