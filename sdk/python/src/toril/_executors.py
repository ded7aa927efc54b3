"""`ThreadPoolExecutor` without threads: what is handed to it runs here and now, as with `asyncio.to_thread`."""

from __future__ import annotations

import concurrent.futures.thread
from collections.abc import Callable
from typing import Any

# `concurrent.futures` would import it when its name is first used: in a job.
_Executor = concurrent.futures.thread.ThreadPoolExecutor
_made = _Executor.__init__


def _make(
    executor: Any,
    max_workers: int | None = None,
    thread_name_prefix: str = "",
    initializer: Callable[..., Any] | None = None,
    initargs: tuple[Any, ...] = (),
    **more: Any,
) -> None:
    _made(executor, max_workers, thread_name_prefix, initializer, initargs, **more)
    executor._toril_initialize = (lambda: initializer(*initargs)) if initializer else None


def _initialize(executor: Any) -> None:
    """As the one thread of the pool would, before the first call."""
    initialize, executor._toril_initialize = executor._toril_initialize, None
    if initialize is not None:
        initialize()


def _submit(executor: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
    if executor._shutdown:
        raise RuntimeError("cannot schedule new futures after shutdown")
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    try:
        _initialize(executor)
        future.set_result(fn(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)
    return future


def install() -> None:
    _Executor.__init__ = _make  # type: ignore[method-assign]
    _Executor.submit = _submit  # type: ignore[method-assign]
