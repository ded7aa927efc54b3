"""BullMQ's errors with a special meaning, and the errors of failed calls to the host."""

from __future__ import annotations


class DelayedError(Exception):
    """Leaves the processor after `job.moveToDelayed`."""


class WaitingChildrenError(Exception):
    """Leaves the processor after `job.moveToWaitingChildren` returned true."""


class WaitingError(Exception):
    """Leaves the processor after `job.moveToWait`, or returns the job to the queue; no attempt is spent."""


class RateLimitError(Exception):
    """Returns the job to its queue and limits the queue: for `durationMs`, or for the time of an earlier `queue.rateLimit`."""

    def __init__(self, message: str = "bullmq:rateLimitExceeded", durationMs: int | None = None):
        super().__init__(message)
        if durationMs is not None and not isinstance(durationMs, (int, float)):
            raise TypeError(f"durationMs must be a number of milliseconds, not {durationMs!r}")
        self.durationMs = durationMs


class UnrecoverableError(Exception):
    """Fails the job, even if it has attempts left."""


class CalledJobError(Exception):
    """A job that `job.call` added failed for good; the message is its reason."""


class JobError(Exception):
    """A call of the host failed. `code` is one of not-found, lock-lost, not-in-state, denied, limit, invalid and
    unavailable."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


class NotInProcessorError(NotImplementedError):
    """A part of BullMQ that is not available in a processor."""


def missing(what: str, instead: str) -> NotInProcessorError:
    """The error for a part of BullMQ that is not available in a processor; it says what to use instead."""
    return NotInProcessorError(f"`{what}` is not available in a processor: {instead}")
