#include "toril.h"

toril_result toril_process(void) {
    toril_string data = toril_json_get(toril_job_data(), "walls");
    long walls = data.data ? strtol(data.data, NULL, 10) : 0;
    /* No further attempt can help. */
    if (walls < 1) return toril_unrecoverable(TORIL_S("there are no walls to paint"));
    TORIL_TRY(toril_job_log(toril_format("painting %ld walls", walls), NULL));
    return toril_done(toril_format("{\"cost\":%ld}", walls * 100));
}
