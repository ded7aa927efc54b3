/*
 * Job processors for BullMQ in C, as WebAssembly components that Toril runs.
 *
 * A processor defines one function, `toril_process`, which runs once for each attempt of a job:
 *
 *     #include "toril.h"
 *
 *     toril_result toril_process(void) {
 *         toril_string walls = toril_json_get(toril_job_data(), "walls");
 *         if (!walls.data) return toril_unrecoverable(TORIL_S("the data have no walls"));
 *         return toril_done(toril_format("{\"cost\":%ld}", strtol(walls.data, NULL, 10) * 100));
 *     }
 *
 * Names and meanings are BullMQ's. The job needs no handle: a sandbox has one job at a time.
 *
 * WHO OWNS A BUFFER
 *
 * - A string that you give to a function stays yours. The function reads it while it runs, and keeps nothing.
 * - What a function returns, strings and arrays, belongs to the attempt and is freed once `toril_process` has returned. Keep
 *   no pointer to it in a static variable: with `reuse`, the next job runs in the same memory.
 * - `toril_alloc` and `toril_format` give you memory that belongs to the attempt, too.
 * - `toril_free` frees such memory early. It is for loops that read much, and never necessary.
 * - What you allocate with `malloc` is yours to free, as ever.
 *
 * STRINGS
 *
 * A `toril_string` is UTF-8 of a known length. One that a function returns also ends with a NUL byte, which its length does not
 * count. Where there is no string (BullMQ's `undefined`), `data` is NULL. What is not UTF-8 in a string that you give becomes
 * U+FFFD. Values and options are JSON texts.
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

/* A key and what belongs to it. */
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

/* A string that ends with a NUL byte, where it is; NULL is no string. */
toril_string toril_str(const char *text);
/* What `printf` would print. `%s` takes `string.data`; `TORIL_ARG` passes a string to `%.*s`. */
toril_string toril_format(const char *format, ...) TORIL_PRINTF(1, 2);
#define TORIL_ARG(string) ((int)(string).length), ((string).data ? (string).data : "")
bool toril_equal(toril_string a, toril_string b);
/* The text with U+FFFD for what is not UTF-8 in it; the text itself where all of it is. No string becomes an empty one. */
toril_string toril_utf8(toril_string text);

/* Memory that belongs to the attempt. Where there is none left, the attempt fails. */
void *toril_alloc(size_t bytes);
/* Such memory for `count` items of so many bytes each. */
void *toril_alloc_list(size_t count, size_t bytes);
/* Frees, before the attempt ends, what a function returned (`string.data`, `pairs.items`, not what is in them) or
   `toril_alloc` gave. NULL is fine. */
void toril_free(const void *memory);

/* ---- JSON -------------------------------------------------------------------------------------------------------------- */

/* Enough to read a field of the job's data and to write a text. For more take a JSON library.
   The value of a member of an object, as it is written there: `7`, `"seven"`, `[7]`. No string where there is no such
   member, or the text is no object. */
toril_string toril_json_get(toril_string object, const char *member);
/* What a JSON string says: `"a\nb"` becomes its three characters. No string for any other JSON. */
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

/* Made by the functions below, which copy the strings that they are given. */
typedef struct {
    toril_end end;
    /* The value, as JSON, or the message of a failure. */
    toril_string text;
    toril_string stack;
    uint64_t milliseconds;
} toril_result;

/* You write this. */
toril_result toril_process(void);

/* The job completes with this value; no string is `null`. */
toril_result toril_done(toril_string json);
/* The attempt fails. The job runs again if it has attempts left. */
toril_result toril_failed(toril_string message);
toril_result toril_failed_with_stack(toril_string message, toril_string stack);
/* The job fails now, whatever attempts it has left (`UnrecoverableError`). */
toril_result toril_unrecoverable(toril_string message);
toril_result toril_unrecoverable_with_stack(toril_string message, toril_string stack);
/* The queue takes no job for this long; the job goes back to wait, and no attempt is spent (`RateLimitError`). */
toril_result toril_rate_limited(uint64_t milliseconds);
/* After `toril_move_to_delayed`, `…_waiting_children` and `…_wait` (BullMQ's errors of these names). */
toril_result toril_delayed(void);
toril_result toril_waiting_children(void);
toril_result toril_waiting(void);

