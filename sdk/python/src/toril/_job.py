"""BullMQ's `Job`: what the job of an attempt and the jobs of a queue have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ._errors import missing
from ._host import ask, awaited, current_job, producer, queues, whole_milliseconds
from ._options import checked_priority, parent_of

if TYPE_CHECKING:
    from ._queue import Queue

_OF_THE_CURRENT_JOB = "it works on the job that the processor was called for"
_READ_BY_FLOWS = f"{_OF_THE_CURRENT_JOB}; `FlowProducer.getFlow` reads other jobs and their results"
_REFUSED = {
    "updateData": _OF_THE_CURRENT_JOB,
    "updateProgress": _OF_THE_CURRENT_JOB,
    "log": _OF_THE_CURRENT_JOB,
    "moveToDelayed": _OF_THE_CURRENT_JOB,
    "moveToWaitingChildren": _OF_THE_CURRENT_JOB,
    "moveToWait": _OF_THE_CURRENT_JOB,
    "removeUnprocessedChildren": _OF_THE_CURRENT_JOB,
    "removeChildDependency": _OF_THE_CURRENT_JOB,
    "step": _OF_THE_CURRENT_JOB,
    "sleep": _OF_THE_CURRENT_JOB,
    "call": _OF_THE_CURRENT_JOB,
    "cursor": _OF_THE_CURRENT_JOB,
    "getChildrenValues": _READ_BY_FLOWS,
    "getFailedChildrenValues": _READ_BY_FLOWS,
    "getDependencies": _READ_BY_FLOWS,
    "getDependenciesCount": _READ_BY_FLOWS,
    "moveToCompleted": "return the value",
    "moveToFailed": "raise an error; `UnrecoverableError` is not tried again",
    "updateStacktrace": "raise an error: its traceback is stored",
}


#: States in which a job has ended, as the host calls them.
_FINISHED = {"completed": "COMPLETED", "failed": "FAILED"}


def own_prefix() -> str:
    """The prefix of the job's queue, which is that of all queues that a processor reaches."""
    return ask(current_job.queue_qualified_name)[: -len(ask(current_job.queue_name)) - 1]


