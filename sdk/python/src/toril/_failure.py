"""What an attempt that raised ends as: the exception's message as reason, and its traceback as stack."""

from __future__ import annotations

import linecache
import traceback
from typing import Any

from . import _limit
from ._errors import DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError, WaitingError
from ._host import jobs, well_formed, whole_milliseconds

#: As deep as a chain of causes is followed.
_CAUSES_MAX = 100
#: The frames that are kept of a long traceback, as that of a recursion is: where it began, and where it ended.
_FRAMES_FIRST, _FRAMES_LAST = 10, 20
_KINDS = (DelayedError, WaitingError, WaitingChildrenError, RateLimitError, UnrecoverableError)


class Places:
    """Where the sources were while the component was built: prefixes of paths, and what stands for them in tracebacks."""

    prefixes: list[tuple[str, str]] = []
    #: The files of the runtime and of Python's import system, whose frames say nothing to the user.
    hidden = (__file__.rpartition("/")[0] + "/", "<frozen importlib")


def shown(path: str) -> str:
    """A path as the user knows it."""
    for prefix, short in Places.prefixes:
        if path.startswith(prefix):
            return short + path[len(prefix) :]
    return path


def keep_source(path: str, text: str) -> None:
    """Keeps a source for tracebacks: a component has no files."""
    lines = text.splitlines(keepends=True)
    linecache.cache[path] = (len(text), None, lines, path)


def _special(error: BaseException) -> BaseException | None:
    """The first error with a special meaning: this one, one of its group, or one that it was raised from."""
    pending: list[BaseException | None] = [error]
    for _ in range(_CAUSES_MAX):
        if not pending:
            return None
        found = pending.pop(0)
        if isinstance(found, _KINDS):
            return found
        if isinstance(found, BaseExceptionGroup):
            pending.extend(found.exceptions)
        if found is not None:
            pending.append(found.__cause__)
    return None


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    if isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit)) or not text:
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text


def _shorten(error: BaseException, seen: set[int]) -> None:
    """Leaves out the runtime's frames, and the middle of a long traceback, also of the errors that this one comes from."""
    if id(error) in seen or len(seen) > _CAUSES_MAX:
        return
    seen.add(id(error))
    kept, at = [], error.__traceback__
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(Places.hidden):
            kept.append(at)
        at = at.tb_next
    if len(kept) > _FRAMES_FIRST + _FRAMES_LAST:
        kept[_FRAMES_FIRST:-_FRAMES_LAST] = []
    for frame, following in zip(kept, [*kept[1:], None]):
        frame.tb_next = following
    error.__traceback__ = kept[0] if kept else None
    others = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *others):
        if other is not None:
            _shorten(other, seen)


def _show_paths(found: traceback.TracebackException, seen: set[int]) -> None:
    if id(found) in seen:
        return
    seen.add(id(found))
    for frame in found.stack:
        # The line is read from the cache, by the path that it has there, when it is first asked for.
        _ = frame.line
        frame.filename = shown(frame.filename)
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        if other is not None:
            _show_paths(other, seen)


def stack_of(error: BaseException) -> str | None:
    """The traceback, as Python shows it. None where even that fails."""
    try:
        _shorten(error, set())
        found = traceback.TracebackException.from_exception(error, compact=True)
        _show_paths(found, set())
        return "".join(found.format()).rstrip("\n")
    except Exception:
        return None


def failure_of(error: BaseException) -> Any:
    """The `failure` for what was raised."""
    special = _special(error)
    match special:
        case DelayedError():
            return jobs.Failure_Delayed()
        case WaitingChildrenError():
            return jobs.Failure_WaitingChildren()
        case WaitingError():
            return jobs.Failure_Waiting()
        case RateLimitError():
            ms = special.durationMs
            return jobs.Failure_RateLimited(_limit.Own.ms if ms is None else whole_milliseconds(ms))
    detail = jobs.FailureDetail(message=well_formed(_message(error)), stack=well_formed(stack_of(error)))
    return jobs.Failure_Failed(detail) if special is None else jobs.Failure_Unrecoverable(detail)
