"""Publish: a settled copy's result is stored, its event is put, and the tasks that wait for it are answered.

The table's stream calls this for the write that took the open jobs to zero; the poller calls it for a copy that the
stream did not publish. A publication is claimed first and noted last. So it is made once, unless its maker dies in
between; then the poller makes it again, under the same ``event_id``. The result is written job by job, so that a copy
may be of any size, and the report with it (``report``).

Step Functions tasks that wait for a copy get heartbeats while it is open. A task that cannot be answered for the moment
holds up neither the others nor the publication: the poller answers it later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from icav2_copy_batch.domain import events as documents
from icav2_copy_batch.domain.events import Sendable
from icav2_copy_batch.domain.job import Clock, Copy, CopyStatus, Job
from icav2_copy_batch.domain.report.places import key_of
from icav2_copy_batch.domain.stops import copy_subject
from icav2_copy_batch.ports import Bucket, Bus, Table, Tasks
from icav2_copy_batch.stages.report import Report

CLAIM_MARGIN = timedelta(minutes=1)
"""By how much a publication's claim outlasts the invocation that makes it."""
SECONDS_TO_PUBLISH = 600.0
"""With less time left no second publication is begun: the next invocation has all of its time."""
SECONDS_TO_FINISH = 60.0
"""With less time left the result is not written any further: see ``_store_result``."""
HEARTBEATS_APART = timedelta(minutes=5)
"""Far below the hour after which the template's state machine takes a copy for lost."""
MOST_COPIES_AT_ONCE = 100
"""One call sends heartbeats to the tasks of so many copies: those that have waited longest."""
ANSWERED_WITHIN = timedelta(days=1)
"""A task that could not be answered is tried again for so long after its copy has settled."""

logger = logging.getLogger(__name__)


