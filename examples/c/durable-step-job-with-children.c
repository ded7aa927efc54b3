/*
 * `step-job-with-children.c` with durable steps: each child is a call, and the job waits for it before it goes on.
 *
 * The operator grants it the queue of the children, `parts`.
 */
#include "toril.h"

/* Done with what the part returned, or the way to leave the attempt. */
static toril_result part(toril_string name) {
    toril_new_job job = {.name = name, .data = TORIL_S("{\"foo\":\"bar\"}")};
    toril_called called;
    toril_string text;
    TORIL_TRY(toril_call(name, TORIL_S("parts"), job, &called, &text));
    if (called == TORIL_CALL_WAITING) return toril_waiting_children();
    return called == TORIL_CALL_FAILED ? toril_failed(text) : toril_done(text);
}

toril_result toril_process(void) {
    if (toril_equal(toril_job_queue_name(), TORIL_S("parts")))
        return toril_done(toril_format("{\"made\":%s}", toril_json_quote(toril_job_name()).data));

    toril_result first = part(TORIL_S("child-1"));
    if (first.end != TORIL_DONE) return first;
    toril_result second = part(TORIL_S("child-2"));
    if (second.end != TORIL_DONE) return second;
    return toril_done(toril_format("{\"parts\":[%s,%s]}", first.text.data, second.text.data));
}
