//go:build wasip1

package toril

import (
	"encoding/json"
	"time"
	"unsafe"

	"toril/internal/host"
)

// Queue is a queue by its name without the prefix. The operator grants it in `grants.queues`.
type Queue struct{ Name string }

// NewQueue names a queue.
func NewQueue(name string) Queue { return Queue{host.Valid(name)} }

// NewJob is a job to add.
type NewJob struct {
	Name string
	Data any
	Opts *JobOptions
}

func (j NewJob) texts() (name, data, options string, err error) {
	if data, err = toJSON("job data", j.Data); err != nil {
		return
	}
	opts := j.Opts
	if opts == nil {
		opts = &JobOptions{}
	}
	options, err = toJSON("job options", opts)
	return host.Valid(j.Name), data, options, err
}

// Add adds a job and returns its id. If a job with this [JobOptions.JobID] exists, no job is added, and the existing one becomes a
// child of the given parent.
func (q Queue) Add(name string, data any, opts ...JobOptions) (id string, err error) {
	job := NewJob{Name: name, Data: data}
	if len(opts) > 0 {
		job.Opts = &opts[0]
	}
	name, text, options, err := job.texts()
	if err != nil {
		return "", err
	}
	err = ask(func(ret unsafe.Pointer) { host.Add(q.Name, name, text, options, ret) }, words(&id))
	return id, err
}

// AddBulk adds jobs, all or none, and returns their ids.
func (q Queue) AddBulk(jobs []NewJob) (ids []string, err error) {
	kept := make([]string, 0, 3*len(jobs))
	raw := make([]host.Text, 0, 3*len(jobs))
	for _, job := range jobs {
		name, data, options, err := job.texts()
		if err != nil {
			return nil, err
		}
		kept = append(kept, name, data, options)
	}
	for _, text := range kept {
		raw = append(raw, host.TextOf(text))
	}
	err = ask(func(ret unsafe.Pointer) {
		host.AddBulk(q.Name, unsafe.Pointer(unsafe.SliceData(raw)), uint32(len(jobs)), ret)
	}, func(answer *host.Answer) { ids = answer.Texts(4) })
	return ids, host.Keep(err, kept)
}

// State is completed, failed, delayed, prioritized, active, waiting, waiting-children or unknown.
func (q Queue) State(id string) (state string, err error) {
	id = host.Valid(id)
	err = ask(func(ret unsafe.Pointer) { host.State(q.Name, id, ret) }, words(&state))
	return state, err
}

// Remove removes a job and its children. If one of them is active, nothing is removed.
func (q Queue) Remove(id string) error {
	id = host.Valid(id)
	return ask(func(ret unsafe.Pointer) { host.Remove(q.Name, id, true, ret) }, nothing)
}

// ChangeDelay makes a delayed job due this long from now.
func (q Queue) ChangeDelay(id string, delay time.Duration) error {
	id = host.Valid(id)
	return ask(func(ret unsafe.Pointer) { host.ChangeDelay(q.Name, id, millis(delay), ret) }, nothing)
}

// ChangePriority changes the priority of a job; 0 means none. A waiting job takes its new place in the queue: with lifo the first one
// of that priority.
func (q Queue) ChangePriority(id string, priority int, lifo bool) error {
	id = host.Valid(id)
	return ask(func(ret unsafe.Pointer) { host.ChangePriority(q.Name, id, uint32(priority), lifo, ret) }, nothing)
}

// Promote makes a delayed job wait for its turn now.
func (q Queue) Promote(id string) error {
	id = host.Valid(id)
	return ask(func(ret unsafe.Pointer) { host.Promote(q.Name, id, ret) }, nothing)
}

// Retry makes a failed job wait again.
func (q Queue) Retry(id string) error { return q.retry(id, 1) }

// RetryCompleted makes a completed job wait again.
func (q Queue) RetryCompleted(id string) error { return q.retry(id, 0) }

