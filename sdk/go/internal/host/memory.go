//go:build wasip1

// Package host calls the host by the canonical ABI: what is imported, how results lie in memory, and who keeps them alive.
package host

import (
	"runtime"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// The collector does not see what the host allocates here until it is a Go value: it is kept while calls are being made.
var (
	calls int
	kept  []unsafe.Pointer
)

// Not of WASI: the adapter has it. While the clock is held it asks nothing of the host.
//
//go:wasmimport wasi_snapshot_preview1 toril_hold_clock
//go:noescape
func holdClock(held bool)

//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

// The host asks for memory while it returns a result, and must not be called meanwhile. So the clock stands, and the
// collector, which would look at it, does not begin in a goroutine that is pinned.
//
//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	holdClock(true)
	procPin()
	words := make([]uint64, (size+7)/8)
	at := unsafe.Pointer(unsafe.SliceData(words))
	if old != nil && oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), min(oldSize, size)))
	}
	kept = append(kept, at)
	procUnpin()
	holdClock(false)
	return at
}

// Answer is where a function of the host puts its result.
type Answer struct{ words [8]uint64 }

// Ask begins a call; End ends it, after the result was read. The answer is on the heap: the stack may move while the host
// asks for memory.
func Ask() *Answer {
	calls++
	answer := new(Answer)
	sink = answer
	return answer
}

var sink *Answer

// End ends a call.
func (a *Answer) End() {
	runtime.KeepAlive(a)
	calls--
	if calls == 0 {
		clear(kept)
		kept = kept[:0]
		sink = nil
	}
}

// At is the address of the answer.
func (a *Answer) At() unsafe.Pointer { return unsafe.Pointer(a) }

// Byte reads a discriminant or a bool.
func (a *Answer) Byte(offset uintptr) byte { return *(*byte)(unsafe.Add(a.At(), offset)) }

// Word reads 32 bits.
func (a *Answer) Word(offset uintptr) uint32 { return *(*uint32)(unsafe.Add(a.At(), offset)) }

// Long reads 64 bits.
func (a *Answer) Long(offset uintptr) uint64 { return *(*uint64)(unsafe.Add(a.At(), offset)) }

// Text reads a string, which stays where the host put it.
func (a *Answer) Text(offset uintptr) string { return text(unsafe.Add(a.At(), offset)) }

// Option reads an `option<string>`.
func (a *Answer) Option(offset uintptr) (string, bool) {
	if a.Byte(offset) == 0 {
		return "", false
	}
	return a.Text(offset + 4), true
}

// Texts reads a `list<string>`.
func (a *Answer) Texts(offset uintptr) []string {
	at, count := a.list(offset)
	texts := make([]string, count)
	for n := range texts {
		texts[n] = text(unsafe.Add(at, 8*n))
	}
	return texts
}

// Pairs reads a `list<tuple<string, string>>`.
func (a *Answer) Pairs(offset uintptr) [][2]string {
	at, count := a.list(offset)
	pairs := make([][2]string, count)
	for n := range pairs {
		pairs[n] = [2]string{text(unsafe.Add(at, 16*n)), text(unsafe.Add(at, 16*n+8))}
	}
	return pairs
}

func (a *Answer) list(offset uintptr) (unsafe.Pointer, uint32) {
	return pointer(a.Word(offset)), a.Word(offset + 4)
}

func pointer(address uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(address)) }

func text(at unsafe.Pointer) string {
	address, length := *(*uint32)(at), *(*uint32)(unsafe.Add(at, 4))
	return unsafe.String((*byte)(pointer(address)), length)
}

// Text is a string as the host reads it in a list or a record.
type Text struct{ At, Length uint32 }

// TextOf leaves the string where it is; who calls keeps it.
func TextOf(s string) Text {
	return Text{uint32(uintptr(unsafe.Pointer(unsafe.StringData(s)))), uint32(len(s))}
}

// Keep holds what a call was given by its address.
func Keep[T any](err error, kept T) error {
	runtime.KeepAlive(kept)
	return err
}

// Valid is the text in UTF-8, which the host insists on.
func Valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