/* Traps with this reason, of at most 511 bytes, from anywhere in the program. Prefer `toril_failed`, which lets a sandbox be
   reused. */
void toril_fatal(const char *format, ...) TORIL_PRINTF(1, 2) __attribute__((noreturn));

/* ---- errors of a call -------------------------------------------------------------------------------------------------- */

typedef enum {
    TORIL_OK,
    /* The job, or one that the call names, does not exist. */
    TORIL_NOT_FOUND,
    /* Another worker has the job now, or nobody: stop working on it. */
    TORIL_LOCK_LOST,
    /* The job is not in a state in which it can be moved. */
    TORIL_NOT_IN_STATE,
    /* A child failed that fails its parent too: the job cannot succeed any more. */
    TORIL_CHILD_FAILED,
    /* The operator did not grant this. */
    TORIL_DENIED,
    /* A limit of the operator was reached. */
    TORIL_LIMIT,
    /* An argument is not what it should be. */
    TORIL_INVALID,
    /* Redis did not answer. */
    TORIL_UNAVAILABLE,
    /* A call on a key-value store failed; the message says why (`toril_kv.h`). */
    TORIL_STORE_FAILED,
} toril_code;

/* `code` is 0 where the call succeeded. Where it failed, what it would have returned through a pointer is zeroed. Such a
   pointer may be NULL. */
typedef struct {
    toril_code code;
    toril_string message;
} toril_error;

/* Ends the attempt with an error: for good after `TORIL_CHILD_FAILED`, as a failed attempt after any other one. */
toril_result toril_error_result(toril_error error);
/* Calls, and where the call fails leaves the processor with its error. */
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
/* `prefix:queue`, what `parent.queue` of a child must say. */
toril_string toril_job_queue_qualified_name(void);
/* The data, as stored. */
toril_string toril_job_data(void);
/* The options as stored, with BullMQ's short keys. */
toril_string toril_job_opts(void);
/* Attempts that ended in completion or failure. */
uint32_t toril_job_attempts_made(void);
/* Times the job was picked up, this one included. */
uint32_t toril_job_attempts_started(void);
/* Milliseconds since the epoch at which the job was added, and at which this attempt began. */
uint64_t toril_job_timestamp(void);
uint64_t toril_job_processed_on(void);
/* Milliseconds that the job was delayed by; 0 once it became due. */
uint64_t toril_job_delay(void);
/* 0 is none; 1 runs first among prioritized jobs. */
uint32_t toril_job_priority(void);
toril_string toril_job_progress(void);
/* `prefix:queue:id` of the parent, and its record (`id`, `queueKey` and the failure policy); no string without a parent. */
toril_string toril_job_parent_key(void);
toril_string toril_job_parent(void);
/* The id of the scheduler that made the job. */
toril_string toril_job_repeat_job_key(void);
toril_string toril_job_deduplication_id(void);
/* Times that the job was given back because its worker had died. */
uint32_t toril_job_stalled_counter(void);
/* Why the attempt before failed. */
toril_string toril_job_failed_reason(void);
/* The stack of each attempt that failed, newest last. */
toril_strings toril_job_stacktrace(void);
/* An id for a child of this job, the same in each attempt: with it, a retry adds no second child of this name. */
toril_string toril_job_child_id(toril_string name);

/* Stored at once: a retry or a resumed step sees it. */
TORIL_CHECKED toril_error toril_update_data(toril_string json);
/* Emits `progress`. The host does not wait for Redis: if Redis refuses it, the next call of this or of `toril_job_log` has
   the error. */
