package routing

// Receipt is what a submission got: its id, and what the client should be told.
type Receipt struct {
	ID       MessageID
	Lowered  bool     // the priority was lowered to the account's cap: 2.3.6
	Warnings []string // fields that were ignored
}
