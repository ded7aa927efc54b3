//go:build wasip1

package toril

import (
	"encoding/json"
	"time"
)

// JobOptions are BullMQ's options of a job.
type JobOptions struct {
	JobID    string
	Delay    time.Duration
	Priority int
	Attempts int
	Backoff  *Backoff
	LIFO     bool
	// KeepLogs and StackTraceLimit limit how much of its log and of its stacks a job keeps.
	KeepLogs        int
	StackTraceLimit int
	// RemoveOnComplete and RemoveOnFail are true, a number of jobs to keep, or `map[string]any{"age": …, "count": …}`.
	RemoveOnComplete, RemoveOnFail any
	Parent                         *Parent
	Deduplication                  *Deduplication
	// What becomes of the parent when this child fails.
	FailParentOnFailure, ContinueParentOnFailure, IgnoreDependencyOnFailure, RemoveDependencyOnFailure bool
	// Others are options by BullMQ's names that are not above.
	Others map[string]any
}

// Parent names the parent of a job: [Job.AsParent].
type Parent struct {
	ID    string `json:"id"`
	Queue string `json:"queue"`
}

// Backoff is how long a job waits between attempts.
type Backoff struct {
	// Type is `fixed` or `exponential`.
	Type   string
	Delay  time.Duration
	Jitter float64
}

// Deduplication keeps further jobs with the same deduplication id from being added.
type Deduplication struct {
	ID  string
	TTL time.Duration
	// Extend and Replace make the time run anew, or the newer job take the place of the older one.
	Extend, Replace bool
}

type fields map[string]any

func (f fields) set(name string, value any, given bool) {
	if given {
		f[name] = value
	}
}

// MarshalJSON writes the options that are set, under BullMQ's names.
func (o JobOptions) MarshalJSON() ([]byte, error) {
	f := fields{}
	for name, value := range o.Others {
		f[name] = value
	}
	f.set("jobId", o.JobID, o.JobID != "")
	f.set("delay", o.Delay.Milliseconds(), o.Delay > 0)
	f.set("priority", o.Priority, o.Priority != 0)
	f.set("attempts", o.Attempts, o.Attempts != 0)
	f.set("backoff", o.Backoff, o.Backoff != nil)
	f.set("lifo", true, o.LIFO)
	f.set("keepLogs", o.KeepLogs, o.KeepLogs != 0)
	f.set("stackTraceLimit", o.StackTraceLimit, o.StackTraceLimit != 0)
	f.set("removeOnComplete", o.RemoveOnComplete, o.RemoveOnComplete != nil)
	f.set("removeOnFail", o.RemoveOnFail, o.RemoveOnFail != nil)
	f.set("parent", o.Parent, o.Parent != nil)
	f.set("deduplication", o.Deduplication, o.Deduplication != nil)
	f.set("failParentOnFailure", true, o.FailParentOnFailure)
	f.set("continueParentOnFailure", true, o.ContinueParentOnFailure)
	f.set("ignoreDependencyOnFailure", true, o.IgnoreDependencyOnFailure)
	f.set("removeDependencyOnFailure", true, o.RemoveDependencyOnFailure)
	return json.Marshal(f)
}

// MarshalJSON writes the delay in milliseconds.
func (b Backoff) MarshalJSON() ([]byte, error) {
	f := fields{"type": b.Type}
	f.set("delay", b.Delay.Milliseconds(), b.Delay > 0)
	f.set("jitter", b.Jitter, b.Jitter != 0)
	return json.Marshal(f)
}

// MarshalJSON writes the time in milliseconds.
func (d Deduplication) MarshalJSON() ([]byte, error) {
	f := fields{"id": d.ID}
	f.set("ttl", d.TTL.Milliseconds(), d.TTL > 0)
	f.set("extend", true, d.Extend)
	f.set("replace", true, d.Replace)
	return json.Marshal(f)
}
