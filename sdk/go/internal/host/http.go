//go:build wasip1

package host

import (
	"context"
	"errors"
	"os"
	"time"
	"unsafe"
)

// Requests. A component imports these only where the package `fetch` is linked.

//go:wasmimport wasi:http/types@0.2.0 [constructor]fields
func NewFields() uint32

//go:wasmimport wasi:http/types@0.2.0 [method]fields.append
func FieldsAppend(fields uint32, name, value string, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]fields.entries
func FieldsEntries(fields uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]fields
func DropFields(fields uint32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-request
func NewRequest(headers uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.body
func RequestBody(request uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-method
func RequestSetMethod(request, method uint32, other string) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-path-with-query
func RequestSetPath(request uint32, some bool, path string) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-scheme
func RequestSetScheme(request uint32, some bool, scheme uint32, other string) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-authority
func RequestSetAuthority(request uint32, some bool, authority string) uint32

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]outgoing-request
func DropRequest(request uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-body.write
func BodyWrite(body uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]outgoing-body.finish
func BodyFinish(body uint32, some bool, trailers uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]outgoing-body
func DropOutgoingBody(body uint32)

//go:wasmimport wasi:http/outgoing-handler@0.2.0 handle
func Handle(request uint32, some bool, options uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.subscribe
func FutureSubscribe(future uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.get
func FutureGet(future uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-incoming-response
func DropFuture(future uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.status
func ResponseStatus(response uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.headers
func ResponseHeaders(response uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.consume
func ResponseConsume(response uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-response
func DropResponse(response uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-body.stream
func IncomingBodyStream(body uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-body
func DropIncomingBody(body uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.read
func StreamRead(stream uint32, length uint64, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.subscribe
func InputSubscribe(stream uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]input-stream
func DropInput(stream uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.check-write
func StreamCheckWrite(stream uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.write
func StreamWrite(stream uint32, contents string, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.flush
func StreamFlush(stream uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.subscribe
func OutputSubscribe(stream uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]output-stream
func DropOutput(stream uint32)

//go:wasmimport wasi:io/error@0.2.0 [method]error.to-debug-string
func ErrorText(err uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 http-error-code
func ErrorCode(err uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/error@0.2.0 [resource-drop]error
func DropError(err uint32)

// The adapter's number of the first pollable among file descriptors.
const firstPollable = 1024

// Wait lets other goroutines run until a pollable is ready, and drops it. Go's poller waits for it as for a file: the adapter
// knows the descriptor.
func Wait(ctx context.Context, pollable uint32) error {
	file := os.NewFile(uintptr(firstPollable+pollable), "pollable")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	asked := false
	err = conn.Read(func(uintptr) bool {
		ready := asked
		asked = true
		return ready
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}
