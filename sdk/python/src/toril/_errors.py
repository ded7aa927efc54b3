"""BullMQ's errors with a special meaning, and what failed calls of the host raise."""

from __future__ import annotations


class DelayedError(Exception):
    """Leaves the processor after `job.moveToDelayed`."""


class WaitingChildrenError(Exception):
    """Leaves the processor after `job.moveToWaitingChildren` said that there are children to wait for."""


class WaitingError(Exception):
    """Leaves the processor after `job.moveToWait`, or gives the job back; no attempt is spent."""


class RateLimitError(Exception):
    """Gives the job back and limits its queue: for `durationMs`, or for what `queue.rateLimit` said before."""

    def __init__(self, message: str = "bullmq:rateLimitExceeded", durationMs: int | None = None):
        super().__init__(message)
        self.durationMs = durationMs


class UnrecoverableError(Exception):
    """Fails the job, whatever attempts it has left."""


class CalledJobError(Exception):
    """A job that was called with `job.call` failed for good; the message is its reason."""


class JobError(Exception):
    """A call of the host failed. `code` is one of not-found, lock-lost, not-in-state, denied, limit, invalid and
    unavailable."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


class NotInProcessorError(NotImplementedError):
    """Something of BullMQ that a processor cannot have."""


def missing(what: str, instead: str) -> NotInProcessorError:
    """The error for something that a processor cannot have, with what to use instead."""
    return NotInProcessorError(f"`{what}` cannot be had in a processor: {instead}")
