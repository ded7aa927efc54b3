"""What BullMQ's classes that hold a connection have in common. Here the host holds it: it is always there, and there is
nothing to close."""

from __future__ import annotations

from typing import Any

from ._errors import missing
from ._host import awaited
from ._job import own_prefix

#: Events of a connection. They never come, so listeners for them may stay.
_OF_CONNECTIONS = {"error", "ready", "closing", "closed"}


class Connected:
    name: str
    opts: dict[str, Any]

    def __init__(self, name: str, opts: dict[str, Any] | None = None):
        if not isinstance(name, str) or not name:
            raise ValueError("Queue name must be provided")
        if ":" in name:
            raise ValueError("Queue name cannot contain :")
        self.name = name
        self.opts = opts or {}

    def _check_prefix(self) -> None:
        prefix = self.opts.get("prefix")
        if prefix is not None and prefix != (own := own_prefix()):
            raise missing(f"queue {self.name} of the prefix {prefix}", f"its queues have the prefix `{own}`")

    @awaited
    def close(self, force: bool = False) -> None:
        pass

    @awaited
    def disconnect(self) -> None:
        pass

    def on(self, event: str, listener: Any = None) -> Any:
        if event in _OF_CONNECTIONS:
            return listener
        raise missing(
            f"{type(self).__name__}.on({event!r})",
            "a processor hears no events; listen with `QueueEvents` in a service of your own",
        )

    once = on

    def off(self, event: str, listener: Any = None) -> None:
        pass


def refuse(kind: type, instead: str, names: str) -> None:
    """Gives a class methods that say what to use instead of them."""

    def refusing(name: str) -> Any:
        @awaited
        def method(self: Any, *args: Any, **named: Any) -> Any:
            raise missing(f"{kind.__name__}.{name}", instead)

        return method

    for name in names.split():
        setattr(kind, name, refusing(name))
