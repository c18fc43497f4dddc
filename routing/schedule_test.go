package routing

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseSchedule(t *testing.T) {
	for _, c := range []struct {
		in, out string
		waits   []time.Duration // after the first try, the second, …
	}{
		{"1m, 5m*2, 15m*4, 1h*", "1m, 5m*2, 15m*4, 1h*", []time.Duration{time.Minute, 5 * time.Minute, 5 * time.Minute, 15 * time.Minute,
			15 * time.Minute, 15 * time.Minute, 15 * time.Minute, time.Hour, time.Hour, time.Hour}},
		{"30s", "30s*", []time.Duration{30 * time.Second, 30 * time.Second}},
		{"1m,1h*3", "1m, 1h*", []time.Duration{time.Minute, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}},
		{" 60s * 2 , 1D12H * ", "1m*2, 1d12h*", []time.Duration{time.Minute, time.Minute, 36 * time.Hour}},
	} {
		s, err := ParseSchedule(c.in)
		if err != nil || s.String() != c.out {
			t.Errorf("ParseSchedule(%q) = %v, %v, want %s", c.in, s, err, c.out)
			continue
		}
		for i, want := range c.waits {
			if got := s.Wait(i + 1); got != want {
				t.Errorf("%q: Wait(%d) = %v, want %v", c.in, i+1, got, want)
			}
		}
		if s.Wait(0) != c.waits[0] || s.Wait(1<<62) != c.waits[len(c.waits)-1] {
			t.Errorf("%q: Wait(0) = %v, Wait(1<<62) = %v", c.in, s.Wait(0), s.Wait(1<<62))
		}
	}
	for _, in := range []string{"", " ", ",", "1m,", "*", "1m*, 5m", "1m*0, 5m", "1m*-1, 5m", "1m*x", "1m*1000001, 2m", "1m**", "5", "1m;2m", "0s", "367d"} {
		if s, err := ParseSchedule(in); err == nil {
			t.Errorf("ParseSchedule(%q) = %v, want an error", in, s)
		}
	}
}

func TestZeroSchedule(t *testing.T) {
	if got := Schedule(nil).Wait(3); got != 30*time.Minute {
		t.Errorf("Wait = %v: a schedule that nobody gave must not make for a busy loop", got)
	}
	var s Schedule
	if err := s.UnmarshalText(nil); err != nil || s != nil {
		t.Errorf("UnmarshalText: %v, %v", s, err)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "10m": 10 * time.Minute, "4h": 4 * time.Hour, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour,
		" 1D2H3M4S ": 26*time.Hour + 3*time.Minute + 4*time.Second, "366d": 366 * 24 * time.Hour, "90m": 90 * time.Minute, "0d1s": time.Second,
	} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", " ", "s", "5", "0s", "0d0h", "-5m", "+5m", "1.5h", "5 m", "5m 3s", "5ms", "5w", "5m5m", "5m1h", "1h1d", "367d",
		"366d1s", "99999999999999999999d", "9223372036854775807s", "106751d", "5µs", "１m", "1h\x00"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseWhen(t *testing.T) {
	for in, want := range map[string]time.Time{
		"2h":                                    noon.Add(2 * time.Hour),
		"Tue, 24 Nov 2026 18:00:00 +0100":       noon.Add(5 * time.Hour),
		"24 Nov 2026 18:00 +0000":               noon.Add(6 * time.Hour),
		"Tue, 24 Nov 2026 18:00:00 +0100 (CET)": noon.Add(5 * time.Hour),
		"24 Nov 26 18:00 GMT":                   noon.Add(6 * time.Hour),
	} {
		if got, err := ParseWhen(in, noon); err != nil || !got.Equal(want) {
			t.Errorf("ParseWhen(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "tomorrow", "2026-11-24", "31 Feb 2026 10:00:00 +0000", "400d", "0s", "18:00"} {
		if got, err := ParseWhen(in, noon); err == nil {
			t.Errorf("ParseWhen(%q) = %v, want an error", in, got)
		}
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(366*day/time.Second)).Draw(t, "seconds")) * time.Second
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is written %q and read back as %v, %v", d, FormatDuration(d), got, err)
		}
	})
}

func FuzzParseSchedule(f *testing.F) {
	for _, seed := range []string{"1m, 5m*2, 15m*4, 1h*", "1s", "1d12h*", "1m*999999,2m", "0s*", "*,*", "366d*1000000, 366d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSchedule(in)
		if err != nil {
			return
		}
		again, err := ParseSchedule(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is written %q and read back as %q, %v", in, s, again, err)
		}
		for _, n := range []int{-1, 0, 1, 2, 100, 1 << 30} {
			if w := s.Wait(n); w < time.Second || w > 366*day || w != again.Wait(n) {
				t.Fatalf("%q: Wait(%d) = %v, read back %v", in, n, w, again.Wait(n))
			}
		}
	})
}
