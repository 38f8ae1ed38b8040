"""Complete: a settled copy is announced. Its result is stored, its event put, and everybody who waits is answered.

The stream calls this for the write that took the open jobs to zero, and the poller for a copy that was not announced.
The announcement is claimed first and noted last: it is made once, unless its maker dies in between; then the poller
makes it again, under the same ``event_id``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from icav2_copy_batch.domain import documents
from icav2_copy_batch.domain.documents import Detail
from icav2_copy_batch.domain.job import Clock, Copy, CopyStatus, Job

CLAIM = timedelta(minutes=3)
"""How long an announcement may take: longer than the function that makes it may run."""

logger = logging.getLogger(__name__)


class Table(Protocol):
    def begin_announcement(self, copy_id: str, now: datetime, until: datetime) -> Copy | None: ...
    def abandon_announcement(self, copy_id: str) -> None: ...
    def mark_announced(self, copy: Copy, now: datetime) -> bool: ...
    def get_copy(self, copy_id: str) -> Copy | None: ...
    def jobs(self, copy_id: str) -> Iterable[Job]: ...


class Bucket(Protocol):
    @property
    def name(self) -> str: ...
    def put(self, key: str, content: bytes, content_type: str = "application/json") -> str: ...


class Bus(Protocol):
    def put(self, detail_type: str, detail: Detail) -> None: ...


class Tasks(Protocol):
    def succeed(self, task_token: str, output: Detail) -> None: ...
    def fail(self, task_token: str, error: str, cause: Detail) -> None: ...


@dataclass(frozen=True)
class Complete:
    table: Table
    bucket: Bucket
    bus: Bus
    tasks: Tasks
    clock: Clock

    def announce(self, copy_id: str) -> CopyStatus | None:
        """Announce a settled copy; None when it is not settled, or announced, or being announced."""
        now = self.clock()
        copy = self.table.begin_announcement(copy_id, now, now + CLAIM)
        if copy is None:
            logger.info("nothing to announce", extra={"copy_id": copy_id})
            return None
        try:
            self._announce(copy)
        except Exception:
            self.table.abandon_announcement(copy_id)
            raise
        logger.info("copy announced", extra={"copy_id": copy_id, "status": copy.settled_status})
        return copy.settled_status

    def answer_announced(self, copy_id: str, task_token: str) -> None:
        """Answer a task that came to wait for a copy after it was announced."""
        copy = self.table.get_copy(copy_id)
        if copy is None:
            raise LookupError(f"copy {copy_id} is not in the table")
        self._answer(copy, self._detail(copy), [task_token])

    def _announce(self, copy: Copy) -> None:
        detail = self._detail(copy)
        self.bucket.put(_result_key(copy), documents.encode(detail).encode())
        self.bus.put(documents.settled_type(copy), documents.fit(detail))
        answered: set[str] = set()
        while True:
            self._answer(copy, detail, copy.task_tokens - answered)
            if self.table.mark_announced(copy, self.clock()):
                return
            # A submission of the same copy has added its task token since the copy was read.
            answered |= copy.task_tokens
            reread = self.table.get_copy(copy.copy_id)
            if reread is None or reread.is_announced:
                return
            copy = reread

    def _answer(self, copy: Copy, detail: Detail, task_tokens: Iterable[str]) -> None:
        for task_token in sorted(task_tokens):
            if copy.settled_status is CopyStatus.COMPLETED:
                self.tasks.succeed(task_token, documents.fit(detail))
            else:
                self.tasks.fail(task_token, documents.COPY_FAILED, documents.failure_cause(detail))

    def _detail(self, copy: Copy) -> Detail:
        result_uri = f"s3://{self.bucket.name}/{_result_key(copy)}"
        return documents.settled_detail(copy, self.table.jobs(copy.copy_id), result_uri)


def _result_key(copy: Copy) -> str:
    return f"results/{copy.copy_id}.json"
