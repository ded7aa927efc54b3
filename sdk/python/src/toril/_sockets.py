"""Sockets are refused while a component is built: the C library would keep a handle of the network, which no instance knows, and the
first look-up of a name in a job would end its sandbox."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: The ways to the C library that packages try when they are imported.
_WAYS = [(socket.socket, "__init__"), (socket, "getaddrinfo"), (socket, "gethostbyname"), (socket, "gethostbyaddr")]


def _refuse(*_args: Any, **_named: Any) -> Any:
    raise PermissionError(errno.EACCES, "there are no sockets while a component is built")


@contextmanager
def refused() -> Iterator[None]:
    before = [getattr(*way) for way in _WAYS]
    try:
        for way in _WAYS:
            setattr(*way, _refuse)
        yield
    finally:
        for way, function in zip(_WAYS, before):
            setattr(*way, function)
