"""BullMQ's `Queue`, as far as a processor can have it: the host judges each call by what the operator granted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from . import _json, _limit
from ._connected import Connected, refuse
from ._current_job import CurrentJob
from ._errors import JobError
from ._host import ask, awaited, current_job, producer, queues, schedulers, well_formed
from ._job import FoundJob, Job, own_prefix
from ._options import checked

STATES = ["active", "completed", "delayed", "failed", "prioritized", "waiting", "waiting-children"]
#: Codes of the host for jobs that cannot be removed now.
_NOT_REMOVED = {"not-in-state", "lock-lost"}


def _new_job(name: str, data: Any, options: dict[str, Any]) -> Any:
    return producer.NewJob(name=well_formed(str(name)), data=_json.dumps(data), options=_json.dumps(options))


def called(queue: Queue | str, name: str, data: Any, opts: dict[str, Any] | None) -> tuple[str, Any]:
    """The queue and the job of `job.call`, as the host takes them."""
    if isinstance(queue, str):
        queue = Queue(queue)
    queue._check_prefix()
    return queue.name, _new_job(name, {} if data is None else data, queue._options(opts))


def _times_as_numbers(repeat: dict[str, Any]) -> dict[str, Any]:
    def number(value: Any) -> Any:
        return round(value.timestamp() * 1000) if isinstance(value, datetime) else value

    return {name: number(value) for name, value in repeat.items() if value is not None}


class Queue(Connected):
    def __init__(self, name: str, opts: dict[str, Any] | None = None):
        super().__init__(name, opts)
        self.jobsOpts = self.opts.get("defaultJobOptions", {})

    @property
    def prefix(self) -> str:
        return self.opts.get("prefix") or own_prefix()

    @property
    def qualifiedName(self) -> str:
        return f"{own_prefix()}:{self.name}"

    def _options(self, opts: dict[str, Any] | None) -> dict[str, Any]:
        return checked({**self.jobsOpts, **(opts or {})})

    @awaited
    def add(self, name: str, data: Any, opts: dict[str, Any] | None = None) -> Job:
        self._check_prefix()
        options = self._options(opts)
        id = ask(producer.add, self.name, _new_job(name, data, options))
        return Job(self, name, data, options, id)

    @awaited
    def addBulk(self, jobs: list[dict[str, Any]]) -> list[Job]:
        self._check_prefix()
        added = [(job.get("name", ""), job.get("data"), self._options(job.get("opts"))) for job in jobs]
        ids = ask(producer.add_bulk, self.name, [_new_job(*job) for job in added])
        return [Job(self, *job, id) for job, id in zip(added, ids)]

    @awaited
    def getJob(self, job_id: str) -> Job | None:
        self._check_prefix()
        if not job_id:
            return None
        if self.name == ask(current_job.queue_name) and str(job_id) == ask(current_job.id):
            return CurrentJob()
        query = _json.dumps({"depth": 1, "maxChildren": 1})
        found = _json.loads(ask(producer.get_flow, self.name, str(job_id), query))
        return FoundJob(self, found) if found else None

    @awaited
    def getJobState(self, job_id: str) -> str:
        self._check_prefix()
        return ask(producer.state, self.name, str(job_id)) if job_id else "unknown"

    @awaited
    def remove(self, job_id: str, opts: dict[str, Any] | None = None) -> int:
        self._check_prefix()
        try:
            ask(producer.remove, self.name, str(job_id), bool((opts or {}).get("removeChildren", True)))
        except JobError as error:
            if error.code in _NOT_REMOVED:
                return 0
            raise
        return 1

    def _counts(self, types: Any) -> dict[str, int]:
        self._check_prefix()
        counts = _json.loads(ask(queues.counts, self.name))
        return {name: counts.get("waiting" if name == "wait" else name, 0) for name in types or STATES}

    @awaited
    def getJobCounts(self, *types: str) -> dict[str, int]:
        return self._counts(types)

    @awaited
    def getJobCountByTypes(self, *types: str) -> int:
        return sum(self._counts(types).values())

    @awaited
    def rateLimit(self, expire_time_ms: int) -> None:
        self._check_prefix()
        _limit.limit(self.name, expire_time_ms)

    @awaited
    def removeDeduplicationKey(self, id: str) -> int:
        self._check_prefix()
        return int(ask(queues.remove_deduplication_key, self.name, str(id)))

    @awaited
    def upsertJobScheduler(
        self,
        job_scheduler_id: str,
        repeat_opts: dict[str, Any],
        job_name: str | None = None,
        job_data: Any = None,
        opts: dict[str, Any] | None = None,
    ) -> Job | None:
        self._check_prefix()
        name, options = job_name or job_scheduler_id, self._options(opts)
        template = _new_job(name, {} if job_data is None else job_data, options)
        schedule = _json.dumps(_times_as_numbers(repeat_opts))
        id = ask(schedulers.upsert, self.name, str(job_scheduler_id), schedule, template)
        if id is None:
            return None
        job = Job(self, name, job_data, options, id)
        job.repeatJobKey = job_scheduler_id
        return job

    @awaited
    def removeJobScheduler(self, job_scheduler_id: str) -> int:
        """0: it is removed. 1: there is no such scheduler."""
        self._check_prefix()
        return 0 if ask(schedulers.remove, self.name, str(job_scheduler_id)) else 1

    def _scheduler(self, id: str) -> Any:
        self._check_prefix()
        return _json.loads(ask(schedulers.get, self.name, str(id)))

    @awaited
    def getJobScheduler(self, job_scheduler_id: str) -> dict[str, Any] | None:
        return self._scheduler(job_scheduler_id)

    @awaited
    def isJobScheduler(self, job_scheduler_id: str) -> bool:
        return self._scheduler(job_scheduler_id) is not None

    def _schedulers(self, start: int, end: int, asc: bool) -> list[dict[str, Any]]:
        self._check_prefix()
        query = _json.dumps({"start": start, "end": end, "asc": asc})
        return _json.loads(ask(schedulers.list, self.name, query))

    @awaited
    def getJobSchedulers(self, start: int = 0, end: int = -1, asc: bool = False) -> list[dict[str, Any]]:
        return self._schedulers(start, end, asc)

    @awaited
    def getJobSchedulersCount(self) -> int:
        return len(self._schedulers(0, -1, False))


def _count_of(state: str) -> Any:
    @awaited
    def method(self: Queue) -> int:
        return self._counts([state])[state]

    return method


for _state in STATES:
    setattr(Queue, f"get{_state.title().replace('-', '')}Count", _count_of(_state))

refuse(
    Queue,
    "that is for operators: the command line and the API of the host have it, and BullMQ in a service of your own",
    "pause resume isPaused drain clean obliterate retryJobs promoteJobs trimEvents get_workers get_workers_count"
    " setGlobalConcurrency getGlobalConcurrency removeGlobalConcurrency setGlobalRateLimit getGlobalRateLimit"
    " removeGlobalRateLimit removeRateLimitKey getRateLimitTtl removeDeprecatedPriorityKey toKey",
)
refuse(
    Queue,
    "jobs are read by their ids: `getJob`, `getJobState`, `getJobCounts`",
    "getJobs getWaiting getActive getDelayed getCompleted getFailed getPrioritized getWaitingChildren getJobLogs"
    " getCountsPerPriority getDeduplicationJobId",
)


class QueueEventsProducer(Connected):
    """BullMQ's producer of events of one's own."""

    @awaited
    def publishEvent(self, argsObj: dict[str, Any], maxEvents: int = 1000) -> None:
        self._check_prefix()
        fields = {name: str(value) for name, value in argsObj.items() if name != "eventName"}
        ask(queues.publish_event, self.name, str(argsObj["eventName"]), list(fields.items()))
