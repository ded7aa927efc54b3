"""`ThreadPoolExecutor` without threads: what is handed to it runs here and now, as with `asyncio.to_thread`."""

from __future__ import annotations

import concurrent.futures.thread
from collections.abc import Callable
from typing import Any


def _initialize(executor: Any) -> None:
    """As the one thread of the pool would, before the first call."""
    if not getattr(executor, "_toril_is_ready", False) and executor._initializer is not None:
        executor._initializer(*executor._initargs)
    executor._toril_is_ready = True


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
    """Also imports the module, which `concurrent.futures` would import when its name is first used."""
    concurrent.futures.thread.ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]
