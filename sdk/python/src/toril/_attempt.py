"""One attempt of a job: finds the processor, calls it, and says how it ended."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from . import _fresh, _json, _limit, _loop
from ._current_job import TOKEN, CurrentJob
from ._failure import failure_of
from ._host import Err
from ._signal import JobSignal
from ._worker import Processor, workers


class Attempts:
    """What the attempts of an instance share."""

    def __init__(self, exported: Processor | None, loop: _loop.Loop):
        self._exported = exported
        self._loop = loop
        self._is_fresh = True

    def _processor(self, job: CurrentJob) -> Processor:
        if workers:
            found = workers.get(job.queueName, self._exported)
            if found is not None:
                return found
            names = ", ".join(f"`{name}`" for name in workers)
            raise LookupError(f"this file has no worker for queue `{job.queueName}`, only for {names}")
        assert self._exported is not None
        return self._exported

    def run(self) -> str:
        """The value of the current job, as JSON; fails as `process` of the world does."""
        if self._is_fresh:
            self._is_fresh = False
            _fresh.renew()
        _limit.Own.ms = 0
        try:
            job = CurrentJob()
            return _json.dumps(self._call(self._processor(job), job))
        except BaseException as error:
            failure = _failure(error)
        raise Err(failure)

    def _call(self, processor: Processor, job: CurrentJob) -> Any:
        arguments = (job, TOKEN, JobSignal())[: processor.arguments]
        if processor.is_async:
            return self._loop.run(processor.function(*arguments))
        value = processor.function(*arguments)
        if isinstance(value, Awaitable):
            return self._loop.run(_awaiting(value))
        return value


def _failure(error: BaseException) -> Any:
    """The failure for what was raised, or for what its own methods raise; if those of that raise, too, its type is told."""
    other = error
    for _ in range(2):
        try:
            return failure_of(other)
        except BaseException as raised:
            other = raised
    return failure_of(RuntimeError(type(error).__name__))


async def _awaiting(value: Awaitable[Any]) -> Any:
    return await value
