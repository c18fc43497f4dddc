package routing

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseLocation reads a geo: URI (RFC 5870 section 3.3), such as
// "geo:48.2010,16.3695,183;u=40", and returns it with its scheme in lower case.
func ParseLocation(s string) (string, error) {
	fault := func(what string) (string, error) {
		return "", fmt.Errorf("%s %s; write it as in geo:48.2010,16.3695;u=40", quoted(s), what)
	}
	const scheme = "geo:"
	if len(s) > maxLabelText || len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return fault("is no geo: URI")
	}
	rest := s[len(scheme):]
	coordinates, params, _ := strings.Cut(rest, ";")
	numbers := strings.Split(coordinates, ",")
	if len(numbers) != 2 && len(numbers) != 3 {
		return fault("has neither two nor three coordinates")
	}
	values := make([]float64, len(numbers))
	for i, n := range numbers {
		v, ok := geoNumber(n)
		if !ok {
			return fault("has a coordinate that is not a decimal number")
		}
		values[i] = v
	}
	wgs84 := true
	if params != "" || strings.HasSuffix(rest, ";") {
		for i, param := range strings.Split(params, ";") {
			name, value, _ := strings.Cut(param, "=")
			name = strings.ToLower(name)
			switch {
			case !isToken(name) || strings.ContainsFunc(value, notParamChar):
				return fault("has a bad parameter")
			case name == "crs" && i > 0, name == "u" && i > 1:
				return fault("has crs or u out of place")
			case name == "crs":
				wgs84 = strings.EqualFold(value, "wgs84")
			case name == "u":
				if v, ok := geoNumber(value); !ok || v < 0 {
					return fault("has an uncertainty that is not a number of metres")
				}
			}
		}
	}
	// RFC 5870 section 3.4.2.
	if wgs84 && (math.Abs(values[0]) > 90 || math.Abs(values[1]) > 180) {
		return fault("is not on the globe: latitude is at most 90 degrees, longitude 180")
	}
	return scheme + rest, nil
}

// geoNumber reads coord-a of RFC 5870 section 3.3: no exponent, no plus sign.
func geoNumber(s string) (float64, bool) {
	whole, fraction, dot := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" || dot && fraction == "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// notParamChar reports whether r may not stand in pvalue of RFC 5870 section 3.3.
func notParamChar(r rune) bool {
	return r > '~' || r <= ' ' || strings.ContainsRune("\"#/<>?@\\^`{|},=", r)
}
