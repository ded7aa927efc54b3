//go:build wasip1

package toril

import (
	"context"
	"errors"
	"time"

	"toril/internal/host"
)

// How often the host is asked whether the job is cancelled while somebody waits for it.
const cancelPoll = 100 * time.Millisecond

// jobContext ends when the job is cancelled, its deadline is near or its lock is lost. It asks the host when it is asked
// itself; only who waits for `Done` needs a goroutine that asks now and then.
type jobContext struct {
	context.Context
	cancel  context.CancelCauseFunc
	watched bool
}

func newContext() (context.Context, func()) {
	inner, cancel := context.WithCancelCause(context.Background())
	return &jobContext{Context: inner, cancel: cancel}, func() { cancel(nil) }
}

func (c *jobContext) Err() error {
	if c.Context.Err() == nil && host.JobIsCancelled() {
		reason := (*Job)(nil).CancelReason()
		if reason == "" {
			reason = "the job's deadline is near"
		}
		c.cancel(errors.New(reason))
	}
	return c.Context.Err()
}

func (c *jobContext) Done() <-chan struct{} {
	done := c.Context.Done()
	if !c.watched {
		c.watched = true
		go c.watch(done)
	}
	return done
}

func (c *jobContext) watch(done <-chan struct{}) {
	for c.Err() == nil {
		select {
		case <-done:
		case <-time.After(cancelPoll):
		}
	}
}
