/* Returns at once; a job named `sleep` waits for as many milliseconds as its data say. */
#include <stdlib.h>
#include <unistd.h>

#include "toril.h"

toril_result toril_process(void) {
    if (toril_equal(toril_job_name(), TORIL_S("sleep"))) usleep(1000 * (useconds_t)atol(toril_job_data().data));
    return toril_done(TORIL_S("1"));
}
