"""Delay: reports jobs and copies that take too long.

A job may stay in one status for too long, ICA may not be able to tell about a launch, and the jobs of a copy may never
all be written or have their turn. Nothing is started on a guess then. A person hears of it, by an alarm and by one
event for the copy.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from icav2_copy_batch.domain import events as documents
from icav2_copy_batch.domain.job import Clock, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.schedule import Backlog, jobs_by_status
from icav2_copy_batch.domain.stops import copy_subject, pause_subjects
from icav2_copy_batch.ports import Bus, Table

logger = logging.getLogger(__name__)

Waits = TypeVar("Waits", OpenJob, Backlog)


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Reports copies that take too long."""

    table: Table
    bus: Bus
    clock: Clock
    limit: timedelta
    """How long a job may stay in one status."""
    note_jobs: Callable[[Mapping[JobStatus, int]], None]
    """Told how many jobs there are in each status that is open: it has read them anyway."""

    def report(self) -> int:
        """Put one event for each copy that takes too long; how many jobs, or copies without such jobs, that are now."""
        now = self.clock()
        delayed = self._delayed(now - self.limit)
        for copy_id, jobs in delayed.items():
            try:
                self._report(copy_id, jobs, now)
            except Exception:
                logger.exception("delay not reported", extra={"copy_id": copy_id})
        return sum(max(len(jobs), 1) for jobs in delayed.values())

    def _delayed(self, before: datetime) -> dict[str, list[OpenJob]]:
        """The copies that take too long, each with its jobs that do, if there are such."""
        statuses = (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)
        jobs = [job for status in statuses for job in self.table.jobs_in(status)]
        late = [job for job in jobs if _is_delayed(job, before)]
        queued = self._not_paused([job for job in late if job.status is JobStatus.QUEUED], before)
        delayed: dict[str, list[OpenJob]] = defaultdict(list)
        for job in late:
            if job.status is not JobStatus.QUEUED or job in queued:
                delayed[job.copy_id].append(job)
        in_turn = {job.copy_id for job in jobs}
        backlogs = self.table.backlogs()
        self.note_jobs(jobs_by_status(jobs, backlogs))
        old = [each for each in backlogs if each.since < timestamp(before)]
        never_in_turn = self._not_paused([each for each in old if each.copy_id not in in_turn], before)
        for copy_id in [*self.table.unfinished_copies(before), *(each.copy_id for each in never_in_turn)]:
            delayed[copy_id] += []
        return delayed

    def _not_paused(self, waiting: Sequence[Waits], before: datetime) -> list[Waits]:
        """What is not paused now, and was not since this moment: the time of a pause is no delay."""
        if not waiting:
            return []
        stops, resumed = self.table.stops(), self.table.resumed()
        waiting = [each for each in waiting if not stops.is_paused(each.copy_id, each.project)]
        for copy_id in {each.copy_id for each in waiting}:
            copy = self.table.get_copy(copy_id)
            if copy and copy.resumed_at:
                resumed[copy_subject(copy_id)] = copy.resumed_at

        def paused_until(each: Waits) -> str:
            return max(resumed.get(subject, "") for subject in pause_subjects(each.copy_id, each.project))

        return [each for each in waiting if paused_until(each) < timestamp(before)]

    def _report(self, copy_id: str, jobs: list[OpenJob], now: datetime) -> None:
        copy = self.table.get_copy(copy_id)
        # One whose last job has just ended may still have a backlog: what was taken from it last is not noted yet.
        if copy and copy.open_jobs and not copy.delayed_at:
            self.bus.put(documents.COPY_DELAYED, documents.delayed_detail(copy, jobs, now))
            self.table.mark_delayed(copy_id, now)
            logger.error("copy delayed", extra={"copy_id": copy_id, "jobs": [job.job_id for job in jobs]})


def _is_delayed(job: OpenJob, before: datetime) -> bool:
    return job.held.needs_a_person or (job.status_since < timestamp(before) and not job.held.is_queueing)
