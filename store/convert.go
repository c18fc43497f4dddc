package store

import (
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"time"
)

// milliseconds stores a time: NULL where it is zero.
func milliseconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// truncate brings t to what the database can hold.
func truncate(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// timeOf reads a time that milliseconds stored.
type timeOf struct{ to *time.Time }

func (s timeOf) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s.to = time.Time{}
	case int64:
		*s.to = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("%T is not a time", v)
	}
	return nil
}

// textOf reads what MarshalText wrote; the empty text leaves the value as it is.
type textOf struct{ to encoding.TextUnmarshaler }

func (s textOf) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%T is not a text", v)
	}
	if text == "" {
		return nil
	}
	return s.to.UnmarshalText([]byte(text))
}

// jsonText stores v as JSON.
type jsonText struct{ v any }

func (j jsonText) Value() (driver.Value, error) {
	b, err := json.Marshal(j.v)
	return string(b), err
}

// jsonOf reads what jsonText stored; the empty text leaves the value as it is.
type jsonOf struct{ to any }

func (s jsonOf) Scan(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("%T is not a text", v)
	}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), s.to)
}

// idOf stores the key of another row: NULL where it is 0.
func idOf(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

// blob stores bytes that are never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
