"""Sockets are refused while a component is built: the C library would keep a handle of the network, which no instance knows, and the
first look-up of a name in a job would end its sandbox."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._host import Building

#: The ways to the C library that packages try when they are imported.
_WAYS = [
    (socket.socket, "__init__"),
    (socket, "getaddrinfo"),
    (socket, "getnameinfo"),
    (socket, "gethostbyname"),
    (socket, "gethostbyname_ex"),
    (socket, "gethostbyaddr"),
]


def _guarded(function: Any) -> Any:
    """A module that is imported meanwhile may keep it: in a job it is the function again."""

    def call(*args: Any, **named: Any) -> Any:
        if Building.now:
            raise PermissionError(errno.EACCES, "there are no sockets while a component is built")
        return function(*args, **named)

    return call


@contextmanager
def refused() -> Iterator[None]:
    # Some systems lack some of them.
    ways = [way for way in _WAYS if hasattr(*way)]
    before = [getattr(*way) for way in ways]
    try:
        for way, function in zip(ways, before):
            setattr(*way, _guarded(function))
        yield
    finally:
        for way, function in zip(ways, before):
            setattr(*way, function)
