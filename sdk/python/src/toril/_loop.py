"""asyncio's event loop over `wasi:io/poll`: timers and requests, no threads and no sockets.

One loop serves all jobs of an instance, and keeps nothing from one to the next."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from ._host import monotonic_clock, poll

#: Longer waits are asked for again: a clock counts in 64 bits of nanoseconds.
_WAIT_SECONDS_MAX = 24 * 3600


class StuckError(RuntimeError):
    """The processor waits for something that can never come."""

    __module__ = "toril"


class _Exit(Exception):
    """Carries what asyncio would not leave to its task."""

    def __init__(self, error: BaseException):
        self.error = error


async def _guarded(main: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await main
    except (SystemExit, KeyboardInterrupt) as error:
        raise _Exit(error) from None


def _fail_waiting(task: asyncio.Task[Any], error: StuckError) -> None:
    """Raises the error where the task waits, so that its traceback shows the place."""
    waiting: Any = task
    while isinstance(waiting, asyncio.Task):
        waiting = waiting._fut_waiter  # type: ignore[attr-defined]
    if waiting is None or waiting.done():
        raise error
    waiting.set_exception(error.with_traceback(None))


def _wait(pollables: list[Any], timeout: float | None) -> list[int]:
    """Waits for one of these, at most so many seconds; returns the numbers of those that are ready."""
    if timeout is None:
        return poll.poll(pollables)
    with monotonic_clock.subscribe_duration(max(0, int(timeout * 1e9))) as timer:
        ready = poll.poll([*pollables, timer])
    return [n for n in ready if n < len(pollables)]


class _Selector:
    """What `BaseEventLoop` waits with."""

    def __init__(self) -> None:
        self.waiting: dict[Any, asyncio.Future[None]] = {}

    def select(self, timeout: float | None) -> list[asyncio.Future[None]]:
        if not self.waiting:
            if timeout is None:
                raise StuckError(
                    "the processor waits for something that can never come: no timer and no request is left"
                )
            if timeout <= 0:
                return []
        if timeout is not None:
            timeout = min(timeout, _WAIT_SECONDS_MAX)
        pollables = list(self.waiting)
        return [self.waiting[pollables[n]] for n in _wait(pollables, timeout)]

    def close(self) -> None:
        pass


class Loop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()
        self._made_tasks = False
        #: Tasks that close generators which the processor let go.
        self._closing: list[asyncio.Task[Any]] = []

    def _process_events(self, ready: list[asyncio.Future[None]]) -> None:
        for future in ready:
            if not future.done():
                future.set_result(None)

    def _write_to_self(self) -> None:
        """There is no other thread that this loop would have to be woken for."""

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:
        self._made_tasks = True
        return super().create_task(coro, **named)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        self._asyncgens.discard(agen)  # type: ignore[attr-defined]
        self.call_soon(lambda: self._closing.append(self.create_task(agen.aclose())))

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """There are no threads: the function runs here and now."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def ready(self, pollable: Any) -> None:
        """Waits for a pollable."""
        future = self._selector.waiting[pollable] = self.create_future()
        try:
            await future
        finally:
            del self._selector.waiting[pollable]

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Runs a processor to its end, and then what it left behind: like `asyncio.run`, whose tasks are cancelled."""
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        self._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        try:
            # The first part runs at once: most processors never wait.
            task = asyncio.Task(_guarded(main), loop=self, eager_start=True)
            self._until_done(task)
            return task.result()
        except _Exit as exit:
            raise exit.error from None
        finally:
            try:
                self._end_tasks()
            finally:
                sys.set_asyncgen_hooks(*hooks)
                self._thread_id = None
                events._set_running_loop(None)
                self._forget()

    def _until_done(self, task: asyncio.Task[Any]) -> None:
        while not task.done():
            try:
                self._run_once()
            except StuckError as error:
                _fail_waiting(task, error)

    def _end_tasks(self) -> None:
        if not (self._made_tasks or self._ready or self._asyncgens):  # type: ignore[attr-defined]
            return
        left = asyncio.all_tasks(self).difference(self._closing)
        for task in left:
            task.cancel()
        try:
            for task in left:
                self._until_done(task)
            self._close_generators()
        except StuckError:
            return
        for task in [*left, *self._closing]:
            if not task.cancelled() and task.exception() is not None:
                context = {
                    "message": "exception of a task that was left",
                    "exception": task.exception(),
                    "task": task,
                }
                self.call_exception_handler(context)

    def _close_generators(self) -> None:
        """Runs the ends of asynchronous generators: of those that were let go, and of those that somebody still holds."""
        self._until_done(self.create_task(self.shutdown_asyncgens()))
        # The list may grow meanwhile.
        for task in self._closing:
            self._until_done(task)

    def _forget(self) -> None:
        self._ready.clear()
        self._scheduled.clear()
        self._timer_cancelled_count = 0
        self._selector.waiting.clear()
        self._closing.clear()
        self._asyncgens.clear()  # type: ignore[attr-defined]
        self._made_tasks = self._asyncgens_shutdown_called = False
        self._stopping = False


class _Policy(
    events.BaseDefaultEventLoopPolicy
    if hasattr(events, "BaseDefaultEventLoopPolicy")
    else events._BaseDefaultEventLoopPolicy
):  # type: ignore[misc]
    """Makes the loops of `asyncio.run` in a synchronous processor."""

    _loop_factory = Loop


@contextmanager
def blocking() -> Iterator[None]:
    """Has what is done inside wait by blocking, although a loop may run."""
    loop = events._get_running_loop()
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(loop)


async def ready(pollable: Any) -> None:
    """Waits for a pollable: with the loop where one runs, else by blocking."""
    loop = events._get_running_loop()
    if isinstance(loop, Loop):
        await loop.ready(pollable)
    else:
        pollable.block()


def _run_at_build(*args: Any, **named: Any) -> Any:
    raise RuntimeError(
        "`asyncio.run` was called while the component is built: guard the program's start with"
        ' `if __name__ == "__main__":`'
    )


def install() -> Loop:
    """Makes this the loop of asyncio. Until `finish`, `asyncio.run` is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(_Policy())
    asyncio.run = _run_at_build
    return Loop()


_run = asyncio.run


def finish() -> None:
    asyncio.run = _run
