"""Durable steps: a later attempt of a job does not repeat a step that an earlier one has finished. BullMQ has no such calls."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable
from math import ceil
from typing import TYPE_CHECKING, Any

from . import _json
from ._errors import CalledJobError, DelayedError, WaitingChildrenError
from ._host import MILLISECONDS_MAX, ask, awaited, steps, whole_milliseconds

if TYPE_CHECKING:
    from ._queue import Queue


class Steps:
    """The part of `CurrentJob` that has the steps. An attempt uses each name once."""

    _moved: str | None

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Runs a step and stores its value. If an earlier attempt has stored the value, returns that value without running the
        step.

        The value is stored in the job, as JSON, before this returns. If the host dies before that, a later attempt runs the step
        again. If the function raises, nothing is stored and the exception passes through. The function may be asynchronous."""
        if _get_running_loop() is not None:
            return _step(name, function)
        kept = ask(steps.begin, name)
        if kept is not None:
            return _json.loads(kept)
        value = function()
        return _finish(name, asyncio.run(_awaiting(value)) if isinstance(value, Awaitable) else value)

    @awaited
    def sleep(self, name: str, milliseconds: float) -> None:
        """Delays the job for a time, counted from the first call of any attempt. Until the time is over, this raises
        `DelayedError`, which the processor must not catch: the job is delayed, and no attempt is spent."""
        if ask(steps.sleep, name, whole_milliseconds(ceil(min(milliseconds, MILLISECONDS_MAX)))):
            self._moved = "delayed"
            raise DelayedError(f"job sleeps in step `{name}`")

    @awaited
    def call(
        self, name: str, queue: Queue | str, job: str, data: Any = None, opts: dict[str, Any] | None = None
    ) -> Any:
        """Adds a job as a child of this one, once, and returns its value. Until the child has ended, this raises
        `WaitingChildrenError`, which the processor must not catch: the job waits, and no attempt is spent. If the child fails
        for good, this raises `CalledJobError` with its reason.

        The host makes the child's id. If no option of the child says what its failure means for this job, this job continues
        and gets that error."""
        from ._queue import called

        match ask(steps.call, name, *called(queue, job, data, opts)):
            case steps.Called_Completed(value):
                return _json.loads(value)
            case steps.Called_Failed(reason):
                raise CalledJobError(reason)
        self._moved = "waiting-children"
        raise WaitingChildrenError(f"job waits for the job that step `{name}` called")

    @awaited
    def cursor(self, name: str) -> Cursor:
        """Begins a cursor, the place in a long loop. A later attempt continues from the place that was stored last."""
        return Cursor(name, _json.or_none(ask(steps.cursor, name)))


async def _step(name: str, function: Callable[[], Any]) -> Any:
    kept = ask(steps.begin, name)
    if kept is not None:
        return _json.loads(kept)
    value = function()
    return _finish(name, await value if isinstance(value, Awaitable) else value)


async def _awaiting(value: Awaitable[Any]) -> Any:
    return await value


def _finish(name: str, value: Any) -> Any:
    """Stores the value of a step, and returns it as a later attempt gets it: a tuple becomes a list."""
    text = _json.dumps(value)
    ask(steps.finish, name, text)
    return _json.loads(text)


class Cursor:
    """The place in a long loop, from `job.cursor`."""

    #: The place that was stored last; None before the first one.
    value: Any

    def __init__(self, name: str, value: Any):
        self._name = name
        self.value = value

    @awaited
    def set(self, place: Any) -> None:
        """Stores a place at once, with one write to Redis."""
        text = _json.dumps(place)
        ask(steps.set_cursor, self._name, text)
        self.value = _json.loads(text)
