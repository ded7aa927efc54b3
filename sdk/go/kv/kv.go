//go:build wasip1

// Package kv has key-value stores that outlive the job: of the queue, or shared with others. The operator grants them in
// `grants.kv`; a component that links this package needs the grant.
//
//	store := kv.Open("default")
//	if err := store.Set("last-page", []byte(page)); err != nil {
//		return nil, err
//	}
//	pages, err := store.Increment("pages", 1)
//
// Values are bytes, keys are text of up to 512 bytes.
package kv

import (
	"iter"
	"unsafe"

	"toril/internal/host"
)

// Store is a store by its name. [Open] makes one.
type Store struct{ name string }

// Open names a store, without a call to the host. A grant without names grants one store, `default`.
func Open(name string) Store { return Store{host.Valid(name)} }

// Get reads the value of a key. Found tells whether there is one.
func (s Store) Get(key string) (value []byte, found bool, err error) {
	key = host.Valid(key)
	err = s.ask(func(bucket uint32, ret unsafe.Pointer) { host.BucketGet(bucket, key, ret) },
		func(answer *host.Answer) { value, found = answer.Bytes(4) })
	return value, found, err
}

// Set writes a value, and replaces an earlier one.
func (s Store) Set(key string, value []byte) error {
	key = host.Valid(key)
	return s.ask(func(bucket uint32, ret unsafe.Pointer) { host.BucketSet(bucket, key, raw(value), ret) }, nothing)
}

// Delete removes a key. A key without a value is not an error.
func (s Store) Delete(key string) error {
	key = host.Valid(key)
	return s.ask(func(bucket uint32, ret unsafe.Pointer) { host.BucketDelete(bucket, key, ret) }, nothing)
}

// Exists tells whether the key has a value.
func (s Store) Exists(key string) (exists bool, err error) {
	key = host.Valid(key)
	err = s.ask(func(bucket uint32, ret unsafe.Pointer) { host.BucketExists(bucket, key, ret) },
		func(answer *host.Answer) { exists = answer.Byte(4) != 0 })
	return exists, err
}

// Keys walks all keys, in the order of their bytes. They are read in parts of up to 1,000; an error ends the walk.
func (s Store) Keys() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		cursor, more := "", false
		for {
			var keys []string
			err := s.ask(func(bucket uint32, ret unsafe.Pointer) { host.BucketKeys(bucket, more, cursor, ret) },
				func(answer *host.Answer) {
					keys = answer.Texts(4)
					cursor, more = answer.Option(12)
				})
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// Increment adds to a number, and returns the sum; a key without a value counts as 0. Increments of several jobs add up, and an
// increment whose answer is lost is not counted twice. The value is decimal text.
func (s Store) Increment(key string, delta int64) (sum int64, err error) {
	key = host.Valid(key)
	err = s.askAt(8, func(bucket uint32, ret unsafe.Pointer) { host.Increment(bucket, key, delta, ret) },
		func(answer *host.Answer) { sum = int64(answer.Long(8)) })
	return sum, err
}

// GetMany reads the values of up to 1,000 keys with one call, in the order of the keys; nil for a key that has none.
func (s Store) GetMany(keys ...string) (values [][]byte, err error) {
	texts, kept := textsOf(keys)
	err = s.ask(func(bucket uint32, ret unsafe.Pointer) {
		host.GetMany(bucket, unsafe.Pointer(unsafe.SliceData(texts)), uint32(len(texts)), ret)
	}, func(answer *host.Answer) { values = answer.Values(4) })
	return values, host.Keep(err, kept)
}

// Entry is a key with its value.
type Entry struct {
	Key   string
	Value []byte
}

// SetMany writes up to 1,000 values with one call: all of them, or none if they do not fit.
func (s Store) SetMany(entries ...Entry) error {
	kept := make([]string, 0, 2*len(entries))
	for _, entry := range entries {
		kept = append(kept, host.Valid(entry.Key), raw(entry.Value))
	}
	texts := make([]host.Text, len(kept))
	for n, text := range kept {
		texts[n] = host.TextOf(text)
	}
	err := s.ask(func(bucket uint32, ret unsafe.Pointer) {
		host.SetMany(bucket, unsafe.Pointer(unsafe.SliceData(texts)), uint32(len(entries)), ret)
	}, nothing)
	return host.Keep(err, kept)
}

// DeleteMany removes up to 1,000 keys with one call.
func (s Store) DeleteMany(keys ...string) error {
	texts, kept := textsOf(keys)
	err := s.ask(func(bucket uint32, ret unsafe.Pointer) {
		host.DeleteMany(bucket, unsafe.Pointer(unsafe.SliceData(texts)), uint32(len(texts)), ret)
	}, nothing)
	return host.Keep(err, kept)
}