TORIL_CHECKED toril_error toril_update_progress(toril_string json);
/* Appends a line to the job's log, which dashboards show; `count` becomes the number of lines kept. */
TORIL_CHECKED toril_error toril_job_log(toril_string line, uint64_t *count);

/* Delays the job until a time in milliseconds since the epoch. Then return `toril_delayed()`. */
TORIL_CHECKED toril_error toril_move_to_delayed(uint64_t timestamp_ms);
/* Puts the job to wait for its children, or for one of them (`prefix:queue:id`; no string: all). Where `waits` becomes true,
   return `toril_waiting_children()`; where false, nothing is pending. */
TORIL_CHECKED toril_error toril_move_to_waiting_children(toril_string child_key, bool *waits);
/* Gives the job back, first in line. Then return `toril_waiting()`. */
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
/* Frees this job from its parent. False: the parent did not wait for it. */
TORIL_CHECKED toril_error toril_remove_child_dependency(bool *freed);

/* True once the job should stop: its deadline is near, its lock is lost or it was cancelled. A loop that runs for long asks. */
bool toril_is_cancelled(void);
/* Why the job was asked to stop; no string while it was not, even if its deadline is near. */
toril_string toril_cancel_reason(void);

/* ---- the host's log ---------------------------------------------------------------------------------------------------- */

typedef enum { TORIL_TRACE, TORIL_DEBUG, TORIL_INFO, TORIL_WARN, TORIL_ERROR } toril_level;

/* Writes a line to the host's log, for operators. */
void toril_log(toril_level level, const char *format, ...) TORIL_PRINTF(2, 3);

/* ---- other jobs, in the queues that the operator granted; queues are named without the prefix -------------------------- */

typedef struct {
    toril_string name;
    /* No string: `{}`. */
    toril_string data;
    /* BullMQ's `JobsOptions`, such as `{"delay":1000}`. No string: `{}`. */
    toril_string options;
} toril_new_job;

/* The options of a child of this job, `{"parent":{…}}`, with the given id, or an id of Redis's where that is no string. */
toril_string toril_child_options(toril_string id);

TORIL_CHECKED toril_error toril_add(toril_string queue, toril_new_job job, toril_string *id);
/* Adds all jobs or none. */
TORIL_CHECKED toril_error toril_add_bulk(toril_string queue, const toril_new_job *jobs, size_t count, toril_strings *ids);
/* Adds flows, all jobs or none: a JSON list of BullMQ's `FlowJob`, its `FlowOpts` (no string: `{}`); the result is a list of
   `{ id, key, name, queueName, children }`. */
TORIL_CHECKED toril_error toril_add_flows(toril_string flows, toril_string options, toril_string *result);
/* Reads a flow from one of its jobs. The query is `{ depth, maxChildren }` (no string: `{}`). */
TORIL_CHECKED toril_error toril_get_flow(toril_string queue, toril_string id, toril_string query, toril_string *result);

typedef enum { TORIL_COMPLETED_JOB, TORIL_FAILED_JOB } toril_finished;

/* `completed`, `failed`, `delayed`, `prioritized`, `active`, `waiting`, `waiting-children` or `unknown`. */
TORIL_CHECKED toril_error toril_state(toril_string queue, toril_string id, toril_string *state);
TORIL_CHECKED toril_error toril_remove(toril_string queue, toril_string id, bool with_children);
/* A delayed job is due this many milliseconds from now. */
TORIL_CHECKED toril_error toril_change_delay(toril_string queue, toril_string id, uint64_t delay_ms);
/* 0 is no priority. A job that waits is put in line again, first among its equals with `lifo`. */
TORIL_CHECKED toril_error toril_change_priority(toril_string queue, toril_string id, uint32_t priority, bool lifo);
/* A delayed job waits no longer. */
TORIL_CHECKED toril_error toril_promote(toril_string queue, toril_string id);
/* Puts a job back in line that ended in this way. */
TORIL_CHECKED toril_error toril_retry(toril_string queue, toril_string id, toril_finished ended);

