//go:build wasip1

package toril

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"toril/internal/host"
)

// Job is the job of this attempt. Its methods are BullMQ's fields and functions. The host holds the job's lock.
type Job struct{}

// ID is the job's id.
func (*Job) ID() string { return readText(host.JobID) }

// Name is the job's name.
func (*Job) Name() string { return readText(host.JobName) }

// QueueName is the queue's name without the prefix.
func (*Job) QueueName() string { return readText(host.JobQueueName) }

// QueueQualifiedName is `prefix:queue`, the value for [Parent] of a child.
func (*Job) QueueQualifiedName() string { return readText(host.JobQueueQualifiedName) }

// Prefix is the prefix of the queue's keys.
func (j *Job) Prefix() string {
	return strings.TrimSuffix(j.QueueQualifiedName(), ":"+j.QueueName())
}

// Data is the data, as it is stored.
func (*Job) Data() json.RawMessage { return json.RawMessage(readText(host.JobData)) }

// Bind reads the data into v.
func (j *Job) Bind(v any) error { return bind("job data", j.Data(), v) }

// Data reads the data of a job as T.
func Data[T any](job *Job) (data T, err error) {
	err = job.Bind(&data)
	return data, err
}

// Opts are the options as they are stored, with BullMQ's short keys (`kl` is `keepLogs`).
func (*Job) Opts() json.RawMessage { return json.RawMessage(readText(host.JobOpts)) }

// AttemptsMade counts attempts that ended in completion or failure.
func (*Job) AttemptsMade() int { return int(host.JobAttemptsMade()) }

// AttemptsStarted counts how often the job was started, including this time.
func (*Job) AttemptsStarted() int { return int(host.JobAttemptsStarted()) }

// Timestamp is when the job was added.
func (*Job) Timestamp() time.Time { return time.UnixMilli(int64(host.JobTimestamp())) }

// ProcessedOn is when this attempt began.
func (*Job) ProcessedOn() time.Time { return time.UnixMilli(int64(host.JobProcessedOn())) }

// Delay is how long the job was delayed; 0 once it became due.
func (*Job) Delay() time.Duration { return time.Duration(host.JobDelay()) * time.Millisecond }

// Priority is 0 if the job has none; among prioritized jobs, 1 runs first.
func (*Job) Priority() int { return int(host.JobPriority()) }

// Progress is the progress as it is stored; it is 0 until somebody sets it.
func (*Job) Progress() json.RawMessage { return json.RawMessage(readText(host.JobProgress)) }

// ParentKey is `prefix:queue:id` of the parent, or empty.
func (*Job) ParentKey() string { return readOption(host.JobParentKey) }

// Parent is the parent's record (`id`, `queueKey` and the failure policy), or nil.
func (*Job) Parent() json.RawMessage {
	if record := readOption(host.JobParent); record != "" {
		return json.RawMessage(record)
	}
	return nil
}

// RepeatJobKey is the id of the scheduler that made the job, or empty.
func (*Job) RepeatJobKey() string { return readOption(host.JobRepeatJobKey) }

// StalledCounter counts how often the job returned to the queue because its worker had died.
func (*Job) StalledCounter() int { return int(host.JobStalledCounter()) }

// FailedReason is why the previous attempt failed, or empty.
func (*Job) FailedReason() string { return readOption(host.JobFailedReason) }

// DeduplicationID is the deduplication id that the job was added with, or empty.
func (*Job) DeduplicationID() string { return readOption(host.JobDeduplicationID) }

// Stacktrace has the stacks of failed attempts, newest last; the job keeps a limited number.
func (*Job) Stacktrace() []string {
	answer := host.Ask()
	defer answer.End()
	host.JobStacktrace(answer.At())
	return answer.Texts(0)
}

// UpdateData replaces the data at once: a retry or a resumed step sees the new data.
func (*Job) UpdateData(data any) error {
	text, err := toJSON("job data", data)
	if err != nil {
		return err
	}
	return ask(func(ret unsafe.Pointer) { host.JobUpdateData(text, ret) }, nothing)
}

// UpdateProgress stores the progress, a number or an object, and emits `progress`. The host does not wait for Redis: if
// Redis refuses it, the next UpdateProgress or Log returns the error.
func (*Job) UpdateProgress(progress any) error {
	text, err := toJSON("job progress", progress)
	if err != nil {
		return err
	}
	return ask(func(ret unsafe.Pointer) { host.JobUpdateProgress(text, ret) }, nothing)
}

