"""Dispatch: queued jobs get their launch messages, no more than there are free slots, and each copy in its turn.

A copy's jobs come into being as a backlog for each project, which is one small item however many they are: what the
poller has to look at does not grow with the jobs that wait. From the backlogs jobs are taken in order. One that has had
its message, and still waits, is due at some moment: it found no slot or its folder in use, ICA had asked for fewer
calls, its message was lost, or its last attempt failed in an outage of ICA's copy engine. Of these it is due as soon
as attempts into its project succeed again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.job import Clock, Job, JobStatus, LaunchRequest
from icav2_copy_batch.domain.schedule import Backlog, Slots, Waiting, choose
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.ports import LaunchQueue, Pacing, Schedule

LOST_MESSAGE_AGE = timedelta(minutes=5)
"""A launch message that has not been handled for so long is taken to be lost."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    table: Schedule
    queue: LaunchQueue
    pacing: Pacing
    clock: Clock
    slots: Slots = field(default_factory=Slots)
    spread: Spread = in_threads
    """How the jobs are marked: side by side."""

    def anything_waits(self, within: timedelta) -> bool:
        """Whether there is, or will be within this time, a queued job to be sent a message for."""
        return bool(self.table.backlogs() or self.table.jobs_in(JobStatus.QUEUED, due_before=self.clock() + within))

    def send(self) -> Happenings:
        """Send what is due; how many first messages, and how many once more."""
        now = self.clock()
        # In this order a job that moves on meanwhile is seen twice rather than not at all.
        backlogs, queued = self.table.backlogs(), self.table.jobs_in(JobStatus.QUEUED)
        recovered = self._recovered(queued, now)

        def is_due(job: Job) -> bool:
            return _due_at(job) < now or (job.held.ends_with_outage and job.ica_project_id in recovered)

        due = [job for job in queued if is_due(job)]
        if not (due or backlogs) or self.pacing.held_until():
            return Happenings()
        later = [job for job in queued if not is_due(job)]
        claimed = [*self.table.jobs_in(JobStatus.LAUNCHING), *self.table.jobs_in(JobStatus.RUNNING)]
        in_flight = [*claimed, *(job for job in later if not job.hold)]  # these have a message
        deferred = Counter((job.copy_id, job.project) for job in later if job.held.holds_backlog)
        # While ICA is unavailable for a copy's jobs, not all that waits behind them is sent, and deferred as well.
        first = (
            (each.copy_id, each.first(self.slots.per_project - deferred[each.copy_id, each.project]))
            for each in backlogs
        )
        again = ((job.copy_id, [_waiting(job)]) for job in due)
        chosen = choose(chain(again, first), in_flight, self.slots)
        sent: list[Waiting] = []

        def mark(each: Waiting) -> None:
            if self.table.mark_sent(each, now, now + LOST_MESSAGE_AGE):
                sent.append(each)

        try:
            self.spread(mark, chosen)
        finally:  # what was marked is sent, whatever breaks
            self.queue.send(each.request for each in sent)
        self._shorten(backlogs, chosen)
        firsts = sum(each.due_at is None for each in sent)
        if sent:
            logger.info("launch messages sent", extra={"first": firsts, "again": len(sent) - firsts})
        return Happenings({Happening.SENT: firsts, Happening.SENT_AGAIN: len(sent) - firsts})

    def _recovered(self, queued: Iterable[Job], now: datetime) -> set[str | None]:
        """The projects in which ICA copies again: jobs that were held because it did not go at once."""
        held = {job.ica_project_id for job in queued if job.held.ends_with_outage and _due_at(job) >= now}
        return {each for each in sorted(filter(None, held)) if not self.table.outcomes(each).is_outage(now)}

    def _shorten(self, backlogs: Iterable[Backlog], chosen: Iterable[Waiting]) -> None:
        """Take the chosen jobs from their backlogs: they have had their messages, or somebody else has seen to it."""
        taken: Counter[tuple[str, str]] = Counter()
        for each in chosen:
            if each.due_at is None:
                taken[each.request.copy_id, each.project] += 1
        for backlog in backlogs:
            if count := taken[backlog.copy_id, backlog.project]:
                self.table.shorten_backlog(backlog, backlog.next + count)


def _waiting(job: Job) -> Waiting:
    request = LaunchRequest(job.copy_id, job.job_id, job.attempt)
    return Waiting(request, job.project, job.due_at, waited_for_a_slot=job.held.is_queueing)


def _due_at(job: Job) -> datetime:
    return datetime.fromisoformat(job.due_at or "")
