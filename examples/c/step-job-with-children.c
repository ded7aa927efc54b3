/*
 * A job in steps that adds a child in each of two steps and then waits for both. The ids of the children are the same in every
 * attempt: a retry between adding a child and storing the step adds no second one.
 *
 * The operator grants it the queue of the children, `parts`.
 */
#include "toril.h"

enum { INITIAL, SECOND, THIRD, FINISH };

static toril_error add_part(toril_string name) {
    toril_new_job part = {.name = name, .data = TORIL_S("{\"foo\":\"bar\"}")};
    part.options = toril_child_options(toril_job_child_id(name));
    return toril_add(TORIL_S("parts"), part, NULL);
}

static toril_error to_step(int step) {
    return toril_update_data(toril_format("{\"step\":%d}", step));
}

static long stored_step(void) {
    toril_string step = toril_json_get(toril_job_data(), "step");
    return step.data ? strtol(step.data, NULL, 10) : INITIAL;
}

/* `{"parts":{KEY:VALUE,…}}`. */
static toril_string summary(const toril_pairs *values) {
    toril_string parts = TORIL_S("");
    for (size_t n = 0; n < values->length; n++) {
        toril_string key = toril_json_quote(values->items[n].key);
        parts = toril_format("%s%s%s:%s", parts.data, n ? "," : "", key.data, values->items[n].value.data);
    }
    return toril_format("{\"parts\":{%s}}", parts.data);
}

toril_result toril_process(void) {
    if (toril_equal(toril_job_queue_name(), TORIL_S("parts")))
        return toril_done(toril_format("{\"made\":%s}", toril_json_quote(toril_job_name()).data));

    bool waits;
    toril_pairs values;
    switch (stored_step()) {
    case INITIAL:
        TORIL_TRY(add_part(TORIL_S("child-1")));
        TORIL_TRY(to_step(SECOND));
        __attribute__((fallthrough));
    case SECOND:
        TORIL_TRY(add_part(TORIL_S("child-2")));
        TORIL_TRY(to_step(THIRD));
        __attribute__((fallthrough));
    case THIRD:
        TORIL_TRY(toril_move_to_waiting_children((toril_string){0}, &waits));
        if (waits) return toril_waiting_children();
        TORIL_TRY(to_step(FINISH));
        __attribute__((fallthrough));
    case FINISH:
        TORIL_TRY(toril_children_values(&values));
        return toril_done(summary(&values));
    default:
        return toril_failed(TORIL_S("invalid step"));
    }
}