class ResultTooLarge(Exception):
    """The result cannot be written in the time that one invocation has."""


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Publishes settled copies, and keeps the tasks that wait for open ones."""

    table: Table
    bucket: Bucket
    bus: Bus
    tasks: Tasks
    clock: Clock
    seconds_left: Callable[[], float]

    def publish(self, copy_id: str) -> CopyStatus | None:
        """Publish a settled copy; None where it is not settled, is published already, or is being published.

        Whatever the bucket or the bus raises is raised; the publication is given back then.
        """
        now = self.clock()
        until = now + timedelta(seconds=self.seconds_left()) + CLAIM_MARGIN
        copy = self.table.begin_publication(copy_id, now, until)
        if copy is None:
            logger.info("nothing to publish", extra={"copy_id": copy_id})
            return None
        try:
            self._publish(copy)
        except Exception:
            self.table.abandon_publication(copy_id)
            raise
        logger.info("copy published", extra={"copy_id": copy_id, "status": copy.settled_status})
        return copy.settled_status

    def answer_published(self, copy_id: str, task_token: str) -> None:
        """Answer a task that came to wait for a copy after it was published.

        Raises ``LookupError`` where there is no such copy.
        """
        copy = self.table.get_copy(copy_id)
        if copy is None:
            raise LookupError(f"copy {copy_id} is not in the table")
        self._answer(copy, self._sendable(copy), task_token)

    def keep_tasks(self) -> None:
        """Send heartbeats to the tasks that wait for open copies, and answer those that could not be answered before.

        Each copy with such tasks has one small item in the table. An error ends this call, and the next goes on.
        """
        try:
            for copy_id in self.table.copies_waited_for(self.clock() - HEARTBEATS_APART)[:MOST_COPIES_AT_ONCE]:
                # Noted first, so that a copy with which there is trouble holds up the others only once.
                if self.table.note_heartbeat(copy_id, self.clock()):
                    self._keep_tasks_of(copy_id)
        except Exception:
            logger.warning("not all waiting tasks have had a heartbeat or an answer", exc_info=True)

    def _keep_tasks_of(self, copy_id: str) -> None:
        copy = self.table.get_copy(copy_id)
        if copy and not copy.is_published:
            for task_token in sorted(copy.task_tokens):
                if not self.tasks.send_heartbeat(task_token):
                    self.table.drop_task_token(copy_id, task_token)
            return
        if copy and copy.task_tokens:
            sendable = self._sendable(copy)
            for task_token in sorted(copy.task_tokens):
                if not self._was_answered(copy, sendable, task_token):
                    return
                self.table.drop_task_token(copy_id, task_token)
        self.table.forget_waiting(copy_id)

    def _publish(self, copy: Copy) -> None:
        # Before it is published: whoever dies in between leaves a publication that is made again, and this with it.
        self._forget_stops(copy)
        sendable = Sendable(copy, self._result_uri(copy))
        self._store(copy, sendable)
        self.bus.put(documents.settled_type(copy), sendable.detail())
        asked: frozenset[str] = frozenset()
        unanswered: frozenset[str] = frozenset()
        while True:
            new = sorted(copy.task_tokens - asked)
            unanswered |= {each for each in new if not self._was_answered(copy, sendable, each)}
            if self.table.mark_published(copy, self.clock(), unanswered & copy.task_tokens):
                return
            # Since the copy was read, a submission has added its task token, or one was dropped.
            asked |= copy.task_tokens
            reread = self.table.get_copy(copy.copy_id)
            if reread is None or reread.is_published:
                return
            copy = reread

    def _forget_stops(self, copy: Copy) -> None:
        """A settled copy has no job left that a pause or a cancel could keep from being launched, and gets no other."""
        if copy.cancelled_at:
            self.table.forget_cancelled(copy.copy_id)
        if copy.paused_at:
            self.table.resume(copy_subject(copy.copy_id), self.clock(), copy.copy_id)

    def _store(self, copy: Copy, sendable: Sendable) -> None:
        """Write the result, and of the same jobs the report."""
        report = Report(copy, self._result_uri(copy), self.bucket, self.seconds_left)
        try:
            if not self._store_result(copy, report.noting(lambda: self.table.jobs(copy.copy_id)), sendable):
                report.give_up()
            report.finish()
        except BaseException:
            report.give_up()
            raise

    def _store_result(self, copy: Copy, jobs: Callable[[], Iterable[Job]], sendable: Sendable) -> bool:
        """Write the result; False where that takes longer than an invocation has.

        It is stored truncated then, as its event is sent. Otherwise the copy would never be published.
        """
        try:
            self.bucket.write(key_of(copy.copy_id), self._in_time(self._result(copy, jobs, sendable)))
        except ResultTooLarge:
            fields = {"copy_id": copy.copy_id}
            logger.error("result too large to be written: stored truncated", extra=fields)  # noqa: TRY400 # no trace helps
            sendable.leave_out_jobs()
            self.bucket.put(key_of(copy.copy_id), documents.encode(sendable.detail()).encode())
            return False
        return True

    def _in_time(self, pieces: Iterable[str]) -> Iterator[str]:
        for piece in pieces:
            if self.seconds_left() < SECONDS_TO_FINISH:
                raise ResultTooLarge
            yield piece

    def _sendable(self, copy: Copy) -> Sendable:
        """The event of a copy whose result is stored already."""
        sendable = Sendable(copy, self._result_uri(copy))
        for _ in self._result(copy, lambda: self.table.jobs(copy.copy_id), sendable):
            if sendable.is_full:
                break
        return sendable

    def _result(self, copy: Copy, jobs: Callable[[], Iterable[Job]], sendable: Sendable) -> Iterator[str]:
        return documents.result(copy, jobs, self._result_uri(copy), sendable)

    def _was_answered(self, copy: Copy, sendable: Sendable, task_token: str) -> bool:
        """Answer a task; False where it is worth another try later."""
        try:
            self._answer(copy, sendable, task_token)
        except Exception:
            settled_at = datetime.fromisoformat(copy.settled_at or copy.submitted_at)
            if self.clock() - settled_at < ANSWERED_WITHIN:
                logger.warning("task not answered yet", extra={"copy_id": copy.copy_id}, exc_info=True)
                return False
            logger.exception("task not answered: given up", extra={"copy_id": copy.copy_id})
        return True

    def _answer(self, copy: Copy, sendable: Sendable, task_token: str) -> None:
        if copy.settled_status is CopyStatus.COMPLETED:
            self.tasks.succeed(task_token, sendable.detail())
        else:
            self.tasks.fail(task_token, documents.settled_type(copy), sendable.cause())

    def _result_uri(self, copy: Copy) -> str:
        return f"s3://{self.bucket.name}/{key_of(copy.copy_id)}"
