"""Runs attempts while the component is built, with a host that answers by itself: Python adapts its code to what it sees,
and writes that into the code. What it has seen before the snapshot, it need not write in each instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _current_job, _fresh, _host, _limit
from ._attempt import Attempts
from ._loop import Loop
from ._worker import Processor

#: Python adapts a function when it has been called a few times, in several steps.
_TIMES = 60


class _Answers:
    """Stands for `current-job`."""

    _fixed = {"data": "{}", "opts": "{}", "progress": "0", "parent": None, "parent_key": None, "log": 1}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        value = self._fixed.get(name, "rehearsal")
        return lambda *_: value


class _NoEnvironment:
    @staticmethod
    def get_environment() -> list[tuple[str, str]]:
        return [("NAME", "value")]


@contextmanager
def _pretended_host() -> Iterator[None]:
    pretended = {(_current_job, "current_job"): _Answers(), (_limit, "current_job"): _Answers(),
                 (_fresh, "environment"): _NoEnvironment}  # fmt: skip
    before = {place: getattr(*place) for place in pretended}
    building, _host.Building.now = _host.Building.now, False
    try:
        for place, instead in pretended.items():
            setattr(*place, instead)
        yield
    finally:
        for place, value in before.items():
            setattr(*place, value)
        _host.Building.now = building


async def _asynchronous(job: Any, token: str) -> Any:
    await job.updateProgress(1)
    await job.log("line")
    return {"id": job.id, "name": job.name, "data": job.data, "opts": job.opts, "attemptsMade": job.attemptsMade}


def _synchronous(job: Any) -> Any:
    job.updateData({"data": job.data})


def rehearse(loop: Loop) -> None:
    with _pretended_host():
        for function in (_asynchronous, _synchronous):
            for _ in range(_TIMES):
                Attempts(Processor(function), loop).run()
