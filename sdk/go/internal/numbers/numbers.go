// Package numbers reads JSON that JavaScript wrote.
package numbers

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// Unmarshal reads JSON as encoding/json does, and a number beyond those of float64 as the largest one of the same sign: what
// JavaScript reads is an infinity, which is not JSON.
func Unmarshal(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	var misfit *json.UnmarshalTypeError
	if !errors.As(err, &misfit) {
		return err
	}
	if bounded := finite(text); bounded != nil {
		return json.Unmarshal(bounded, into)
	}
	return err
}

// finite is valid JSON with the largest float64 in place of each number beyond it; nil if there is no such number.
func finite(text []byte) (bounded []byte) {
	done, inString := 0, false
	for at := 0; at < len(text); at++ {
		switch c := text[at]; {
		case inString && c == '\\':
			at++
		case c == '"':
			inString = !inString
		case !inString && (c == '-' || '0' <= c && c <= '9'):
			length := len(text) - at
			if end := bytes.IndexAny(text[at:], ",]} \t\r\n"); end >= 0 {
				length = end
			}
			number, err := strconv.ParseFloat(string(text[at:at+length]), 64)
			if errors.Is(err, strconv.ErrRange) && math.IsInf(number, 0) {
				bounded = append(bounded, text[done:at]...)
				bounded = strconv.AppendFloat(bounded, math.Copysign(math.MaxFloat64, number), 'e', -1, 64)
				done = at + length
			}
			at += length - 1
		}
	}
	if done == 0 {
		return nil
	}
	return append(bounded, text[done:]...)
}
