//go:build wasip1

package fetch

import (
	"context"
	"errors"
	"io"
	"strings"
	"unsafe"

	"toril/internal/host"
)

// What is read or written at once.
const chunkBytes = 64 << 10

var errClosed = errors.New("stream is closed")

// upload writes a request's body and finishes it.
func upload(ctx context.Context, sink uint32, body io.Reader) error {
	stream := handle(host.BodyWrite, sink)
	err := writeAll(ctx, stream, body)
	host.DropOutput(stream)
	if err != nil {
		host.DropOutgoingBody(sink)
		return err
	}
	answer := host.Ask()
	defer answer.End()
	host.BodyFinish(sink, false, 0, answer.At())
	if answer.Byte(0) != 0 {
		return errorAt(answer, 8)
	}
	return nil
}

func writeAll(ctx context.Context, stream uint32, body io.Reader) error {
	buffer := make([]byte, chunkBytes)
	for {
		count, err := body.Read(buffer)
		if writing := write(ctx, stream, buffer[:count]); writing != nil {
			return writing
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func write(ctx context.Context, stream uint32, chunk []byte) error {
	for len(chunk) > 0 {
		room, err := room(stream)
		if err != nil {
			return err
		}
		if room == 0 {
			if err := host.Wait(ctx, host.OutputSubscribe(stream)); err != nil {
				return err
			}
			continue
		}
		part := chunk[:min(uint64(len(chunk)), room)]
		if err := did(func(ret unsafe.Pointer) {
			host.StreamWrite(stream, unsafe.String(unsafe.SliceData(part), len(part)), ret)
		}); err != nil {
			return err
		}
		chunk = chunk[len(part):]
	}
	return nil
}

func room(stream uint32) (uint64, error) {
	answer := host.Ask()
	defer answer.End()
	host.StreamCheckWrite(stream, answer.At())
	if answer.Byte(0) != 0 {
		return 0, streamError(answer, 8)
	}
	return answer.Long(8), nil
}

func did(call func(ret unsafe.Pointer)) error {
	answer := host.Ask()
	defer answer.End()
	call(answer.At())
	if answer.Byte(0) != 0 {
		return streamError(answer, 4)
	}
	return nil
}

// streamError reads a `stream-error`. One of a body has a code.
func streamError(answer *host.Answer, offset uintptr) error {
	if answer.Byte(offset) != 0 {
		return errClosed
	}
	failed := answer.Word(offset + 4)
	defer host.DropError(failed)
	text := host.Ask()
	defer text.End()
	host.ErrorText(failed, text.At())
	detail := strings.Clone(text.Text(0))
	code := host.Ask()
	defer code.End()
	host.ErrorCode(failed, code.At())
	if code.Byte(0) == 0 {
		return errors.New(detail)
	}
	return &Error{Code: codeAt(code, 8), Detail: detail}
}

// responseBody reads a response while it comes.
type responseBody struct {
	ctx                    context.Context
	stream, body, incoming uint32
	// What the next read returns, for good.
	err error
}

func (b *responseBody) Read(into []byte) (int, error) {
	for b.err == nil && len(into) > 0 {
		count, err := read(b.stream, into)
		if count > 0 {
			return count, nil
		}
		if err == nil {
			err = host.Wait(b.ctx, host.InputSubscribe(b.stream))
		}
		if errors.Is(err, errClosed) {
			err = io.EOF
		}
		b.err = err
	}
	return 0, b.err
}

func read(stream uint32, into []byte) (int, error) {
	answer := host.Ask()
	defer answer.End()
	host.StreamRead(stream, uint64(min(len(into), chunkBytes)), answer.At())
	if answer.Byte(0) != 0 {
		return 0, streamError(answer, 4)
	}
	return copy(into, answer.Text(4)), nil
}

// Close gives the rest of the response up.
func (b *responseBody) Close() error {
	if b.stream == 0 {
		return nil
	}
	host.DropInput(b.stream)
	host.DropIncomingBody(b.body)
	host.DropResponse(b.incoming)
	b.stream, b.err = 0, errors.New("body is closed")
	return nil
}
