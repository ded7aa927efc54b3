"""BullMQ job processors in Python, for Toril. The names are those of BullMQ's own package, and in a processor
`from bullmq import …` imports them from here."""

from ._errors import (
    CalledJobError,
    DelayedError,
    JobError,
    NotInProcessorError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
    WaitingError,
)
from ._flow_producer import FlowProducer
from ._job import Job
from ._queue import Queue, QueueEventsProducer
from ._signal import AbortController, AbortError, AbortSignal
from ._steps import Cursor
from ._worker import Worker

__version__ = "0.1.0"

# Tracebacks name errors by their modules.
for _error in (
    AbortError,
    CalledJobError,
    DelayedError,
    JobError,
    NotInProcessorError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
    WaitingError,
):
    _error.__module__ = "toril"

__all__ = [
    "AbortController",
    "AbortError",
    "AbortSignal",
    "CalledJobError",
    "Cursor",
    "DelayedError",
    "FlowProducer",
    "Job",
    "JobError",
    "NotInProcessorError",
    "Queue",
    "QueueEventsProducer",
    "RateLimitError",
    "UnrecoverableError",
    "WaitingChildrenError",
    "WaitingError",
    "Worker",
]
