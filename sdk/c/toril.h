/*
 * Job processors for BullMQ in C, as WebAssembly components that Toril runs.
 *
 * A processor defines one function, `toril_process`, which runs once for each attempt of a job:
 *
 *     #include "toril.h"
 *
 *     toril_result toril_process(void) {
 *         toril_string walls = toril_json_get(toril_job_data(), "walls");
 *         if (!walls.data) return toril_unrecoverable(TORIL_S("the data has no walls"));
 *         return toril_done(toril_format("{\"cost\":%ld}", strtol(walls.data, NULL, 10) * 100));
 *     }
 *
 * Names and meanings are BullMQ's. The job needs no handle: a sandbox has one job at a time.
 *
 * WHO OWNS A BUFFER
 *
 * - A string that you pass to a function stays yours. The function reads it before it returns, and keeps no pointer to it.
 * - Strings and arrays that a function returns belong to the attempt: they are freed after `toril_process` has returned. Keep no
 *   pointer to them in a static variable: with `reuse`, the next job runs in the same memory.
 * - Memory from `toril_alloc` and `toril_format` belongs to the attempt, too.
 * - `toril_free` frees such memory earlier. It is never necessary; use it in loops that read a lot of data.
 * - Memory from `malloc` is yours to free.
 *
 * STRINGS
 *
 * A `toril_string` is UTF-8 text with a length. A string that a function returns also ends with a NUL byte, which the length does
 * not include. "No string" (BullMQ's `undefined`) is a `toril_string` whose `data` is NULL. In a string that you pass, bytes that
 * are not UTF-8 become U+FFFD. Values and options are JSON texts.
 */
#ifndef TORIL_H
#define TORIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TORIL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define TORIL_CHECKED __attribute__((warn_unused_result))

/* ---- strings and memory ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *data;
    size_t length;
} toril_string;

typedef struct {
    const toril_string *items;
    size_t length;
} toril_strings;

/* A key and its value. */
typedef struct {
    toril_string key;
    toril_string value;
} toril_pair;

typedef struct {
    const toril_pair *items;
    size_t length;
} toril_pairs;

/* A string literal. */
#ifdef __cplusplus
#define TORIL_S(literal) (toril_string{(literal), sizeof(literal) - 1})
#else
#define TORIL_S(literal) ((toril_string){(literal), sizeof(literal) - 1})
#endif

/* A C string as a `toril_string`, without a copy. NULL becomes no string. */
toril_string toril_str(const char *text);
/* The text that `printf` would print. `%s` takes `string.data`; `TORIL_ARG` passes a string to `%.*s`. */
toril_string toril_format(const char *format, ...) TORIL_PRINTF(1, 2);
#define TORIL_ARG(string) ((int)(string).length), ((string).data ? (string).data : "")
bool toril_equal(toril_string a, toril_string b);
/* The text, with U+FFFD in place of bytes that are not UTF-8. Makes no copy if there are none. No string becomes an empty one. */
toril_string toril_utf8(toril_string text);

/* Memory that belongs to the attempt. If none is left, the attempt fails. */
void *toril_alloc(size_t bytes);
/* Memory that belongs to the attempt, for `count` items of `bytes` bytes each. */
void *toril_alloc_list(size_t count, size_t bytes);
/* Frees memory before the attempt ends: memory from `toril_alloc`, or the `data` or `items` that a function returned (the items of
   an array are not freed with it). NULL has no effect. */
void toril_free(const void *memory);

/* ---- JSON -------------------------------------------------------------------------------------------------------------- */

/* These functions read a member of the job's data and write a text. For anything else use a JSON library.

   The value of a member of an object, as it is written there: `7`, `"seven"`, `[7]`. No string if there is no such member, or if
   the text is not an object. */
toril_string toril_json_get(toril_string object, const char *member);
/* The text of a JSON string: `"a\nb"` becomes three characters. No string for any other JSON. */
toril_string toril_json_text(toril_string json);
/* A text as a JSON string, with its quotes. */
toril_string toril_json_quote(toril_string text);

/* ---- how an attempt ends ----------------------------------------------------------------------------------------------- */

typedef enum {
    TORIL_DONE,
    TORIL_FAILED,
    TORIL_UNRECOVERABLE,
    TORIL_DELAYED,
    TORIL_WAITING_CHILDREN,
    TORIL_WAITING,
    TORIL_RATE_LIMITED,
} toril_end;

/* The functions below make it, and copy the strings that you pass. */
typedef struct {
    toril_end end;
    /* The value, as JSON, or the message of a failure. */
    toril_string text;
    toril_string stack;
    uint64_t milliseconds;
} toril_result;

