//go:build wasip1

package host

import "unsafe"

// The functions of `wit/`, as the canonical ABI flattens them. A `ret` is the address of the result.

//go:wasmimport toril:processor/current-job@1.1.0 id
func JobID(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 name
func JobName(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 queue-name
func JobQueueName(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 queue-qualified-name
func JobQueueQualifiedName(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 data
func JobData(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 opts
func JobOpts(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 attempts-made
func JobAttemptsMade() uint32

//go:wasmimport toril:processor/current-job@1.1.0 attempts-started
func JobAttemptsStarted() uint32

//go:wasmimport toril:processor/current-job@1.1.0 timestamp
func JobTimestamp() uint64

//go:wasmimport toril:processor/current-job@1.1.0 delay
func JobDelay() uint64

//go:wasmimport toril:processor/current-job@1.1.0 priority
func JobPriority() uint32

//go:wasmimport toril:processor/current-job@1.1.0 progress
func JobProgress(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 parent-key
func JobParentKey(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 parent
func JobParent(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 repeat-job-key
func JobRepeatJobKey(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 stalled-counter
func JobStalledCounter() uint32

//go:wasmimport toril:processor/current-job@1.1.0 failed-reason
func JobFailedReason(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 stacktrace
func JobStacktrace(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 processed-on
func JobProcessedOn() uint64

//go:wasmimport toril:processor/current-job@1.1.0 deduplication-id
func JobDeduplicationID(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 is-cancelled
func JobIsCancelled() bool

//go:wasmimport toril:processor/current-job@1.1.0 cancel-reason
func JobCancelReason(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 update-data
func JobUpdateData(data string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 update-progress
func JobUpdateProgress(progress string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 log
func JobLog(line string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 move-to-delayed
func JobMoveToDelayed(timestamp uint64, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 move-to-waiting-children
func JobMoveToWaitingChildren(some bool, child string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 move-to-wait
func JobMoveToWait(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 children-values
func JobChildrenValues(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 failed-children-values
func JobFailedChildrenValues(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 dependencies
func JobDependencies(query string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 dependencies-count
func JobDependenciesCount(kinds string, ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 remove-unprocessed-children
func JobRemoveUnprocessedChildren(ret unsafe.Pointer)

//go:wasmimport toril:processor/current-job@1.1.0 remove-child-dependency
func JobRemoveChildDependency(ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 add
func Add(queue, name, data, options string, ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 add-bulk
func AddBulk(queue string, jobs unsafe.Pointer, count uint32, ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 add-flows
func AddFlows(flows, options string, ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 get-flow
func GetFlow(queue, id, query string, ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 state
func State(queue, id string, ret unsafe.Pointer)

//go:wasmimport toril:processor/producer@1.1.0 remove
func Remove(queue, id string, withChildren bool, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 change-delay
func ChangeDelay(queue, id string, delay uint64, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 change-priority
func ChangePriority(queue, id string, priority uint32, lifo bool, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 promote
func Promote(queue, id string, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 retry
func Retry(queue, id string, ended uint32, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 counts
func Counts(queue string, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 remove-deduplication-key
func RemoveDeduplicationKey(queue, id string, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 rate-limit
func RateLimit(queue string, duration uint64, ret unsafe.Pointer)

//go:wasmimport toril:processor/queues@1.1.0 publish-event
func PublishEvent(queue, name string, fields unsafe.Pointer, count uint32, ret unsafe.Pointer)

//go:wasmimport toril:processor/schedulers@1.1.0 upsert
func UpsertScheduler(queue, id, schedule, name, data, options string, ret unsafe.Pointer)

//go:wasmimport toril:processor/schedulers@1.1.0 remove
func RemoveScheduler(queue, id string, ret unsafe.Pointer)

//go:wasmimport toril:processor/schedulers@1.1.0 get
func GetScheduler(queue, id string, ret unsafe.Pointer)

//go:wasmimport toril:processor/schedulers@1.1.0 list
func ListSchedulers(queue, query string, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 begin
func BeginStep(name string, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 finish
func FinishStep(name, value string, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 sleep
func Sleep(name string, duration uint64, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 call
func Call(step, queue, name, data, options string, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 cursor
func BeginCursor(name string, ret unsafe.Pointer)

//go:wasmimport toril:processor/steps@1.1.0 set-cursor
func SetCursor(name, place string, ret unsafe.Pointer)

//go:wasmimport toril:processor/logging@1.1.0 log
func Log(level uint32, message string)

//go:wasmimport wasi:cli/environment@0.2.0 get-environment
func Environment(ret unsafe.Pointer)
