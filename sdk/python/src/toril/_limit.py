"""Rate limits that the attempt set: `RateLimitError` says that the job goes back, and for how long was said before."""

from __future__ import annotations

from ._errors import JobError
from ._host import ask, current_job, queues, whole_milliseconds


class Own:
    """For how long the attempt limited the queue of its job."""

    ms = 0


def limit(queue: str, duration_ms: int) -> None:
    """Limits a queue. That of the job may be limited without a grant, by leaving with `RateLimitError`."""
    ms = whole_milliseconds(duration_ms)
    own = queue == ask(current_job.queue_name)
    if own:
        Own.ms = ms
    try:
        ask(queues.rate_limit, queue, ms)
    except JobError as error:
        if not own or error.code != "denied":
            raise