/* You write this function. */
toril_result toril_process(void);

/* The job completes with this value; no string means `null`. */
toril_result toril_done(toril_string json);
/* The attempt fails. The job runs again if it has attempts left. */
toril_result toril_failed(toril_string message);
toril_result toril_failed_with_stack(toril_string message, toril_string stack);
/* The job fails now, even if it has attempts left (`UnrecoverableError`). */
toril_result toril_unrecoverable(toril_string message);
toril_result toril_unrecoverable_with_stack(toril_string message, toril_string stack);
/* Workers take no job of the queue for this long. The job waits again, and no attempt is spent (`RateLimitError`). */
toril_result toril_rate_limited(uint64_t milliseconds);
/* Ends after `toril_move_to_delayed`, `toril_move_to_waiting_children` and `toril_move_to_wait` (`DelayedError`,
   `WaitingChildrenError` and `WaitingError`). */
toril_result toril_delayed(void);
toril_result toril_waiting_children(void);
toril_result toril_waiting(void);

/* Traps with this reason, of at most 511 bytes, from anywhere in the program. Prefer `toril_failed`: after a trap, the sandbox
   cannot be reused. */
void toril_fatal(const char *format, ...) TORIL_PRINTF(1, 2) __attribute__((noreturn));

/* ---- errors of a call -------------------------------------------------------------------------------------------------- */

typedef enum {
    TORIL_OK,
    /* The job, or one that the call names, does not exist. */
    TORIL_NOT_FOUND,
    /* This worker no longer has the job: stop working on it. */
    TORIL_LOCK_LOST,
    /* The job is not in a state in which it can be moved. */
    TORIL_NOT_IN_STATE,
    /* A child failed, and its failure fails this job: the job can no longer succeed. */
    TORIL_CHILD_FAILED,
    /* The operator did not grant this. */
    TORIL_DENIED,
    /* A limit of the operator was reached. */
    TORIL_LIMIT,
    /* An argument is invalid. */
    TORIL_INVALID,
    /* Redis did not answer. */
    TORIL_UNAVAILABLE,
    /* A call on a key-value store failed; the message says why (`toril_kv.h`). */
    TORIL_STORE_FAILED,
} toril_code;

/* `code` is 0 if the call succeeded. If it failed, the results behind its pointers are zeroed. A pointer for a result may be
   NULL. */
typedef struct {
    toril_code code;
    toril_string message;
} toril_error;

/* Makes the result of an error: `TORIL_CHILD_FAILED` fails the job for good, any other error fails the attempt. */
toril_result toril_error_result(toril_error error);
/* Makes a call. If the call fails, returns its error from the processor. */
#define TORIL_TRY(call)                                                   \
    do {                                                                  \
        toril_error toril_error_ = (call);                                \
        if (toril_error_.code) return toril_error_result(toril_error_);   \
    } while (0)

/* ---- the job ----------------------------------------------------------------------------------------------------------- */

toril_string toril_job_id(void);
toril_string toril_job_name(void);
/* The queue's name without the prefix. */
toril_string toril_job_queue_name(void);
/* `prefix:queue`, the value for `parent.queue` of a child. */
toril_string toril_job_queue_qualified_name(void);
/* The data, as stored. */
toril_string toril_job_data(void);
/* The options as stored, with BullMQ's short keys. */
toril_string toril_job_opts(void);
/* Attempts that ended in completion or failure. */
uint32_t toril_job_attempts_made(void);
/* How often the job was started, including this time. */
uint32_t toril_job_attempts_started(void);
/* Milliseconds since the epoch at which the job was added, and at which this attempt began. */
uint64_t toril_job_timestamp(void);
uint64_t toril_job_processed_on(void);
/* Milliseconds that the job was delayed by; 0 once it became due. */
uint64_t toril_job_delay(void);
/* 0 means no priority; among prioritized jobs, 1 runs first. */
uint32_t toril_job_priority(void);
toril_string toril_job_progress(void);
/* `prefix:queue:id` of the parent, and the parent's record (`id`, `queueKey` and the failure policy). No string if the job has no
   parent. */
toril_string toril_job_parent_key(void);
toril_string toril_job_parent(void);
/* The id of the scheduler that made the job. */
toril_string toril_job_repeat_job_key(void);
toril_string toril_job_deduplication_id(void);
/* How often the job returned to the queue because its worker had died. */
uint32_t toril_job_stalled_counter(void);
/* Why the previous attempt failed. */
toril_string toril_job_failed_reason(void);
/* The stacks of failed attempts, newest last; the job keeps a limited number. */
toril_strings toril_job_stacktrace(void);
/* An id for a child of this job. It is the same in each attempt, so that a retry does not add the child again. */
toril_string toril_job_child_id(toril_string name);

