//go:build wasip1

package host

import "unsafe"

// Key-value stores. A component imports these only where the package `kv` is linked.

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 open
func OpenBucket(name string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [resource-drop]bucket
func DropBucket(bucket uint32)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [method]bucket.get
func BucketGet(bucket uint32, key string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [method]bucket.set
func BucketSet(bucket uint32, key, value string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [method]bucket.delete
func BucketDelete(bucket uint32, key string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [method]bucket.exists
func BucketExists(bucket uint32, key string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/store@0.2.0-draft2 [method]bucket.list-keys
func BucketKeys(bucket uint32, some bool, cursor string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/atomics@0.2.0-draft2 increment
func Increment(bucket uint32, key string, delta int64, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/atomics@0.2.0-draft2 [static]cas.new
func NewCas(bucket uint32, key string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/atomics@0.2.0-draft2 [method]cas.current
func CasCurrent(cas uint32, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/atomics@0.2.0-draft2 [resource-drop]cas
func DropCas(cas uint32)

//go:wasmimport wasi:keyvalue/atomics@0.2.0-draft2 swap
func Swap(cas uint32, value string, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/batch@0.2.0-draft2 get-many
func GetMany(bucket uint32, keys unsafe.Pointer, count uint32, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/batch@0.2.0-draft2 set-many
func SetMany(bucket uint32, entries unsafe.Pointer, count uint32, ret unsafe.Pointer)

//go:wasmimport wasi:keyvalue/batch@0.2.0-draft2 delete-many
func DeleteMany(bucket uint32, keys unsafe.Pointer, count uint32, ret unsafe.Pointer)

// Bytes reads an `option<list<u8>>`. The bytes stay where the host put them.
func (a *Answer) Bytes(offset uintptr) (value []byte, found bool) {
	return bytesAt(unsafe.Add(a.At(), offset))
}

// Values reads the values of a `list<tuple<string, option<list<u8>>>>`; nil for a key that has none.
func (a *Answer) Values(offset uintptr) [][]byte {
	at, count := a.list(offset)
	values := make([][]byte, count)
	for n := range values {
		values[n], _ = bytesAt(unsafe.Add(at, 20*n+8))
	}
	return values
}

// A value that is there is never nil, if it is empty.
func bytesAt(at unsafe.Pointer) (value []byte, found bool) {
	if *(*byte)(at) == 0 {
		return nil, false
	}
	address, length := *(*uint32)(unsafe.Add(at, 4)), *(*uint32)(unsafe.Add(at, 8))
	if length == 0 {
		return []byte{}, true
	}
	return unsafe.Slice((*byte)(pointer(address)), length), true
}
