"""BullMQ's `Worker`: here it only says which function processes the jobs of a queue. The host fetches them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import _limit
from ._connected import Connected, refuse
from ._errors import RateLimitError, missing
from ._host import ask, awaited, current_job


class Processor:
    """A function that processes jobs, and how many arguments it takes: the job, its token, a signal."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.arguments = _arguments(function)
        call = type(function).__call__ if not inspect.isroutine(function) else function
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _arguments(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return 3
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(3, sum(parameter.kind in positional for parameter in parameters))


#: The processor of each queue that a `Worker` of the file names.
workers: dict[str, Processor] = {}


class Worker(Connected):
    def __init__(self, name: str, processor: Callable[..., Any], opts: dict[str, Any] | None = None):
        super().__init__(name, opts)
        if not callable(processor):
            raise missing(f"Worker({name!r}, {processor!r})", "give the function that processes the jobs")
        if name in workers:
            raise ValueError(f"this file has two workers for queue `{name}`: join their processors into one function")
        workers[name] = Processor(processor)

    @staticmethod
    def RateLimitError() -> RateLimitError:
        return RateLimitError()

    @awaited
    def run(self) -> None:
        pass

    @awaited
    def rateLimit(self, expire_time_ms: int) -> None:
        """Limits the queue of the job; leave with `RateLimitError` to return the job to the queue."""
        _limit.limit(ask(current_job.queue_name), expire_time_ms)

    def on(self, event: str, listener: Any = None) -> Any:
        """Events of workers are the host's: listeners may stay, and are not called."""
        return listener

    once = on


refuse(
    Worker,
    "that is for operators: the command line and the admin API have it",
    "pause resume getNextJob cancelJob cancelAllJobs extendLocks runStalledJobsCheck",
)
