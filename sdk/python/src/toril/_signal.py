"""BullMQ's `AbortSignal`, the third argument of a processor. It asks the host when it is read, and every 100 ms while a task waits
for it."""

from __future__ import annotations

import asyncio

from ._host import ask, current_job

_POLL_SECONDS = 0.1


class AbortError(Exception):
    def __init__(self, reason: str | None = None):
        super().__init__(reason or "The operation was aborted")
        self.reason = reason


class AbortSignal:
    """Aborted once the job should stop: it was cancelled, its lock is lost, or its deadline is near."""

    _aborted = False
    _reason: str | None = None

    def _ask(self) -> tuple[bool, str | None]:
        return False, None

    def _look(self) -> bool:
        if not self._aborted:
            self._aborted, self._reason = self._ask()
        return self._aborted

    @property
    def aborted(self) -> bool:
        return self._look()

    @property
    def reason(self) -> str | None:
        self._look()
        return self._reason

    async def wait(self) -> None:
        """Returns once the signal is aborted."""
        while not self._look():
            await asyncio.sleep(_POLL_SECONDS)

    def throw_if_aborted(self) -> None:
        if self._look():
            raise AbortError(self._reason)


class JobSignal(AbortSignal):
    """The signal of an attempt."""

    def _ask(self) -> tuple[bool, str | None]:
        if not ask(current_job.is_cancelled):
            return False, None
        return True, ask(current_job.cancel_reason) or "the job is near the end of its time"


class AbortController:
    """Makes a signal of the processor's own."""

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: str | None = None) -> None:
        if not self.signal._aborted:
            self.signal._aborted, self.signal._reason = True, reason
