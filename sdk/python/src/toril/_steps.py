"""Durable steps: what one attempt of a job has done, a later one does not do again. BullMQ has nothing like them."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable
from math import ceil
from typing import TYPE_CHECKING, Any

from . import _json
from ._errors import CalledJobError, DelayedError, WaitingChildrenError
from ._host import ask, awaited, steps

if TYPE_CHECKING:
    from ._queue import Queue


class Steps:
    """The part of `CurrentJob` that has the steps. An attempt uses each name once."""

    _moved: str | None

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Runs a step, or returns its value where an earlier attempt has run it.

        The value, as JSON, is kept in the job before this returns; what the step does may happen more than once, if
        the host dies before that. What the function raises leaves as it is, and nothing is kept. The function may be
        asynchronous."""
        if _get_running_loop() is not None:
            return _step(name, function)
        kept = ask(steps.begin, name)
        if kept is not None:
            return _json.loads(kept)
        value = function()
        return _finish(name, asyncio.run(_awaiting(value)) if isinstance(value, Awaitable) else value)

    @awaited
    def sleep(self, name: str, milliseconds: float) -> None:
        """Lets time pass, from when an attempt first comes here. Meanwhile `DelayedError` leaves the attempt: the job is
        delayed, and no attempt is spent."""
        if ask(steps.sleep, name, max(0, ceil(milliseconds))):
            self._moved = "delayed"
            raise DelayedError(f"job sleeps in step `{name}`")

    @awaited
    def call(
        self, name: str, queue: Queue | str, job: str, data: Any = None, opts: dict[str, Any] | None = None
    ) -> Any:
        """Adds a job as a child of this one, once, and returns its value. While it runs, `WaitingChildrenError` leaves
        the attempt, and no attempt is spent. A child that fails for good raises `CalledJobError` with its reason.

        The child's id is made by the host. Where its options do not say what its failure means for this job, this job
        goes on and learns of it."""
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
        """A place in a long loop, which a later attempt finds again."""
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
    """Keeps the value of a step, and returns it as a later attempt has it: a tuple is a list."""
    text = _json.dumps(value)
    ask(steps.finish, name, text)
    return _json.loads(text)


class Cursor:
    """A place in a long loop, from `job.cursor`."""

    #: The place that was kept last; None before the first one.
    value: Any

    def __init__(self, name: str, value: Any):
        self._name = name
        self.value = value

    @awaited
    def set(self, place: Any) -> None:
        """Keeps a place, at once: one write to Redis."""
        text = _json.dumps(place)
        ask(steps.set_cursor, self._name, text)
        self.value = _json.loads(text)
