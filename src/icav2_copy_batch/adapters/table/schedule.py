"""What is due: jobs by status, backlogs, slots, and how attempts into a project have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from pynamodb.expressions.update import Action

from icav2_copy_batch.adapters.table.jobs import open_job_of
from icav2_copy_batch.adapters.table.models import (
    BACKLOG_KEY,
    JOB_PREFIX,
    SLOTS_KEY,
    SLOTS_PREFIX,
    BacklogItem,
    JobItem,
    Models,
    OutcomesItem,
)
from icav2_copy_batch.adapters.table.moves import set_hold, still_queued
from icav2_copy_batch.adapters.table.writes import PARALLEL_WRITES, accepted, retried
from icav2_copy_batch.domain.job import (
    HoldReason,
    JobStatus,
    OpenJob,
    job_id_of,
    timestamp,
)
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.schedule import Backlog, Waiting


class Schedule:
    def __init__(self, models: Models) -> None:
        self._models = models

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        """The jobs of a status that are due at some moment, or before this one, in that order."""
        condition = JobItem.due_at < timestamp(due_before) if due_before else None
        return [open_job_of(item) for item in self._models.job.due.query(status, condition)]

    def create_backlogs(self, backlogs: Sequence[Backlog]) -> None:
        """Write the backlogs of a copy, whose jobs are all there; each unless it is there."""

        def create(backlog: Backlog) -> None:
            item = self._backlog_item(backlog, next_number=backlog.next, last_number=backlog.last, since=backlog.since)
            # The race: a redelivered submission finds a backlog of which jobs have been taken.
            accepted(lambda: item.save(BacklogItem.copy_id.does_not_exist()))

        with ThreadPoolExecutor(PARALLEL_WRITES) as pool:
            list(pool.map(create, backlogs))

    def backlogs(self) -> list[Backlog]:
        """All backlogs that are not empty, the oldest first."""
        found = [
            Backlog(each.of_copy, each.project, int(each.next_number), int(each.last_number), each.since)
            for each in self._models.backlog.query(BACKLOG_KEY, consistent_read=True)
        ]
        return sorted(found, key=lambda backlog: backlog.since)

    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        """No move: a launch message for a queued job is about to be sent, which is taken to be lost by ``due_at``."""
        request = waiting.request
        # The race: two that find the same job waiting; one of them is to send.
        as_seen = JobItem.due_at == waiting.due_at if waiting.due_at else JobItem.due_at.does_not_exist()
        held_for = JobItem.held_for.set(JobItem.hold_reason | HoldReason.NO_SLOT)
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at)), held_for, *set_hold(None)]
        if waiting.waited_for_a_slot:
            actions.append(JobItem.queued_at.set(timestamp(now)))
        return accepted(
            lambda: self._models.job(request.copy_id, JOB_PREFIX + request.job_id).update(
                actions, still_queued(request) & as_seen
            )
        )

    def shorten_backlog(self, backlog: Backlog, to: int) -> None:
        """Take the jobs before the number ``to`` from a backlog; one that is empty is removed."""
        item = self._backlog_item(backlog)
        if to > backlog.last:
            retried(item.delete)
            return
        # The race: two that take from it at once; who is late puts nothing back, and makes no backlog that is gone.
        accepted(lambda: item.update([BacklogItem.next_number.set(to)], BacklogItem.next_number < to))

    def slots_in_use(self) -> Counter[str]:
        """How many slots are in use, by ICA project id, as far as an eventually consistent read shows."""
        key = {"copy_id": {"S": SLOTS_KEY[0]}, "item": {"S": SLOTS_KEY[1]}}
        client: Any = self._models.connection.client
        answer = client.get_item(TableName=self._models.table_name, Key=key)
        counts = {name: int(value["N"]) for name, value in answer.get("Item", {}).items() if "N" in value}
        return Counter(
            {name.removeprefix(SLOTS_PREFIX): count for name, count in counts.items() if name.startswith(SLOTS_PREFIX)}
        )

    def outcomes(self, project_id: str) -> Outcomes:
        """How the last attempts into an ICA project have ended."""
        try:
            item = self._models.outcomes.get(f"#outcomes {project_id}", OutcomesItem.item.default, consistent_read=True)
        except self._models.outcomes.DoesNotExist:
            return Outcomes()
        return Outcomes(item.recent, item.last_at)

    def replace_outcomes(self, project_id: str, seen: Outcomes, outcomes: Outcomes) -> bool:
        """Keep these in place of those that were ``seen``; False where these are not there any more."""
        item = self._models.outcomes(f"#outcomes {project_id}", recent=outcomes.recent, last_at=outcomes.last_at)
        # The race: two polls that add to the same outcomes at once; those of the one would be lost.
        as_seen = OutcomesItem.last_at.does_not_exist()
        if seen.last_at:
            as_seen = (OutcomesItem.last_at == seen.last_at) & (OutcomesItem.recent == seen.recent)
        return accepted(lambda: item.save(as_seen))

    def _backlog_item(self, backlog: Backlog, **attributes: Any) -> BacklogItem:
        key = f"{backlog.copy_id} {job_id_of(backlog.last)}"
        return self._models.backlog(item=key, of_copy=backlog.copy_id, project=backlog.project, **attributes)
