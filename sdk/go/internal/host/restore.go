//go:build wasip1

package host

import (
	"os"
	"unsafe"
)

// A component is a snapshot of a runtime that has been initialised when it was built. What must differ between instances
// is set here, once in each. The names below are the runtime's own, of Go 1.24 to 1.27: link with `-checklinkname=0`.

var restored bool

// What hosts tell engines; the operator granted no such variables.
var forEngines = map[string]bool{"TORIL_MEMORY_BYTES_MAX": true, "TORIL_REUSE": true}

// Prepare runs when the component is built. It does what the first change of the environment would.
func Prepare() { os.Unsetenv("TORIL") }

// Restore makes a fresh instance its own: its random numbers, and the environment that the operator granted.
func Restore() {
	if restored {
		return
	}
	restored = true
	seedRandom()
	answer := Ask()
	defer answer.End()
	Environment(answer.At())
	for _, pair := range answer.Pairs(0) {
		if !forEngines[pair[0]] {
			os.Setenv(pair[0], pair[1])
		}
	}
}

// chacha is `internal/chacha8rand.State`.
type chacha struct {
	buffer  [32]uint64
	seed    [4]uint64
	i, n, c uint32
}

//go:linkname initChacha internal/chacha8rand.(*State).Init64
func initChacha(state *chacha, seed [4]uint64)

//go:linkname globalRandom runtime.globalRand
var globalRandom struct {
	lock  uintptr
	seed  [32]byte
	state chacha
	init  bool
}

// The only thread that there is.
//
//go:linkname thread runtime.m0
var thread byte

//go:linkname seedThread runtime.mrandinit
func seedThread(thread *byte)

//go:wasmimport wasi_snapshot_preview1 random_get
//go:noescape
func randomGet(at unsafe.Pointer, length uint32) uint32

// The runtime's generator gives `math/rand`, the seeds of maps and the order in which they are walked, and `select`.
func seedRandom() {
	var seed [4]uint64
	randomGet(unsafe.Pointer(&seed), uint32(unsafe.Sizeof(seed)))
	initChacha(&globalRandom.state, seed)
	seedThread(&thread)
}
