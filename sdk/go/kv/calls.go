//go:build wasip1

package kv

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"toril"
	"toril/internal/host"
)

// The kinds of [Error]: `errors.Is(err, kv.ErrDenied)`.
var (
	// ErrDenied: the operator did not grant the store.
	ErrDenied = toril.ErrDenied
	// ErrInvalid: no store can have this name.
	ErrInvalid = toril.ErrInvalid
	// ErrFailed: the message says why, such as a limit of the operator, or that Redis did not answer.
	ErrFailed = errors.New("failed")
)

// Error says why a call on a store failed.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// The cases of `error` in `wasi:keyvalue`; the third has a text.
const (
	noSuchStore = iota
	accessDenied
)

func (s Store) errorAt(answer *host.Answer, offset uintptr) error {
	switch answer.Byte(offset) {
	case noSuchStore:
		return &Error{ErrInvalid, fmt.Sprintf("`%s` cannot be the name of a store", s.name)}
	case accessDenied:
		queue := (*toril.Job)(nil).QueueName()
		return &Error{ErrDenied, fmt.Sprintf("key-value store `%[1]s` was refused: not in grants.kv of queue `%[2]s`\n"+
			"hint: add `%[1]s` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it", s.name, queue)}
	}
	return &Error{ErrFailed, strings.Clone(answer.Text(offset + 4))}
}

// ask opens the store for one call: a handle of the host ends with the attempt, and opening one asks nobody.
func (s Store) ask(call func(bucket uint32, ret unsafe.Pointer), read func(*host.Answer)) error {
	return s.askAt(4, call, read)
}

// askAt is for results whose good case begins elsewhere: 64 bits are aligned to 8.
func (s Store) askAt(offset uintptr, call func(bucket uint32, ret unsafe.Pointer), read func(*host.Answer)) error {
	var bucket uint32
	err := s.call(4, func(ret unsafe.Pointer) { host.OpenBucket(s.name, ret) },
		func(answer *host.Answer) { bucket = answer.Word(4) })
	if err != nil {
		return err
	}
	defer host.DropBucket(bucket)
	return s.call(offset, func(ret unsafe.Pointer) { call(bucket, ret) }, read)
}

// call makes a call whose result is a `result<…, error>`, and reads the good case.
func (s Store) call(offset uintptr, call func(ret unsafe.Pointer), read func(*host.Answer)) error {
	answer := host.Ask()
	defer answer.End()
	call(answer.At())
	if answer.Byte(0) != 0 {
		return s.errorAt(answer, offset)
	}
	read(answer)
	return nil
}

func nothing(*host.Answer) {}

// textsOf leaves the texts where they are; who calls keeps them.
func textsOf(keys []string) (texts []host.Text, kept []string) {
	texts, kept = make([]host.Text, len(keys)), make([]string, len(keys))
	for n, key := range keys {
		kept[n] = host.Valid(key)
		texts[n] = host.TextOf(kept[n])
	}
	return texts, kept
}

// raw is a value as the host reads it, where it is.
func raw(value []byte) string { return unsafe.String(unsafe.SliceData(value), len(value)) }
