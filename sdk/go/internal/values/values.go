// Package values writes JSON as JavaScript does.
package values

import (
	"bytes"
	"encoding/json"
)

// Marshal writes a value as encoding/json does, but leaves `<`, `>` and `&` as they are.
func Marshal(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}
