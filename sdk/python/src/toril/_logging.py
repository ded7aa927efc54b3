"""`logging` and `print`, to the host's log. The host adds the queue and the job to each line."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ._failure import stack_of
from ._host import Building, well_formed
from ._host import logging as host


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return stack_of(ei[1]) or ""


class HostHandler(logging.Handler):
    """Writes to the host's log, a line at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        if Building.now:
            return
        try:
            level = _level(record.levelno)
            for line in self.format(record).splitlines():
                host.log(level, well_formed(line))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)


def _level(number: int) -> Any:
    if number >= logging.ERROR:
        return host.Level.ERROR
    if number >= logging.WARNING:
        return host.Level.WARN
    return host.Level.INFO if number >= logging.INFO else host.Level.DEBUG


def install() -> None:
    """Takes the place of the handlers that write to the terminal. Without any, what is worth knowing is logged."""
    root = logging.getLogger()
    if not root.handlers and root.level == logging.WARNING:
        # Nobody chose a level: this is Python's own.
        root.setLevel(logging.INFO)
    for handler in list(root.handlers):
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout):
            root.removeHandler(handler)
    root.addHandler(HostHandler())
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
