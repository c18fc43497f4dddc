package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/message"
)

func (a *app) verifyStampCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify-stamp FILE…|-",
		Short: "Check that the stamps of messages follow on each other",
		Long: `Verify-stamp reads the stamps of messages and checks the chain of each account: every
stamp holds a number and the digest of the stamp before it, so that a missing message,
a changed stamp and a number given twice all show. The order of the files is all one.

A file is a decrypted message, or the part stamp.json of one, saved. A number that is
missing may have been a message to others: ask the sender. A stamp is worth as much as
the signature of its message: have your mail program or gpg verify that it is the
gateway's ("postern key show gateway" prints its fingerprint).

The exit status is 1 where anything is wrong.`,
		Example: `  postern verify-stamp stamp-1.json stamp-2.json
  gpg --decrypt message.asc | postern verify-stamp -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.verifyStamps(args) },
	}
}

func (a *app) verifyStamps(files []string) error {
	var stamps []*message.Stamp
	for _, file := range files {
		b, err := a.readFile(file)
		if err != nil {
			return err
		}
		s, err := message.FindStamp(b)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		stamps = append(stamps, s)
		a.printf("%s: number %d of the account %s at %s, id %s\n", file, s.Sequence, printable(s.Account), printable(s.Gateway), printable(s.ID))
	}
	found := message.VerifyChain(stamps)
	for _, f := range found {
		a.printf("%s: %s\n", f.Fault, f)
	}
	if len(found) > 0 {
		return errors.New("the chain of stamps does not hold")
	}
	a.printf("the stamps follow on each other\n")
	return nil
}
