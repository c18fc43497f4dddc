package store

import "sync"

// directory remembers accounts, and whose an address is, so that a message costs no query
// for its sender and for each of its copies. It forgets all when anything may have
// changed: at every commit of this process that touches accounts or addresses, and when
// another process has committed, which is noticed within watchEvery.
type directory struct {
	mu       sync.Mutex
	changes  int                   // how often it has forgotten
	accounts map[string]accountRow // by name
	owners   map[string]string     // by routing.Address.Key: the account's name, "" where nobody here has the address
}

// maxDirectory is how many accounts, and how many addresses, are remembered.
const maxDirectory = 20_000

// account returns what is remembered of an account, and what since must be for remember.
func (d *directory) account(name string) (a accountRow, ok bool, since int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok = d.accounts[name]
	return a, ok, d.changes
}

// owner does the same for an address.
func (d *directory) owner(key string) (name string, ok bool, since int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, ok = d.owners[key]
	return name, ok, d.changes
}

// rememberAccount keeps what was read, unless it has been forgotten since.
func (d *directory) rememberAccount(a accountRow, since int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts == nil || len(d.accounts) >= maxDirectory {
		d.accounts = make(map[string]accountRow)
	}
	if d.changes == since {
		d.accounts[a.Name] = a
	}
}

// rememberOwner does the same for an address.
func (d *directory) rememberOwner(key, name string, since int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owners == nil || len(d.owners) >= maxDirectory {
		d.owners = make(map[string]string)
	}
	if d.changes == since {
		d.owners[key] = name
	}
}

// forget is called after the commit of a change, and before whoever made it is answered.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	d.accounts, d.owners = nil, nil
}
