//go:build wasip1

package toril

import (
	"time"
	"unsafe"

	"toril/internal/host"
)

// Step runs a step and stores its value. If an earlier attempt has stored the value, it returns that value without running the step:
//
//	receipt, err := toril.Step(job, "charge", func() (string, error) { return charge(seat) })
//
// The value is stored in the job, as JSON, before Step returns. If the host dies before that, a later attempt runs the step again. If
// the step returns an error, Step returns that error and stores nothing. An attempt uses each name once.
func Step[T any](_ *Job, name string, run func() (T, error)) (value T, err error) {
	name = host.Valid(name)
	found, err := kept("kept value of a step", name, host.BeginStep, &value)
	if found || err != nil {
		return value, err
	}
	ran, err := run()
	if err != nil {
		return ran, err
	}
	text, err := keepAs("value of a step", name, ran, host.FinishStep)
	if err != nil {
		return ran, err
	}
	// As later attempts get it.
	return value, bind("kept value of a step", []byte(text), &value)
}

// Sleep delays the job for a time, counted from the first call of any attempt. Until the time is over it returns [DelayedError], which
// the processor must return: the job is delayed, and no attempt is spent.
func (*Job) Sleep(name string, duration time.Duration) error {
	name = host.Valid(name)
	var sleeps bool
	err := ask(func(ret unsafe.Pointer) { host.Sleep(name, millis(duration), ret) }, yes(&sleeps))
	if err == nil && sleeps {
		return DelayedError{}
	}
	return err
}

// The cases of `called` in `wit/steps.wit`.
const (
	calledWaits = iota
	calledCompleted
	calledFailed
)

// Call adds a job as a child of this one, once, and returns its value as T. Until the child has ended it returns
// [WaitingChildrenError], which the processor must return: the job waits, and no attempt is spent. If the child fails for good, Call
// returns a [CalledJobError].
//
// The host makes the child's id. If no option of the child says what its failure means for this job, this job continues and gets
// that error.
func Call[T any](_ *Job, name string, queue Queue, job NewJob) (value T, err error) {
	step := host.Valid(name)
	name, data, options, err := job.texts()
	if err != nil {
		return value, err
	}
	var called byte
	var text string
	err = ask(func(ret unsafe.Pointer) { host.Call(step, queue.Name, name, data, options, ret) },
		func(answer *host.Answer) {
			if called = answer.Byte(4); called != calledWaits {
				text = answer.Text(8)
			}
		})
	switch {
	case err != nil:
		return value, err
	case called == calledWaits:
		return value, WaitingChildrenError{}
	case called == calledFailed:
		return value, CalledJobError{text}
	}
	err = bind("value of the called job", []byte(text), &value)
	return value, err
}

// Cursor is the place in a long loop. A later attempt continues from the place that was stored last.
type Cursor[P any] struct {
	name  string
	place P
	found bool
}

// NewCursor begins a cursor:
//
//	cursor, err := toril.NewCursor[int](job, "rows")
//	if err != nil {
//		return err
//	}
//	for at := cursor.Place(); at < len(rows); at++ {
//		work(rows[at])
//		if err := cursor.Set(at + 1); err != nil {
//			return err
//		}
//	}
func NewCursor[P any](_ *Job, name string) (*Cursor[P], error) {
	cursor := &Cursor[P]{name: host.Valid(name)}
	var err error
	cursor.found, err = kept("kept place of a cursor", cursor.name, host.BeginCursor, &cursor.place)
	return cursor, err
}

// Place is the place that was stored last. Before the first one it is the zero value, and [Cursor.Found] is false.
func (c *Cursor[P]) Place() P { return c.place }

// Found tells whether a place was stored.
func (c *Cursor[P]) Found() bool { return c.found }

// Set stores a place at once, with one write to Redis.
func (c *Cursor[P]) Set(place P) error {
	_, err := keepAs("place of a cursor", c.name, place, host.SetCursor)
	if err == nil {
		c.place, c.found = place, true
	}
	return err
}

// kept begins a step and reads the value that an earlier attempt stored.
func kept(what, name string, begin func(name string, ret unsafe.Pointer), into any) (found bool, err error) {
	var text string
	err = ask(func(ret unsafe.Pointer) { begin(name, ret) },
		func(answer *host.Answer) { text, found = answer.Option(4) })
	if found {
		err = bind(what, []byte(text), into)
	}
	return found, err
}

// keepAs stores a value of a step, and returns its JSON.
func keepAs(what, name string, value any, keep func(name, value string, ret unsafe.Pointer)) (text string, err error) {
	if text, err = toJSON(what, value); err != nil {
		return "", err
	}
	return text, ask(func(ret unsafe.Pointer) { keep(name, text, ret) }, nothing)
}
