/* A job in steps. The step is kept in the job's data, so that a retry resumes where it failed. */
#include "toril.h"

static toril_string member(const char *name) {
    return toril_json_text(toril_json_get(toril_job_data(), name));
}

/* Data are replaced as a whole: what else they hold stays in them. */
static toril_error to_step(toril_string *step, toril_string next) {
    *step = next;
    toril_string fail_in = toril_json_quote(member("failIn"));
    return toril_update_data(toril_format("{\"step\":\"%s\",\"failIn\":%s}", next.data, fail_in.data));
}

toril_result toril_process(void) {
    toril_string step = member("step");
    if (!step.data) step = TORIL_S("initial");
    for (;;) {
        /* Fails the first attempt in this step. */
        if (toril_equal(step, member("failIn")) && toril_job_attempts_made() == 0)
            return toril_failed(TORIL_S("this step fails once"));
        if (toril_equal(step, TORIL_S("initial"))) {
            TORIL_TRY(toril_job_log(TORIL_S("initial step"), NULL));
            TORIL_TRY(to_step(&step, TORIL_S("second")));
        } else if (toril_equal(step, TORIL_S("second"))) {
            TORIL_TRY(toril_job_log(TORIL_S("second step"), NULL));
            TORIL_TRY(to_step(&step, TORIL_S("finish")));
        } else if (toril_equal(step, TORIL_S("finish"))) {
            return toril_done(toril_json_quote(step));
        } else {
            return toril_failed(toril_format("invalid step: %s", step.data));
        }
    }
}
