"""The host's functions, and how their errors reach a processor.

Outside of a component there is no host: every call raises. So the package can be imported by type checkers, tests and
the build."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from typing import Any

from ._errors import JobError, UnrecoverableError


class Outside:
    """Stands for an interface of the host where there is none."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("this works inside a processor only, while a host runs it")


try:
    from componentize_py_types import Err
    from wit_world.imports import (
        current_job,
        environment,
        jobs,
        logging,
        monotonic_clock,
        poll,
        producer,
        queues,
        schedulers,
        steps,
    )
except ImportError:
    current_job = environment = jobs = logging = monotonic_clock = poll = producer = queues = Outside()
    schedulers = steps = Outside()

    class Err(Exception):  # type: ignore[no-redef]
        """What the host's errors are raised as."""

        value: Any = None


class Building:
    """True while the component is built: then there is no job, and calls of the host would trap."""

    now = False


def _error_of(error: Any) -> Exception:
    """The Python error for a `job-error`: its case is the code."""
    words = type(error).__name__.removeprefix("JobError_")
    code = "".join("-" + c.lower() if c.isupper() else c for c in words).lstrip("-")
    found = JobError(error.value, code)
    if code != "child-failed":
        return found
    exit = UnrecoverableError(error.value)
    exit.__cause__ = found
    return exit


def well_formed(value: Any) -> Any:
    """A text as the host takes it, or texts in lists: U+FFFD stands for half of a surrogate pair. No other text may reach the
    host: the instance would end."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(well_formed, value))
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        # Two halves that belong together are one character, as in JavaScript.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


#: The largest number that JavaScript counts exactly.
MILLISECONDS_MAX = 2**53 - 1


def whole_milliseconds(value: float) -> int:
    """A time as the host takes it: a number that it does not have would end the instance."""
    number = value if isinstance(value, (int, float)) else int(value)
    return int(min(max(number, 0), MILLISECONDS_MAX))


def ask(function: Callable[..., Any], *args: Any) -> Any:
    """Calls the host; its errors are raised as `JobError`."""
    if Building.now:
        raise RuntimeError(
            f"`{function.__name__}` was called while the component is built: a module may not use jobs or queues"
            " when it is imported, only inside of the processor"
        )
    try:
        return function(*map(well_formed, args))
    except Err as error:
        failed = _error_of(error.value)
    raise failed


class Done(Coroutine):
    """The awaitable of a call that has been carried out. A task may be made of it."""

    __slots__ = ("_value", "_error")

    def __init__(self, value: Any = None, error: BaseException | None = None):
        self._value = value
        self._error = error

    def send(self, _value: Any) -> Any:
        if self._error is not None:
            raise self._error
        raise StopIteration(self._value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        raise kind if value is None else value

    def close(self) -> None:
        pass

    def __await__(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value
        yield


def awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that calls the host, as an awaitable where the processor is
    asynchronous, as BullMQ's. In a synchronous processor it returns the value itself."""

    def called(*args: Any, **named: Any) -> Any:
        if _get_running_loop() is None:
            return method(*args, **named)
        try:
            return Done(method(*args, **named))
        except Exception as error:
            return Done(error=error)

    called.__name__ = method.__name__
    called.__qualname__ = method.__qualname__
    called.__doc__ = method.__doc__
    return called
