//go:build wasip1

package toril

import (
	"fmt"
	"time"
	"unsafe"

	"toril/internal/host"
	"toril/internal/numbers"
	"toril/internal/values"
)

func readText(call func(ret unsafe.Pointer)) string {
	answer := host.Ask()
	defer answer.End()
	call(answer.At())
	return answer.Text(0)
}

func readOption(call func(ret unsafe.Pointer)) string {
	answer := host.Ask()
	defer answer.End()
	call(answer.At())
	text, _ := answer.Option(0)
	return text
}

// ask makes a call whose result is a `result<…, job-error>`, and reads the good case.
func ask(call func(ret unsafe.Pointer), read func(*host.Answer)) error {
	return askAt(4, call, read)
}

// askAt is for results whose good case begins elsewhere: 64 bits are aligned to 8.
func askAt(offset uintptr, call func(ret unsafe.Pointer), read func(*host.Answer)) error {
	answer := host.Ask()
	defer answer.End()
	call(answer.At())
	if answer.Byte(0) != 0 {
		return &Error{kinds[answer.Byte(offset)], answer.Text(offset + 4)}
	}
	read(answer)
	return nil
}

// askJSON makes a call whose argument and result are JSON.
func askJSON(what string, query, result any, call func(query string, ret unsafe.Pointer)) error {
	if query == nil {
		query = struct{}{}
	}
	text, err := toJSON("query", query)
	if err != nil {
		return err
	}
	var found string
	if err := ask(func(ret unsafe.Pointer) { call(text, ret) }, words(&found)); err != nil {
		return err
	}
	return bind(what, []byte(found), result)
}

func nothing(*host.Answer) {}

func words(into *string) func(*host.Answer) {
	return func(answer *host.Answer) { *into = answer.Text(4) }
}

func yes(into *bool) func(*host.Answer) {
	return func(answer *host.Answer) { *into = answer.Byte(4) != 0 }
}

func long(into *int) func(*host.Answer) {
	return func(answer *host.Answer) { *into = int(answer.Long(8)) }
}

func bind(what string, text []byte, into any) error {
	if err := numbers.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s does not fit: %w", what, err)
	}
	return nil
}

func toJSON(what string, value any) (string, error) {
	text, err := values.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("%s is not JSON: %w", what, err)
	}
	return host.Valid(string(text)), nil
}

func millis(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }
