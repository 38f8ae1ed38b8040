"""Dispatch: queued jobs get their launch messages, as many as there are free slots, and each copy in its turn.

Nobody else sends launch messages: what is paused gets none, and the jobs of a cancelled copy end here. The other stages
say when a job is due, and why it waits until then (its ``hold``).

The jobs of a copy begin in backlogs, one for each project. A backlog is one small item however many jobs it stands for,
so that what is read here does not grow with the jobs that wait. Jobs are taken from it in order. A job that has left
its backlog and is still queued has a moment at which it is due. Where it has a hold, it waits for that moment without a
message; else its message is under way, and is taken to be lost at that moment.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from icav2_copy_batch.domain.job import Clock, Hold, HoldReason, JobStatus, LaunchRequest, OpenJob
from icav2_copy_batch.domain.schedule import Backlog, Dispatched, Slots, Waiting, choose
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.stops import Stops
from icav2_copy_batch.ports import LaunchQueue, Pacing, Table
from icav2_copy_batch.stages.cancel import end_queued

LOST_MESSAGE_AGE = timedelta(minutes=5)
"""A launch message that has not been handled for so long is taken to be lost."""
PAUSED = Hold(HoldReason.PAUSED, "its copy, its project or everything is paused")
NO_SLOT = Hold(HoldReason.NO_SLOT, "the limit of ICA jobs in flight is reached")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    table: Table
    queue: LaunchQueue
    pacing: Pacing
    clock: Clock
    count_cancelled: Callable[[int], None]
    """Told how many jobs of cancelled copies have ended in place of a launch."""
    slots: Slots = field(default_factory=Slots)
    spread: Spread = in_threads
    """How the jobs are marked: side by side."""

    def anything_waits(self, within: timedelta) -> bool:
        """Whether ``send`` has work, or will have within this time.

        It has: the jobs that are due, unless it is noted that they are paused, and the jobs of cancelled copies.
        """
        backlogs, queued = self.table.backlogs(), self.table.jobs_in(JobStatus.QUEUED)
        if not (backlogs or queued):
            return False
        stops = self.table.stops()
        # What is queued of a cancelled copy ends now, whatever else keeps it from being launched.
        if not stops.cancelled.isdisjoint([*(each.copy_id for each in backlogs), *(job.copy_id for job in queued)]):
            return True
        until = self.clock() + within
        due = [job for job in queued if _due_at(job) < until]
        if not all(job.held.is_queueing for job in due):
            return True
        waiting = {(each.copy_id, each.project) for each in backlogs} | {(job.copy_id, job.project) for job in due}
        return not all(stops.is_paused(copy_id, project) for copy_id, project in waiting)

    def send(self) -> Dispatched:
        """Send launch messages to what is due, as far as there are slots. Raises what the table or the queue raises."""
        now = self.clock()
        # In this order a job that moves on meanwhile is seen twice rather than not at all.
        backlogs, queued = self.table.backlogs(), self.table.jobs_in(JobStatus.QUEUED)
        stops = self.table.stops() if backlogs or queued else Stops()
        self._end_cancelled(stops, queued, backlogs, now)
        due, later = self._split([job for job in queued if job.copy_id not in stops.cancelled], now)
        paused = [job for job in due if stops.is_paused(job.copy_id, job.project)]
        due = [job for job in due if job not in paused]
        backlogs = [each for each in backlogs if not stops.holds(each.copy_id, each.project)]
        self._note(paused, PAUSED, now)
        in_time = (job for job in later if not stops.is_paused(job.copy_id, job.project))
        next_due = min(map(_due_at, in_time), default=None)
        if not (due or backlogs) or self.pacing.held_until():
            return Dispatched(next_due=next_due)
        claimed = [*self.table.jobs_in(JobStatus.LAUNCHING), *self.table.jobs_in(JobStatus.RUNNING)]
        in_flight = [*claimed, *(job for job in later if not job.hold)]  # a message under way may take a slot
        again = ((job.copy_id, [_waiting(job)]) for job in due)
        chosen = choose(chain(again, self._first_of(backlogs, later)), in_flight, self.slots)
        sent = self._mark_and_send(chosen, now)
        self._shorten(backlogs, chosen)
        requests = {each.request for each in chosen}
        self._note([job for job in due if _waiting(job).request not in requests], NO_SLOT, now)
        first = sum(each.due_at is None for each in sent)
        if sent:
            logger.info("launch messages sent", extra={"first": first, "again": len(sent) - first})
        return Dispatched(first, len(sent) - first, next_due)

    def _end_cancelled(
        self, stops: Stops, queued: Iterable[OpenJob], backlogs: Iterable[Backlog], now: datetime
    ) -> None:
        """End the jobs of cancelled copies in place of launching them."""
        if stops.cancelled:
            spread, count = self.spread, self.count_cancelled
            end_queued(self.table, stops.cancelled, queued, backlogs, now, spread=spread, count=count)

    def _split(self, queued: Iterable[OpenJob], now: datetime) -> tuple[list[OpenJob], list[OpenJob]]:
        """The queued jobs that are due, and those that are due later."""
        due = [job for job in queued if _due_at(job) <= now]
        later = [job for job in queued if _due_at(job) > now]
        projects = {job.ica_project_id for job in later if job.held.ends_with_outage}
        recovered = {each for each in sorted(filter(None, projects)) if not self.table.outcomes(each).is_outage(now)}
        freed = [job for job in later if job.held.ends_with_outage and job.ica_project_id in recovered]
        return due + freed, [job for job in later if job not in freed]

    def _first_of(
        self, backlogs: Iterable[Backlog], later: Iterable[OpenJob]
    ) -> Iterable[tuple[str, Iterable[Waiting]]]:
        """The first jobs of each backlog, fewer by those of its copy and project that are deferred.

        While ICA is unavailable, the whole backlog would be sent else, and deferred as well.
        """
        deferred = Counter((job.copy_id, job.project) for job in later if job.held.holds_backlog)
        for each in backlogs:
            yield each.copy_id, each.first(self.slots.per_project - deferred[each.copy_id, each.project])

    def _mark_and_send(self, chosen: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """Send a message to each job that nobody else has sent one to, or moved on, since it was read."""
        sent: list[Waiting] = []

        def mark(each: Waiting) -> None:
            if self.table.mark_sent(each, now, now + LOST_MESSAGE_AGE):
                sent.append(each)

        try:
            self.spread(mark, chosen)
        finally:  # what was marked is sent, whatever breaks
            self.queue.send(each.request for each in sent)
        return sent

    def _shorten(self, backlogs: Iterable[Backlog], chosen: Iterable[Waiting]) -> None:
        """Take the chosen jobs from their backlogs: they have had their messages, or somebody else has seen to it."""
        taken: Counter[tuple[str, str]] = Counter()
        for each in chosen:
            if each.due_at is None:
                taken[each.request.copy_id, each.project] += 1
        for backlog in backlogs:
            if count := taken[backlog.copy_id, backlog.project]:
                self.table.shorten_backlog(backlog, backlog.next + count)

    def _note(self, due: Iterable[OpenJob], hold: Hold, now: datetime) -> None:
        """Note that these jobs are due and wait, for a slot or for the end of a pause, and for nothing else."""
        for job in due:
            if not job.held.is_queueing:
                self.table.postpone(job, now, hold)


def _waiting(job: OpenJob) -> Waiting:
    request = LaunchRequest(job.copy_id, job.job_id, job.attempt)
    return Waiting(request, job.project, job.due_at, waited_for_a_slot=job.held.is_queueing)


def _due_at(job: OpenJob) -> datetime:
    return datetime.fromisoformat(job.due_at or "")
