"""The job that the processor was called for. Its fields are read from the host when the processor first asks for them: most
processors need few, and fewer calls make a faster job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from . import _json
from ._host import ask, awaited, current_job, whole_milliseconds
from ._job import Job
from ._options import long_options
from ._steps import Steps

#: Stands for the lock's token, which the host keeps to itself: processors hand it on, and some check that there is one.
TOKEN = "held-by-the-host"


def _own_queue() -> Any:
    from ._queue import Queue

    return Queue(ask(current_job.queue_name))


_READ: dict[str, Callable[[], Any]] = {
    "id": lambda: ask(current_job.id),
    "name": lambda: ask(current_job.name),
    "data": lambda: _json.loads(ask(current_job.data)),
    "opts": lambda: long_options(ask(current_job.opts)),
    "queue": _own_queue,
    "queueName": lambda: ask(current_job.queue_name),
    "queueQualifiedName": lambda: ask(current_job.queue_qualified_name),
    "progress": lambda: _json.loads(ask(current_job.progress) or "0"),
    "stacktrace": lambda: ask(current_job.stacktrace),
    "delay": lambda: ask(current_job.delay),
    "priority": lambda: ask(current_job.priority),
    "timestamp": lambda: ask(current_job.timestamp),
    "attemptsMade": lambda: ask(current_job.attempts_made),
    "attemptsStarted": lambda: ask(current_job.attempts_started),
    "stalledCounter": lambda: ask(current_job.stalled_counter),
    "failedReason": lambda: ask(current_job.failed_reason),
    "processedOn": lambda: ask(current_job.processed_on),
    "parentKey": lambda: ask(current_job.parent_key),
    "parent": lambda: _json.or_none(ask(current_job.parent)),
    "deduplication_id": lambda: ask(current_job.deduplication_id),
    "repeatJobKey": lambda: ask(current_job.repeat_job_key),
}


class _Lazy:
    """A field that is read once. As it has no setter, the value that it leaves in the instance takes its place."""

    def __init__(self, name: str):
        self._name = name
        self._read = _READ[name]

    def __get__(self, job: Any, _kind: Any = None) -> Any:
        if job is None:
            return self
        value = job.__dict__[self._name] = self._read()
        return value


class CurrentJob(Steps, Job):
    """See BullMQ's `Job`. The token that some methods take is ignored: the host holds the lock."""

    token = TOKEN
    finishedOn = None

    def __init__(self) -> None:
        self._moved: str | None = None

    def _state(self) -> str:
        return self._moved or "active"

    @awaited
    def updateData(self, data: Any) -> None:
        self.data = data
        ask(current_job.update_data, _json.dumps(data))

    @awaited
    def updateProgress(self, progress: Any) -> None:
        self.progress = progress
        ask(current_job.update_progress, _json.dumps(progress))

    @awaited
    def log(self, logRow: Any) -> int:
        return ask(current_job.log, str(logRow))

    @awaited
    def moveToDelayed(self, timestamp: int, token: str | None = None) -> None:
        due = whole_milliseconds(timestamp)
        ask(current_job.move_to_delayed, due)
        self.delay = max(0, due - round(time.time() * 1000))
        self._moved = "delayed"

    @awaited
    def moveToWaitingChildren(self, token: str | None = None, opts: dict[str, Any] | None = None) -> bool:
        child = (opts or {}).get("child")
        waits = ask(current_job.move_to_waiting_children, child and f"{child['queue']}:{child['id']}")
        if waits:
            self._moved = "waiting-children"
        return waits

    @awaited
    def moveToWait(self, token: str | None = None) -> None:
        ask(current_job.move_to_wait)
        self._moved = "waiting"

    @awaited
    def getChildrenValues(self) -> dict[str, Any]:
        return {key: _json.loads(value) for key, value in ask(current_job.children_values)}

    @awaited
    def getFailedChildrenValues(self) -> dict[str, str]:
        return dict(ask(current_job.failed_children_values))

    getIgnoredChildrenFailures = getFailedChildrenValues

    @awaited
    def getDependencies(self, opts: dict[str, Any] | None = None) -> dict[str, Any]:
        return _json.loads(ask(current_job.dependencies, _json.dumps(opts or {})))

    @awaited
    def getDependenciesCount(self, opts: dict[str, Any] | None = None) -> dict[str, int]:
        return _json.loads(ask(current_job.dependencies_count, _json.dumps(opts or {})))

    @awaited
    def removeUnprocessedChildren(self) -> int:
        """Returns how many were removed."""
        return ask(current_job.remove_unprocessed_children)

    @awaited
    def removeChildDependency(self) -> bool:
        if self.parentKey is None or not ask(current_job.remove_child_dependency):
            return False
        self.parent = self.parentKey = None
        return True

    @awaited
    def extendLock(self, token: str | None = None, duration: int = 0) -> int:
        """The host renews the lock by itself, as long as the job runs."""
        return 1


for _name in _READ:
    setattr(CurrentJob, _name, _Lazy(_name))