/* Stores the data at once: a retry or a resumed step sees the new data. */
TORIL_CHECKED toril_error toril_update_data(toril_string json);
/* Stores the progress and emits `progress`. The host does not wait for Redis: if Redis refuses it, the next call of
   `toril_update_progress` or `toril_job_log` fails with that error. */
TORIL_CHECKED toril_error toril_update_progress(toril_string json);
/* Appends a line to the job's log, which dashboards show. `count` becomes the number of lines that the log has. */
TORIL_CHECKED toril_error toril_job_log(toril_string line, uint64_t *count);

/* Delays the job until a time in milliseconds since the epoch. Then return `toril_delayed()`. */
TORIL_CHECKED toril_error toril_move_to_delayed(uint64_t timestamp_ms);
/* Makes the job wait for its children, or for one of them (`prefix:queue:id`; no string means all). If `waits` becomes true, return
   `toril_waiting_children()`. If it becomes false, no child is pending: continue. */
TORIL_CHECKED toril_error toril_move_to_waiting_children(toril_string child_key, bool *waits);
/* Returns the job to the front of its queue. Then return `toril_waiting()`. */
TORIL_CHECKED toril_error toril_move_to_wait(void);

/* Key (`prefix:queue:id`) and value of each child that completed. */
TORIL_CHECKED toril_error toril_children_values(toril_pairs *values);
/* Key and error of each child whose failure does not fail this job. */
TORIL_CHECKED toril_error toril_failed_children_values(toril_pairs *errors);
/* BullMQ's `getDependencies` and `getDependenciesCount`: options and result are JSON. */
TORIL_CHECKED toril_error toril_dependencies(toril_string query, toril_string *result);
TORIL_CHECKED toril_error toril_dependencies_count(toril_string kinds, toril_string *result);
/* Removes the children that have not begun. A job that returns while a child is active fails with `has pending
   dependencies`. */
TORIL_CHECKED toril_error toril_remove_unprocessed_children(uint64_t *removed);
/* Detaches this job from its parent. `freed` becomes false if the parent did not wait for this job. */
TORIL_CHECKED toril_error toril_remove_child_dependency(bool *freed);

/* True once the job should stop: its deadline is near, its lock is lost or it was cancelled. Call it in long loops. */
bool toril_is_cancelled(void);
/* Why the job should stop. No string while nobody asked it to stop, even if its deadline is near. */
toril_string toril_cancel_reason(void);

/* ---- the host's log ---------------------------------------------------------------------------------------------------- */

typedef enum { TORIL_TRACE, TORIL_DEBUG, TORIL_INFO, TORIL_WARN, TORIL_ERROR } toril_level;

/* Writes a line to the host's log, for operators. */
void toril_log(toril_level level, const char *format, ...) TORIL_PRINTF(2, 3);

/* ---- other jobs, in the queues that the operator granted; queues are named without the prefix -------------------------- */

typedef struct {
    toril_string name;
    /* No string means `{}`. */
    toril_string data;
    /* BullMQ's `JobsOptions`, such as `{"delay":1000}`. No string means `{}`. */
    toril_string options;
} toril_new_job;

/* The options of a child of this job, `{"parent":{…}}`, with this id. Without an id (no string), Redis counts one. */
toril_string toril_child_options(toril_string id);

TORIL_CHECKED toril_error toril_add(toril_string queue, toril_new_job job, toril_string *id);
/* Adds all jobs or none. */
TORIL_CHECKED toril_error toril_add_bulk(toril_string queue, const toril_new_job *jobs, size_t count, toril_strings *ids);
/* Adds flows, all jobs or none. `flows` is a JSON array of BullMQ's `FlowJob`, `options` are its `FlowOpts` (no string means `{}`),
   and the result is an array of `{ id, key, name, queueName, children }`. */
TORIL_CHECKED toril_error toril_add_flows(toril_string flows, toril_string options, toril_string *result);
/* Reads the flow below a job. The query is `{ depth, maxChildren }` (no string means `{}`). */
TORIL_CHECKED toril_error toril_get_flow(toril_string queue, toril_string id, toril_string query, toril_string *result);

typedef enum { TORIL_COMPLETED_JOB, TORIL_FAILED_JOB } toril_finished;

