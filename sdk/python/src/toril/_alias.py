"""`bullmq`: the same names in a processor, so that its imports stay as they are."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import toril

from . import _errors, _flow_producer, _job, _queue, _signal, _worker

_ELSEWHERE = {
    "QueueEvents": "a processor hears no events; listen with it in a service of your own",
    "LockManager": "the host holds and renews the locks",
    "JobScheduler": "use `queue.upsertJobScheduler` and its siblings",
    "RedisConnection": "the host holds the connection",
}


class _Alias(ModuleType):
    """A module of BullMQ's: names that a processor cannot have say so when they are imported."""

    def __getattr__(self, name: str) -> Any:
        if name in _ELSEWHERE:
            raise _errors.missing(name, _ELSEWHERE[name])
        raise AttributeError(f"module `{self.__name__}` has no attribute `{name}`")


class _Types(ModuleType):
    """Types of options: they are dicts."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return dict[str, Any]


_PARTS = {
    "custom_errors": _errors,
    "flow_producer": _flow_producer,
    "job": _job,
    "queue": _queue,
    "abort_controller": _signal,
    "worker": _worker,
}


def install() -> None:
    """From here on `import bullmq` gives this package."""
    alias = _Alias("bullmq", toril.__doc__)
    alias.__path__ = []  # type: ignore[attr-defined]
    alias.__version__ = toril.__version__  # type: ignore[attr-defined]
    alias.__all__ = toril.__all__  # type: ignore[attr-defined]
    for name in toril.__all__:
        setattr(alias, name, getattr(toril, name))
    sys.modules["bullmq"] = alias
    for name, module in {**_PARTS, "types": _Types("bullmq.types")}.items():
        sys.modules[f"bullmq.{name}"] = module
        setattr(alias, name, module)
