//go:build wasip1

package toril

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// UnrecoverableError fails the job now, even if it has attempts left.
type UnrecoverableError struct{ Err error }

// Unrecoverable makes an [UnrecoverableError]; its arguments are those of [fmt.Errorf].
func Unrecoverable(format string, args ...any) error {
	return UnrecoverableError{fmt.Errorf(format, args...)}
}

func (e UnrecoverableError) Error() string {
	if e.Err == nil {
		return "unrecoverable"
	}
	return e.Err.Error()
}

// Unwrap returns the error that it was made from.
func (e UnrecoverableError) Unwrap() error { return e.Err }

// DelayedError ends an attempt after [Job.MoveToDelayed].
type DelayedError struct{}

func (DelayedError) Error() string { return "job was delayed" }

// WaitingChildrenError ends an attempt after [Job.MoveToWaitingChildren] returned true.
type WaitingChildrenError struct{}

func (WaitingChildrenError) Error() string { return "job waits for its children" }

// WaitingError ends an attempt after [Job.MoveToWait], or returns the job to the queue; no attempt is spent.
type WaitingError struct{}

func (WaitingError) Error() string { return "job goes back to wait" }

// RateLimitError limits the queue for this long and returns the job to it; no attempt is spent.
type RateLimitError struct{ For time.Duration }

func (RateLimitError) Error() string { return "queue is rate limited" }

// CalledJobError says why a job that [Call] added failed for good.
type CalledJobError struct{ Reason string }

func (e CalledJobError) Error() string { return e.Reason }

// The kinds of [Error]: `errors.Is(err, toril.ErrNotFound)`.
var (
	ErrNotFound    = errors.New("not found")
	ErrLockLost    = errors.New("lock lost")
	ErrNotInState  = errors.New("not in state")
	ErrChildFailed = errors.New("child failed")
	ErrDenied      = errors.New("denied")
	ErrLimit       = errors.New("limit reached")
	ErrInvalid     = errors.New("invalid")
	ErrUnavailable = errors.New("unavailable")
)

var kinds = [...]error{ErrNotFound, ErrLockLost, ErrNotInState, ErrChildFailed, ErrDenied, ErrLimit, ErrInvalid, ErrUnavailable}

// Error says why the host refused a call.
type Error struct {
	Kind    error
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// panicError holds the value that a goroutine panicked with.
type panicError struct {
	reason  any
	message string
	stack   string
}

func (e *panicError) Error() string { return e.message }

// Unwrap returns the error that it panicked with: it keeps its meaning.
func (e *panicError) Unwrap() error {
	err, _ := e.reason.(error)
	return err
}

func panicked(reason any, stack []byte) error {
	message := fmt.Sprint(reason)
	text := string(stack)
	// Above are the frames of `debug.Stack` and of the recovery.
	if first, rest, found := strings.Cut(text, "\npanic("); found {
		goroutine, _, _ := strings.Cut(first, "\n")
		_, below, _ := strings.Cut(rest, "\n")
		_, below, _ = strings.Cut(below, "\n")
		text = goroutine + "\n" + below
	}
	// Below is what called the processor, or the methods of its error.
	text, _, _ = strings.Cut(text, "\ntoril.run(")
	text, _, _ = strings.Cut(text, "\ntoril.read(")
	return &panicError{reason, message, "panic: " + message + "\n\n" + strings.TrimSpace(text)}
}

// find looks for an error of this type in the chain, by value and by pointer.
func find[T error](err error) (found T, ok bool) {
	if errors.As(err, &found) {
		return found, true
	}
	var pointer *T
	if errors.As(err, any(&pointer)) && pointer != nil {
		return *pointer, true
	}
	return found, false
}

func has[T error](err error) bool {
	_, ok := find[T](err)
	return ok
}

// The cases of `failure` in `wit/jobs.wit`.
const (
	failed = iota
	unrecoverable
	delayed
	waitingChildren
	waiting
	rateLimited
)

// failure is what an attempt ended with.
type failure struct {
	kind           byte
	limit          uint64
	message, stack string
}

// failureOf reads an error. If its own methods panic, that is the failure.
func failureOf(err error) failure {
	found, broken := guarded(func() (failure, error) { return read(err), nil })
	if broken != nil {
		return failure{kind: failed, message: broken.Error(), stack: stackOf(broken)}
	}
	return found
}

//go:noinline
func read(err error) failure {
	if limit, ok := find[RateLimitError](err); ok {
		return failure{kind: rateLimited, limit: millis(limit.For)}
	}
	switch {
	case has[DelayedError](err):
		return failure{kind: delayed}
	case has[WaitingChildrenError](err):
		return failure{kind: waitingChildren}
	case has[WaitingError](err):
		return failure{kind: waiting}
	}
	kind := byte(failed)
	if has[UnrecoverableError](err) || errors.Is(err, ErrChildFailed) {
		kind = unrecoverable
	}
	// Here, not in a function of its own: the stack of a method that panics ends at this one.
	message := err.Error()
	if wantedSocket(err) {
		message += noSockets
	}
	return failure{kind: kind, message: message, stack: stackOf(err)}
}

// putFailure writes a `failure`.
func putFailure(at unsafe.Pointer, f failure) {
	*(*byte)(at) = f.kind
	switch f.kind {
	case rateLimited:
		*(*uint64)(unsafe.Add(at, 8)) = f.limit
	case failed, unrecoverable:
		put(at, 8, 0, f.message)
		*(*byte)(unsafe.Add(at, 16)) = 1
		put(at, 20, 1, f.stack)
	}
}

const noSockets = "\nhint: a processor in Go has no sockets; requests over HTTP need `import _ \"toril/fetch\"` in the program"

// wantedSocket looks for an error of the package `net` in the tree. That package is not imported here: it would make each
// component larger.
func wantedSocket(err error) bool {
	if kind := fmt.Sprintf("%T", err); kind == "*net.OpError" || kind == "*net.DNSError" {
		return true
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return wantedSocket(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), wantedSocket)
	}
	return false
}

// stackOf writes an error the way a stack reads: that of a panic, what the error itself shows with `%+v`, or its causes.
func stackOf(err error) string {
	var panicked *panicError
	if errors.As(err, &panicked) {
		return panicked.stack
	}
	message := err.Error()
	if long := fmt.Sprintf("%+v", err); long != message && strings.Contains(long, "\n") {
		return "Error: " + long
	}
	stack := "Error: " + message
	for err = errors.Unwrap(err); err != nil; err = errors.Unwrap(err) {
		if cause := err.Error(); cause != message {
			stack += "\n    caused by: " + cause
			message = cause
		}
	}
	return stack
}
