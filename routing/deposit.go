package routing

import "fmt"

// NewDeposit seals mail for a mailbox of an account. d, which may be nil, makes its digest.
func NewDeposit(v Vault, d Digester, account string, mail []byte) (*Deposit, error) {
	sealed, err := v.Wrap(SealedMail+account, mail)
	if err != nil {
		return nil, fmt.Errorf("seal mail: %w", err)
	}
	deposit := &Deposit{Account: account, Size: int64(len(mail)), Sealed: sealed}
	if d != nil {
		if deposit.Digest, err = d.Digest(account, mail); err != nil {
			return nil, fmt.Errorf("seal digest: %w", err)
		}
	}
	return deposit, nil
}
