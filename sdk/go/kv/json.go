//go:build wasip1

package kv

import (
	"fmt"

	"toril/internal/numbers"
	"toril/internal/values"
)

// Get reads the value of a key that is JSON. Found tells whether there is one.
func Get[T any](store Store, key string) (value T, found bool, err error) {
	text, found, err := store.Get(key)
	if found {
		err = fromJSON(key, text, &value)
	}
	return value, found, err
}

// Set writes a value as JSON, and replaces an earlier one.
func Set(store Store, key string, value any) error {
	text, err := toJSON(key, value)
	if err != nil {
		return err
	}
	return store.Set(key, text)
}

// Update is [Store.Update] of a value that is JSON. It returns what was written.
func Update[T any](store Store, key string, change func(current T, found bool) (T, error)) (value T, err error) {
	err = store.Update(key, func(text []byte, found bool) ([]byte, error) {
		var current T
		if found {
			if err := fromJSON(key, text, &current); err != nil {
				return nil, err
			}
		}
		var failed error
		if value, failed = change(current, found); failed != nil {
			return nil, failed
		}
		return toJSON(key, value)
	})
	return value, err
}

func fromJSON(key string, text []byte, into any) error {
	if err := numbers.Unmarshal(text, into); err != nil {
		return fmt.Errorf("value of `%s` does not fit: %w", key, err)
	}
	return nil
}

func toJSON(key string, value any) ([]byte, error) {
	text, err := values.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("value of `%s` is not JSON: %w", key, err)
	}
	return text, nil
}
