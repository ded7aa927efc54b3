/* `step-job.c` with durable steps: what an attempt has done, a retry does not do again, and the data stay as they are. */
#include "toril.h"

/* Fails in the first attempt, where the data say so. */
static toril_result step(toril_string name) {
    toril_string done;
    TORIL_TRY(toril_step_begin(name, &done));
    if (done.data) return toril_done(done);
    toril_string fail_in = toril_json_text(toril_json_get(toril_job_data(), "failIn"));
    if (toril_equal(name, fail_in) && toril_job_attempts_made() == 0) return toril_failed(TORIL_S("this step fails once"));
    TORIL_TRY(toril_job_log(toril_format("%s step", name.data), NULL));
    TORIL_TRY(toril_step_finish(name, TORIL_S("true")));
    return toril_done(TORIL_S("true"));
}

toril_result toril_process(void) {
    toril_result result = step(TORIL_S("initial"));
    if (result.end == TORIL_DONE) result = step(TORIL_S("second"));
    return result.end == TORIL_DONE ? toril_done(TORIL_S("\"finish\"")) : result;
}