class Job:
    """A job that was added to a queue, or found in one."""

    queue: Queue
    id: str
    name: str
    data: Any
    opts: dict[str, Any]

    progress: Any = 0
    returnvalue: Any = None
    failedReason: str | None = None
    deferredFailure: str | None = None
    processedOn: int | None = 0
    finishedOn: int | None = 0
    attemptsMade = 0
    attemptsStarted = 0
    stalledCounter = 0
    delay = 0
    priority = 0
    timestamp = 0
    repeatJobKey: str | None = None
    deduplication_id: str | None = None
    parent: dict[str, Any] | None = None
    parentKey: str | None = None
    token: str | None = None
    discarded = False
    stacktrace: list[str]

    def __init__(
        self, queue: Queue, name: str, data: Any, opts: dict[str, Any] | None = None, job_id: str | None = None
    ):
        opts = opts or {}
        backoff = opts.get("backoff")
        if isinstance(backoff, int) and backoff:
            opts = {**opts, "backoff": {"type": "fixed", "delay": backoff}}
        self.queue = queue
        self.id = job_id or opts.get("jobId")  # type: ignore[assignment]
        self.name = name
        self.data = data
        self.opts = {"attempts": 0, "delay": 0, **opts}
        self.delay = opts.get("delay", 0)
        self.priority = opts.get("priority", 0)
        self.timestamp = opts.get("timestamp") or round(time.time() * 1000)
        self.parent = parent_of(opts)
        self.parentKey = f"{self.parent['queueKey']}:{self.parent['id']}" if self.parent else None
        self.deduplication_id = (opts.get("deduplication") or {}).get("id")
        self.stacktrace = []

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} of {self.queueName!r}>"

    @property
    def queueName(self) -> str:
        return self.queue.name

    @property
    def queueQualifiedName(self) -> str:
        return self.queue.qualifiedName

    @property
    def prefix(self) -> str:
        return self.queueQualifiedName[: -len(self.queueName) - 1]

    @property
    def attempts(self) -> int:
        return self.opts.get("attempts") or 1

    @property
    def removeOnComplete(self) -> Any:
        return self.opts.get("removeOnComplete", True)

    @property
    def removeOnFail(self) -> Any:
        return self.opts.get("removeOnFail", False)

    def _state(self) -> str:
        return ask(producer.state, self.queueName, self.id)

    @awaited
    def getState(self) -> str:
        return self._state()

    @awaited
    def isCompleted(self) -> bool:
        return self._state() == "completed"

    @awaited
    def isFailed(self) -> bool:
        return self._state() == "failed"

    @awaited
    def isDelayed(self) -> bool:
        return self._state() == "delayed"

    @awaited
    def isActive(self) -> bool:
        return self._state() == "active"

    @awaited
    def isWaiting(self) -> bool:
        return self._state() == "waiting"

    @awaited
    def isWaitingChildren(self) -> bool:
        return self._state() == "waiting-children"

    @awaited
    def remove(self, opts: dict[str, Any] | None = None) -> None:
        ask(producer.remove, self.queueName, self.id, bool((opts or {}).get("removeChildren", True)))

    @awaited
    def changeDelay(self, delay: int) -> None:
        ask(queues.change_delay, self.queueName, self.id, whole_milliseconds(delay))
        self.delay = delay

    @awaited
    def changePriority(self, opts: dict[str, Any]) -> None:
        priority = checked_priority(opts.get("priority", 0))
        ask(queues.change_priority, self.queueName, self.id, priority, bool(opts.get("lifo", False)))
        self.priority = priority

    @awaited
    def promote(self) -> None:
        ask(queues.promote, self.queueName, self.id)
        self.delay = 0

    @awaited
    def retry(self, state: str = "failed", opts: dict[str, Any] | None = None) -> None:
        if any((opts or {}).values()):
            raise missing("Job.retry with options", "the counters of a job that is retried stay as they are")
        if state not in _FINISHED:
            # In BullMQ no job is in a state that is none.
            raise ValueError(f"Job {self.id} is not in the {state} state. reprocessJob")
        ask(queues.retry, self.queueName, self.id, queues.Finished[_FINISHED[state]])
        self.failedReason = self.returnvalue = self.processedOn = self.finishedOn = None

    @awaited
    def removeDeduplicationKey(self) -> bool:
        if not self.deduplication_id:
            return False
        return ask(queues.remove_deduplication_key, self.queueName, self.deduplication_id)

    def __getattr__(self, name: str) -> Any:
        if name in _REFUSED:
            raise missing(f"Job.{name}", _REFUSED[name])
        raise AttributeError(f"a job has no attribute `{name}`")

    @staticmethod
    def fromId(queue: Queue, jobId: str) -> Any:
        return queue.getJob(jobId)

    @staticmethod
    def addJobLog(queue: Queue, jobId: str, logRow: str, keepLogs: int = 0) -> Any:
        raise missing("Job.addJobLog", "use `job.log`")


class FoundJob(Job):
    """A job that was looked for: the host tells its name, its state and how it ended."""

    _UNKNOWN = {"data", "opts", "progress", "attemptsMade", "attemptsStarted", "timestamp", "stacktrace", "delay",
                "priority", "parent", "parentKey", "processedOn", "finishedOn", "stalledCounter", "repeatJobKey",
                "deduplication_id"}  # fmt: skip

    def __init__(self, queue: Queue, found: dict[str, Any]):
        self.queue = queue
        self.id = found["id"]
        self.name = found["name"]
        self.returnvalue = found.get("returnvalue")
        self.failedReason = found.get("failedReason")

    def __getattribute__(self, name: str) -> Any:
        if name in FoundJob._UNKNOWN and name not in object.__getattribute__(self, "__dict__"):
            raise missing(
                f"{name} of job {self.id} in queue {self.queueName}",
                "a processor sees of other jobs their id, name, state, returnvalue and failedReason",
            )
        return object.__getattribute__(self, name)