/* `completed`, `failed`, `delayed`, `prioritized`, `active`, `waiting`, `waiting-children` or `unknown`. */
TORIL_CHECKED toril_error toril_state(toril_string queue, toril_string id, toril_string *state);
TORIL_CHECKED toril_error toril_remove(toril_string queue, toril_string id, bool with_children);
/* Makes a delayed job due this many milliseconds from now. */
TORIL_CHECKED toril_error toril_change_delay(toril_string queue, toril_string id, uint64_t delay_ms);
/* Changes the priority; 0 means none. A waiting job takes its new place in the queue: with `lifo` the first one of that priority. */
TORIL_CHECKED toril_error toril_change_priority(toril_string queue, toril_string id, uint32_t priority, bool lifo);
/* Makes a delayed job wait for its turn now. */
TORIL_CHECKED toril_error toril_promote(toril_string queue, toril_string id);
/* Makes a job that completed, or one that failed, wait again. */
TORIL_CHECKED toril_error toril_retry(toril_string queue, toril_string id, toril_finished ended);

/* The number of jobs by state, as a JSON object. */
TORIL_CHECKED toril_error toril_counts(toril_string queue, toril_string *counts);
/* Lets jobs with this deduplication id be added again. `removed` becomes false if no job held the id. */
TORIL_CHECKED toril_error toril_remove_deduplication_key(toril_string queue, toril_string deduplication_id, bool *removed);
/* Workers take no job of the queue for this long. */
TORIL_CHECKED toril_error toril_rate_limit(toril_string queue, uint64_t duration_ms);
/* Emits a custom event for listeners of `QueueEvents`. */
TORIL_CHECKED toril_error toril_publish_event(toril_string queue, toril_string name, const toril_pair *fields, size_t count);

/* ---- job schedulers ---------------------------------------------------------------------------------------------------- */

/* Adds a scheduler, or changes the one with this id. The schedule is BullMQ's `RepeatOptions`, such as `{"every":60000}`. `next_id`
   becomes the id of the next job, or no string if the schedule has ended. */
TORIL_CHECKED toril_error toril_upsert_scheduler(toril_string queue, toril_string id, toril_string schedule,
                                                 toril_new_job job, toril_string *next_id);
/* Removes a scheduler and its next job. `removed` becomes false if there is no such scheduler. */
TORIL_CHECKED toril_error toril_remove_scheduler(toril_string queue, toril_string id, bool *removed);
/* BullMQ's `JobSchedulerJson`, or `null`. */
TORIL_CHECKED toril_error toril_get_scheduler(toril_string queue, toril_string id, toril_string *scheduler);
/* Lists schedulers in the order of their next jobs. The query is `{ start, end, asc }` (no string means `{}`). */
TORIL_CHECKED toril_error toril_list_schedulers(toril_string queue, toril_string query, toril_string *schedulers);

/* ---- durable steps ----------------------------------------------------------------------------------------------------- */

/* A later attempt of the job does not repeat a step that an earlier one has finished. An attempt uses each name once.

   Begins a step. If an earlier attempt has finished it, `kept` becomes the value that was stored: do not do the work again. If
   `kept` becomes no string, do the work and then finish the step. If the host dies in between, a later attempt does the work again.
   If the work fails, do not finish the step, and return the failure. */
TORIL_CHECKED toril_error toril_step_begin(toril_string name, toril_string *kept);
/* Stores the value (JSON) of a step that this attempt began. No string means `null`. */
TORIL_CHECKED toril_error toril_step_finish(toril_string name, toril_string json);
/* Delays the job for a time, counted from the first call of any attempt. If `delayed` becomes true, return `toril_delayed()`: no
   attempt is spent. If it becomes false, the time is over: continue. */
TORIL_CHECKED toril_error toril_sleep(toril_string name, uint64_t milliseconds, bool *delayed);

typedef enum { TORIL_CALL_WAITING, TORIL_CALL_COMPLETED, TORIL_CALL_FAILED } toril_called;

/* Adds a job as a child of this one, once. After `TORIL_CALL_WAITING` return `toril_waiting_children()`: no attempt is spent. After
   the child has ended, `text` becomes its value, or the reason of its failure. The host makes the child's id. If no option of the
   child says what its failure means for this job, this job continues and gets `TORIL_CALL_FAILED`. */
TORIL_CHECKED toril_error toril_call(toril_string name, toril_string queue, toril_new_job job, toril_called *called,
                                     toril_string *text);

/* Begins a cursor, the place in a long loop. `place` becomes the one that was stored last, or no string. */
TORIL_CHECKED toril_error toril_cursor_get(toril_string name, toril_string *place);
/* Stores the place (JSON) of a cursor that this attempt began, with one write to Redis. No string means `null`. */
TORIL_CHECKED toril_error toril_cursor_set(toril_string name, toril_string place);

#ifdef __cplusplus
}
#endif

#endif
