package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/message"
)

// Verb is what a response does.
type Verb string

// The verbs of Postern-On-Failure.
const (
	DoRetry     Verb = "retry"     // keep trying for Action.For before the failure counts
	DoAlternate Verb = "alternate" // start the next step that waits for fail
	DoNotify    Verb = "notify"    // tell the sender, or Action.To
	DoReturn    Verb = "return"    // tell the sender, with the content
	DoHold      Verb = "hold"      // hold for a person
)

// Action is one response to a failure.
type Action struct {
	Do  Verb          `json:"do"`
	For time.Duration `json:"for,omitempty"` // with DoRetry
	To  Address       `json:"to,omitzero"`   // with DoNotify: zero is the sender
}

// Response says what to do on the failures of some classes.
type Response struct {
	Classes []Class  `json:"classes"`
	Actions []Action `json:"actions"`
}

// Responses is the table of a recipient, in the order it was given. The sender's
// entries stand before the configuration's.
type Responses []Response

// Retry reports whether some class has patience of its own.
func (rs Responses) Retry() bool {
	return slices.ContainsFunc(rs, func(r Response) bool {
		return slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Do == DoRetry })
	})
}

// For returns the actions for f: those of the most specific class that matches it,
// and among equally specific ones those that stand first.
func (rs Responses) For(f Failure) ([]Action, bool) {
	best, found := rankNone, -1
	for i, r := range rs {
		for _, c := range r.Classes {
			if rank := c.match(f); rank > best {
				best, found = rank, i
			}
		}
	}
	if found < 0 {
		return nil, false
	}
	return rs[found].Actions, true
}

// DefaultResponses stand behind all others. The sender is told at the end of the
// chain, by NOTIFY (RFC 3461 section 4.1), and not at every failure on the way. No
// class but any is in it, so that no sender's entry is less specific than it.
//
//	any = alternate
func DefaultResponses() Responses {
	return Responses{{Classes: []Class{ClassAny}, Actions: []Action{{Do: DoAlternate}}}}
}

// The limits of one Postern-On-Failure field.
const (
	maxResponses = 32
	maxActions   = 8
)

// ParseResponses reads the value of Postern-On-Failure:
//
//	class[,class]=action[,action] [; …]
//
// The actions are retry(duration), alternate, notify, notify(address), return and
// hold. A parenthesis after retry or notify holds its argument; any other is a
// comment.
func ParseResponses(value string) (Responses, error) {
	entries, err := splitList(value, ';')
	if err != nil {
		return nil, err
	}
	var rs Responses
	for _, entry := range entries {
		if strings.TrimSpace(entry) == "" {
			continue // a semicolon at the end
		}
		if len(rs) == maxResponses {
			return nil, fmt.Errorf("more than %d responses", maxResponses)
		}
		r, err := parseResponse(entry)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	if rs == nil {
		return nil, errors.New("no response is given; write class=action, such as permanent=alternate,notify")
	}
	return rs, nil
}

func parseResponse(entry string) (Response, error) {
	sides, err := splitList(entry, '=')
	if err != nil {
		return Response{}, err
	}
	if len(sides) != 2 {
		return Response{}, fmt.Errorf("%s is no response; write class=action, such as permanent=alternate,notify", quoted(entry))
	}
	var r Response
	for name := range strings.SplitSeq(message.StripComments(sides[0]), ",") {
		c, err := ParseClass(name)
		if err != nil {
			return Response{}, err
		}
		r.Classes = append(r.Classes, c)
	}
	list, err := splitList(sides[1], ',')
	if err != nil {
		return Response{}, err
	}
	for _, text := range list {
		a, err := parseAction(text)
		if err != nil {
			return Response{}, err
		}
		if a.Do == DoRetry && slices.ContainsFunc(r.Actions, func(b Action) bool { return b.Do == DoRetry }) {
			return Response{}, errors.New("retry stands twice in one response")
		}
		r.Actions = append(r.Actions, a)
	}
	if len(r.Actions) > maxActions {
		return Response{}, fmt.Errorf("more than %d actions in one response", maxActions)
	}
	return r, nil
}

func parseAction(text string) (Action, error) {
	text = strings.TrimSpace(text)
	word, rest := text, ""
	if i := strings.IndexAny(text, "( \t"); i >= 0 {
		word, rest = text[:i], strings.TrimSpace(text[i:])
	}
	verb := Verb(strings.ToLower(word))
	switch verb {
	case DoRetry, DoNotify:
		arg, tail := cutParens(rest)
		if strings.TrimSpace(message.StripComments(tail)) != "" {
			return Action{}, fmt.Errorf("%s follows %s", quoted(tail), verb)
		}
		return withArgument(verb, strings.TrimSpace(arg))
	case DoAlternate, DoReturn, DoHold:
		if strings.TrimSpace(message.StripComments(rest)) != "" {
			return Action{}, fmt.Errorf("%s follows %s, which takes no argument", quoted(rest), verb)
		}
		return Action{Do: verb}, nil
	case "":
		return Action{}, errors.New("an action is missing after the = or a comma")
	}
	return Action{}, fmt.Errorf("%s is no action; write retry(4h), alternate, notify, notify(address), return or hold", quoted(text))
}

func withArgument(verb Verb, arg string) (Action, error) {
	if verb == DoRetry {
		d, err := ParseDuration(arg)
		if err != nil {
			return Action{}, fmt.Errorf("retry needs a duration, such as retry(4h): %w", err)
		}
		return Action{Do: DoRetry, For: d}, nil
	}
	if arg == "" {
		return Action{Do: DoNotify}, nil
	}
	to, err := ParseAddress(unbracket(arg))
	if err != nil {
		return Action{}, fmt.Errorf("notify(%s): %w", quoted(arg), err)
	}
	return Action{Do: DoNotify, To: to}, nil
}

// String writes rs as ParseResponses reads it.
func (rs Responses) String() string {
	entries := make([]string, len(rs))
	for i, r := range rs {
		entries[i] = r.String()
	}
	return strings.Join(entries, "; ")
}

// String writes r as Postern-On-Failure spells it.
func (r Response) String() string {
	classes := make([]string, len(r.Classes))
	for i, c := range r.Classes {
		classes[i] = string(c)
	}
	actions := make([]string, len(r.Actions))
	for i, a := range r.Actions {
		actions[i] = a.String()
	}
	return strings.Join(classes, ",") + "=" + strings.Join(actions, ",")
}

// String writes a as Postern-On-Failure spells it.
func (a Action) String() string {
	switch {
	case a.Do == DoRetry:
		return "retry(" + FormatDuration(a.For) + ")"
	case a.Do == DoNotify && !a.To.IsZero():
		return "notify(" + a.To.String() + ")"
	}
	return string(a.Do)
}
