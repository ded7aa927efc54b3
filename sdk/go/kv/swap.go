//go:build wasip1

package kv

import (
	"unsafe"

	"toril/internal/host"
)

// Update replaces a value by the one that change makes from it. If another job writes the key meanwhile, Update calls change again with
// the newer value, until its result can be written. If change returns an error, Update returns that error and writes nothing.
func (s Store) Update(key string, change func(current []byte, found bool) ([]byte, error)) error {
	key = host.Valid(key)
	var read uint32
	err := s.ask(func(bucket uint32, ret unsafe.Pointer) { host.NewCas(bucket, key, ret) },
		func(answer *host.Answer) { read = answer.Word(4) })
	for err == nil {
		var again bool
		if read, again, err = s.swap(read, change); !again {
			return err
		}
	}
	return err
}

// swap tries once. Again: somebody wrote since; the handle has read that. Any other end lets the handle go.
func (s Store) swap(read uint32, change func([]byte, bool) ([]byte, error)) (newer uint32, again bool, err error) {
	given := false
	defer func() {
		if !given {
			host.DropCas(read)
		}
	}()
	var current []byte
	var found bool
	answer := func(answer *host.Answer) { current, found = answer.Bytes(4) }
	if err = s.call(4, func(ret unsafe.Pointer) { host.CasCurrent(read, ret) }, answer); err != nil {
		return 0, false, err
	}
	value, err := change(current, found)
	if err != nil {
		return 0, false, err
	}
	given = true
	return s.write(read, value)
}

// write gives the handle to the host, which takes it however the swap ends.
func (s Store) write(read uint32, value []byte) (newer uint32, again bool, err error) {
	answer := host.Ask()
	defer answer.End()
	host.Swap(read, raw(value), answer.At())
	switch {
	case answer.Byte(0) == 0:
		return 0, false, nil
	case answer.Byte(4) == casFailed:
		return answer.Word(8), true, nil
	}
	return 0, false, s.errorAt(answer, 8)
}

// The case of `cas-error` for a value that somebody wrote meanwhile.
const casFailed = 1