/* The number of jobs by state, as a JSON object. */
TORIL_CHECKED toril_error toril_counts(toril_string queue, toril_string *counts);
/* Jobs with this deduplication id can be added again. False: no job held it. */
TORIL_CHECKED toril_error toril_remove_deduplication_key(toril_string queue, toril_string deduplication_id, bool *removed);
/* Workers take no job of the queue for this long. */
TORIL_CHECKED toril_error toril_rate_limit(toril_string queue, uint64_t duration_ms);
/* Emits an event of your own, for listeners of `QueueEvents`. */
TORIL_CHECKED toril_error toril_publish_event(toril_string queue, toril_string name, const toril_pair *fields, size_t count);

/* ---- job schedulers ---------------------------------------------------------------------------------------------------- */

/* Adds a scheduler, or changes the one of this id. The schedule is BullMQ's `RepeatOptions`, such as `{"every":60000}`. The next
   job's id is no string where the schedule has come to its end. */
TORIL_CHECKED toril_error toril_upsert_scheduler(toril_string queue, toril_string id, toril_string schedule,
                                                 toril_new_job job, toril_string *next_id);
/* Removes a scheduler and its next job. False: there is no such scheduler. */
TORIL_CHECKED toril_error toril_remove_scheduler(toril_string queue, toril_string id, bool *removed);
/* BullMQ's `JobSchedulerJson`, or `null`. */
TORIL_CHECKED toril_error toril_get_scheduler(toril_string queue, toril_string id, toril_string *scheduler);
/* By the times of their next jobs. The query is `{ start, end, asc }` (no string: `{}`). */
TORIL_CHECKED toril_error toril_list_schedulers(toril_string queue, toril_string query, toril_string *schedulers);

/* ---- durable steps ----------------------------------------------------------------------------------------------------- */

/* What one attempt of the job has done, a later one does not do again. An attempt uses each name once.

   Begins a step. Where `kept` becomes a string, it is the value that an earlier attempt kept; where there is no string, do what
   the step does and then finish it. That may happen more than once, if the host dies in between. A step that fails is not
   finished: leave with the failure. */
TORIL_CHECKED toril_error toril_step_begin(toril_string name, toril_string *kept);
/* Keeps the value, JSON, of a step that this attempt began; no string is `null`. */
TORIL_CHECKED toril_error toril_step_finish(toril_string name, toril_string json);
/* Lets time pass, from when an attempt first comes here. Where `delayed` becomes true, return `toril_delayed()`: no attempt is
   spent. Where false, the time is over. */
TORIL_CHECKED toril_error toril_sleep(toril_string name, uint64_t milliseconds, bool *delayed);

typedef enum { TORIL_CALL_WAITING, TORIL_CALL_COMPLETED, TORIL_CALL_FAILED } toril_called;

/* Adds a job as a child of this one, once. After `TORIL_CALL_WAITING` return `toril_waiting_children()`: no attempt is spent. Once
   the child has ended, `text` is its value, or the reason of its failure. The host makes the child's id. Where its options do not
   say what its failure means for this job, this job goes on and learns of it. */
TORIL_CHECKED toril_error toril_call(toril_string name, toril_string queue, toril_new_job job, toril_called *called,
                                     toril_string *text);

/* Begins a place in a long loop: the one that was kept last, or no string. */
TORIL_CHECKED toril_error toril_cursor_get(toril_string name, toril_string *place);
/* Keeps a place, JSON, of a cursor that this attempt began: one write to Redis. No string is `null`. */
TORIL_CHECKED toril_error toril_cursor_set(toril_string name, toril_string place);

#ifdef __cplusplus
}
#endif

#endif
