//go:build wasip1

package toril

import (
	"time"
	"unsafe"

	"toril/internal/host"
)

// Step runs a step, or returns its value where an earlier attempt has run it:
//
//	receipt, err := toril.Step(job, "charge", func() (string, error) { return charge(seat) })
//
// The value is kept in the job, as JSON, before Step returns; what the step does may happen more than once, if the host dies
// before that. An error leaves as it is, and nothing is kept. An attempt uses each name once.
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

// Sleep lets time pass, from when an attempt first comes here. Meanwhile it returns [DelayedError], to leave the attempt with:
// the job is delayed, and no attempt is spent.
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

// Call adds a job as a child of this one, once, and returns its value as T. While the child runs, the error is
// [WaitingChildrenError], to leave the attempt with: no attempt is spent. A child that fails for good gives a [CalledJobError].
//
// The child's id is made by the host. Where its options do not say what its failure means for this job, this job goes on and
// learns of it.
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

// Cursor is a place in a long loop, which a later attempt finds again.
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

// Place is the place that was kept last. Before the first one it is the zero value, and [Cursor.Found] is false.
func (c *Cursor[P]) Place() P { return c.place }

// Found tells whether a place was kept.
func (c *Cursor[P]) Found() bool { return c.found }

// Set keeps a place, at once: one write to Redis.
func (c *Cursor[P]) Set(place P) error {
	_, err := keepAs("place of a cursor", c.name, place, host.SetCursor)
	if err == nil {
		c.place, c.found = place, true
	}
	return err
}

// kept begins a step and reads what an earlier attempt kept of it.
func kept(what, name string, begin func(name string, ret unsafe.Pointer), into any) (found bool, err error) {
	var text string
	err = ask(func(ret unsafe.Pointer) { begin(name, ret) },
		func(answer *host.Answer) { text, found = answer.Option(4) })
	if found {
		err = bind(what, []byte(text), into)
	}
	return found, err
}

// keepAs keeps something of a step, and returns it as JSON.
func keepAs(what, name string, value any, keep func(name, value string, ret unsafe.Pointer)) (text string, err error) {
	if text, err = toJSON(what, value); err != nil {
		return "", err
	}
	return text, ask(func(ret unsafe.Pointer) { keep(name, text, ret) }, nothing)
}