func (q Queue) retry(id string, ended uint32) error {
	id = host.Valid(id)
	return ask(func(ret unsafe.Pointer) { host.Retry(q.Name, id, ended, ret) }, nothing)
}

// Counts has the number of jobs by state: active, completed, delayed, failed, prioritized, waiting and waiting-children.
func (q Queue) Counts() (counts map[string]int, err error) {
	var text string
	if err = ask(func(ret unsafe.Pointer) { host.Counts(q.Name, ret) }, words(&text)); err != nil {
		return nil, err
	}
	err = bind("job counts", []byte(text), &counts)
	return counts, err
}

// RemoveDeduplicationKey lets jobs with this deduplication id be added again. It returns false if no job held the id.
func (q Queue) RemoveDeduplicationKey(id string) (removed bool, err error) {
	id = host.Valid(id)
	err = ask(func(ret unsafe.Pointer) { host.RemoveDeduplicationKey(q.Name, id, ret) }, yes(&removed))
	return removed, err
}

// RateLimit limits the queue for this long: workers take no job of it.
func (q Queue) RateLimit(duration time.Duration) error {
	return ask(func(ret unsafe.Pointer) { host.RateLimit(q.Name, millis(duration), ret) }, nothing)
}

// PublishEvent emits a custom event for listeners of `QueueEvents`.
func (q Queue) PublishEvent(name string, fields map[string]string) error {
	name = host.Valid(name)
	kept := make([]string, 0, 2*len(fields))
	for field, value := range fields {
		kept = append(kept, host.Valid(field), host.Valid(value))
	}
	raw := make([]host.Text, 0, len(kept))
	for _, text := range kept {
		raw = append(raw, host.TextOf(text))
	}
	err := ask(func(ret unsafe.Pointer) {
		host.PublishEvent(q.Name, name, unsafe.Pointer(unsafe.SliceData(raw)), uint32(len(fields)), ret)
	}, nothing)
	return host.Keep(err, kept)
}

// UpsertScheduler adds a scheduler, or changes the one with this id. The schedule is BullMQ's `RepeatOptions`
// (`map[string]any{"pattern": "0 3 * * *"}`). It returns the id of the next job, which is empty if the schedule has ended.
func (q Queue) UpsertScheduler(id string, schedule map[string]any, job NewJob) (next string, err error) {
	id = host.Valid(id)
	when, err := toJSON("schedule", schedule)
	if err != nil {
		return "", err
	}
	name, data, options, err := job.texts()
	if err != nil {
		return "", err
	}
	err = ask(func(ret unsafe.Pointer) { host.UpsertScheduler(q.Name, id, when, name, data, options, ret) },
		func(answer *host.Answer) { next, _ = answer.Option(4) })
	return next, err
}

// RemoveScheduler removes a scheduler, and its next job if that one is delayed. It returns false if there is no such scheduler.
func (q Queue) RemoveScheduler(id string) (removed bool, err error) {
	id = host.Valid(id)
	err = ask(func(ret unsafe.Pointer) { host.RemoveScheduler(q.Name, id, ret) }, yes(&removed))
	return removed, err
}

// Scheduler reads a scheduler: BullMQ's `JobSchedulerJson`, or null if there is none.
func (q Queue) Scheduler(id string) (scheduler json.RawMessage, err error) {
	id = host.Valid(id)
	var text string
	err = ask(func(ret unsafe.Pointer) { host.GetScheduler(q.Name, id, ret) }, words(&text))
	return json.RawMessage(text), err
}

// Schedulers reads schedulers in the order of their next jobs, from the first to the last of the two places; -1 is the end.
func (q Queue) Schedulers(first, last int) (schedulers []json.RawMessage, err error) {
	query := map[string]any{"start": first, "end": last, "asc": true}
	err = askJSON("schedulers", query, &schedulers, func(query string, ret unsafe.Pointer) { host.ListSchedulers(q.Name, query, ret) })
	return schedulers, err
}