// Log appends a line to the job's log, which dashboards show, and returns how many lines the log has.
func (*Job) Log(line string) (kept int, err error) {
	line = host.Valid(line)
	err = askAt(8, func(ret unsafe.Pointer) { host.JobLog(line, ret) }, long(&kept))
	return kept, err
}

// Logf formats a line as [fmt.Sprintf] does, and calls [Job.Log].
func (j *Job) Logf(format string, args ...any) (kept int, err error) {
	return j.Log(fmt.Sprintf(format, args...))
}

// MoveToDelayed delays the job until a time; no attempt is spent. Then return [DelayedError].
func (*Job) MoveToDelayed(until time.Time) error {
	at := uint64(max(0, until.UnixMilli()))
	return ask(func(ret unsafe.Pointer) { host.JobMoveToDelayed(at, ret) }, nothing)
}

// MoveToWaitingChildren makes the job wait for its children, or for one of them (`prefix:queue:id`). If it returns true, return
// [WaitingChildrenError]. If it returns false, no child is pending: continue.
func (*Job) MoveToWaitingChildren(child ...string) (waits bool, err error) {
	var key string
	if len(child) > 0 {
		key = host.Valid(child[0])
	}
	err = ask(func(ret unsafe.Pointer) { host.JobMoveToWaitingChildren(len(child) > 0, key, ret) }, yes(&waits))
	return waits, err
}

// MoveToWait returns the job to the front of its queue; no attempt is spent. Then return [WaitingError].
func (*Job) MoveToWait() error { return ask(host.JobMoveToWait, nothing) }

// ChildrenValues has the value of each child that completed, by its key (`prefix:queue:id`).
func (*Job) ChildrenValues() (values map[string]json.RawMessage, err error) {
	err = ask(host.JobChildrenValues, func(answer *host.Answer) {
		pairs := answer.Pairs(4)
		values = make(map[string]json.RawMessage, len(pairs))
		for _, pair := range pairs {
			values[pair[0]] = json.RawMessage(pair[1])
		}
	})
	return values, err
}

// ChildrenValues reads the value of each child that completed as T, by its key.
func ChildrenValues[T any](job *Job) (map[string]T, error) {
	texts, err := job.ChildrenValues()
	values := make(map[string]T, len(texts))
	for key, text := range texts {
		var value T
		if err := bind("child value", text, &value); err != nil {
			return nil, err
		}
		values[key] = value
	}
	return values, err
}

// FailedChildrenValues has the error of each child whose failure does not fail this job, by its key.
func (*Job) FailedChildrenValues() (reasons map[string]string, err error) {
	err = ask(host.JobFailedChildrenValues, func(answer *host.Answer) {
		pairs := answer.Pairs(4)
		reasons = make(map[string]string, len(pairs))
		for _, pair := range pairs {
			reasons[pair[0]] = pair[1]
		}
	})
	return reasons, err
}

// Dependencies reads the children by kind and page, as BullMQ's `getDependencies` does; the query and the result have its JSON. A
// nil query reads all.
func (*Job) Dependencies(query any, result any) error {
	return askJSON("dependencies", query, result, host.JobDependencies)
}

// DependencyCounts counts the children of a job by kind.
type DependencyCounts struct{ Processed, Unprocessed, Ignored, Failed int }

// DependenciesCount counts the children by kind.
func (*Job) DependenciesCount() (counts DependencyCounts, err error) {
	err = askJSON("dependency counts", nil, &counts, host.JobDependenciesCount)
	return counts, err
}

// RemoveUnprocessedChildren removes the children that have not started, and returns how many it removed.
func (*Job) RemoveUnprocessedChildren() (removed int, err error) {
	err = askAt(8, host.JobRemoveUnprocessedChildren, long(&removed))
	return removed, err
}

// RemoveChildDependency detaches this job from its parent, which runs if this was its last child. It returns false if the parent did
// not wait for this job.
func (*Job) RemoveChildDependency() (removed bool, err error) {
	err = ask(host.JobRemoveChildDependency, yes(&removed))
	return removed, err
}

// IsCancelled tells whether the job should stop, as its context does.
func (*Job) IsCancelled() bool { return host.JobIsCancelled() }

// CancelReason is why the job should stop; empty while nobody asked it to stop, even if its deadline is near.
func (*Job) CancelReason() string { return readOption(host.JobCancelReason) }

// AsParent names this job as the parent of another.
func (j *Job) AsParent() *Parent { return &Parent{ID: j.ID(), Queue: j.QueueQualifiedName()} }
