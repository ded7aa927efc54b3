//go:build wasip1

// Package toril is for BullMQ job processors in Go. A processor is a function that is called once per attempt of a job:
//
//	func main() {
//		toril.Serve(func(ctx context.Context, job *toril.Job) (any, error) {
//			var paint struct{ Walls int }
//			if err := job.Bind(&paint); err != nil {
//				return nil, err
//			}
//			return map[string]int{"cost": paint.Walls * 100}, nil
//		})
//	}
//
// The value is stored as JSON. An error fails the attempt, with its message as the reason. Some errors have a special meaning,
// anywhere in the chain ([UnrecoverableError], [DelayedError] and others). A panic fails the attempt, too.
package toril

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	// There are no files that time zones could be read from.
	_ "time/tzdata"
	"unsafe"

	"toril/internal/host"
	"toril/internal/values"
)

// Handler runs one attempt of a job.
type Handler func(ctx context.Context, job *Job) (any, error)

var (
	handler Handler
	byQueue = map[string]Handler{}
	warmups []func()
)

// Serve sets the processor, and returns at once: `main` runs when the component is built, and each job starts with the memory that
// `main` left.
func Serve(process Handler) { handler = process }

// ServeQueue sets the processor of one queue, for components that serve several.
func ServeQueue(queue string, process Handler) { byQueue[queue] = process }

// Warmup adds a function that runs when the component is built, after `main`: jobs find the values that it computed. While it runs,
// time stands still, the environment is empty, and random numbers are refused.
func Warmup(warmup func()) { warmups = append(warmups, warmup) }

//go:linkname mainMain main.main
func mainMain()

var started bool

// Of the snapshot: this is the last that runs when the component is built.
//
//go:wasmexport toril_start
func start() {
	if started {
		return
	}
	started = true
	// The first collection comes at 16 MiB: most jobs end before.
	debug.SetGCPercent(400)
	mainMain()
	for _, warmup := range warmups {
		warmup()
	}
	host.Prepare()
	warmJSON(new(any), map[string]any{"n": 1.5, "list": []any{"text", true, nil}})
	runtime.GC()
}

// Typed makes a [Handler] of a function that takes the job's data. It lets `encoding/json` see the types when the component is built,
// because the first value of a type takes ten times as long as the others.
func Typed[Data, Value any](process func(ctx context.Context, job *Job, data Data) (Value, error)) Handler {
	Warmup(func() { warmJSON(new(Data), *new(Value)) })
	return func(ctx context.Context, job *Job) (any, error) {
		var data Data
		if err := job.Bind(&data); err != nil {
			return nil, err
		}
		return process(ctx, job, data)
	}
}

// warmJSON lets the decoder and the encoder meet two types. Whether they fit is of no interest.
func warmJSON(into, value any) {
	json.Unmarshal([]byte(`{"n": 1.5, "list": ["text", true, null]}`), into)
	values.Marshal(value)
}

// What is returned must outlive the function.
var (
	result  [5]uint64
	keeping [2]string
)

//go:wasmexport process
func process() unsafe.Pointer {
	start()
	host.Restore()
	text, err := guarded(run)
	result = [5]uint64{}
	at := unsafe.Pointer(&result)
	if err == nil {
		put(at, 8, 0, string(text))
		return at
	}
	*(*byte)(at) = 1
	putFailure(unsafe.Add(at, 8), failureOf(err))
	return at
}

// guarded makes an error of a panic: also values and errors have methods that the program wrote.
func guarded[T any](work func() (T, error)) (done T, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = panicked(reason, debug.Stack())
		}
	}()
	return work()
}

// run is one attempt; it returns the value as JSON. Stacks of panics end where it begins.
//
//go:noinline
func run() ([]byte, error) {
	job := &Job{}
	process, err := handlerOf(job)
	if err != nil {
		return nil, err
	}
	ctx, done := newContext()
	defer done()
	value, err := process(ctx, job)
	if err != nil {
		return nil, err
	}
	return values.Marshal(value)
}

func handlerOf(job *Job) (Handler, error) {
	if len(byQueue) > 0 {
		queue := job.QueueName()
		if process := byQueue[queue]; process != nil {
			return process, nil
		}
		if handler == nil {
			return nil, fmt.Errorf("no processor for queue %q: `main` does not call `toril.ServeQueue` for it", queue)
		}
	}
	if handler == nil {
		return nil, errors.New("no processor: `main` does not call `toril.Serve`")
	}
	return handler, nil
}

func put(at unsafe.Pointer, offset uintptr, slot int, text string) {
	keeping[slot] = host.Valid(text)
	*(*host.Text)(unsafe.Add(at, offset)) = host.TextOf(keeping[slot])
}
