"""Slots and turns: how many ICA jobs may be in flight, which job is next, and how copies take turns in a folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace
from itertools import groupby

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.job import JobStatus, LaunchRequest, OpenJob, job_id_of
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.uri import parse_uri

CLOCKS_APART = timedelta(seconds=30)
"""The largest difference between ICA's clock and ours that is expected."""
FOLDER_REST = 2 * CLOCKS_APART
"""How long a folder rests between two copies. So whatever ICA creates in it after a claim belongs to the copy that has
claimed it."""


@dataclass(frozen=True, slots=True)
class Slots:
    """How many jobs may be LAUNCHING or RUNNING at once: in all, and into one destination project."""

    total: int = 200
    per_project: int = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that may be sent its launch message."""

    request: LaunchRequest
    project: str
    """The id of its destination project."""
    due_at: str | None = None
    """None for a job in a backlog."""
    waited_for_a_slot: bool = True
    """Whether it has waited for a slot alone. Then the time until now does not count as a delay."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What became of the queued jobs: how many launch messages were sent, and when more are to be."""

    first: int = 0
    """To jobs that have had none before."""
    again: int = 0
    """To jobs that have had one: for another attempt, a deferred launch, or a message that was lost or used up."""
    next_due: datetime | None = None
    """When the first of those that are not due yet will be."""

    @property
    def happened(self) -> Happenings:
        return Happenings({Happening.SENT: self.first, Happening.SENT_AGAIN: self.again})

    def __add__(self, later: Dispatched) -> Dispatched:
        return Dispatched(self.first + later.first, self.again + later.again, later.next_due)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The jobs of one copy into one project that have never had a launch message: numbers ``next`` to ``last``."""

    copy_id: str
    project: str
    next: int
    last: int
    since: str
    """When its copy was submitted."""

    def first(self, most: int) -> Iterator[Waiting]:
        for number in range(self.next, min(self.last, self.next + most - 1) + 1):
            yield Waiting(LaunchRequest(self.copy_id, job_id_of(number), attempt=1), self.project)


def backlogs_of(copy_id: str, planned: Sequence[PlannedJob], since: str) -> list[Backlog]:
    """All jobs of a copy, in the order of their numbers, as one backlog for each project."""
    backlogs, last = [], 0
    for project, jobs in groupby(planned, key=lambda job: parse_uri(job.destination).project):
        first, last = last + 1, last + sum(1 for _ in jobs)
        backlogs.append(Backlog(copy_id, project, first, last, since))
    return backlogs


def jobs_by_status(jobs: Iterable[OpenJob], backlogs: Iterable[Backlog]) -> Counter[JobStatus]:
    """How many jobs there are in each status, of all that are open and all backlogs; each is counted once.

    A job that moved on while they were read may be among the jobs twice. One that was just sent its message may be in a
    backlog still.
    """
    seen = {job.key: job.status for job in jobs}
    numbers: dict[str, list[int]] = defaultdict(list)
    for copy_id, job_id in seen:
        numbers[copy_id].append(int(job_id))
    counts = Counter(seen.values())
    for each in backlogs:
        taken = sum(each.next <= number <= each.last for number in numbers[each.copy_id])
        counts[JobStatus.QUEUED] += each.last + 1 - each.next - taken
    return counts


def choose(
    waiting: Iterable[tuple[str, Iterable[Waiting]]], in_flight: Iterable[OpenJob], slots: Slots
) -> list[Waiting]:
    """The waiting jobs that may be launched now: the next job is always one of the copy with the fewest in flight.

    So a large copy does not delay a small one. Within a copy the given order is kept, except that runs whose project is
    full are passed over. ``waiting`` are runs of jobs, each of one copy into one project, beside the copy's id. No more
    jobs are taken from a run than needed.
    """
    under_way = list(in_flight)
    of_copy = Counter(job.copy_id for job in under_way)
    of_project = Counter(job.project for job in under_way)

    def in_turn(runs: Iterable[Iterable[Waiting]]) -> Iterator[Waiting]:
        for run in runs:
            for each in run:
                if of_project[each.project] >= slots.per_project:
                    break
                yield each

    runs_of: dict[str, list[Iterable[Waiting]]] = defaultdict(list)
    for copy_id, run in waiting:
        runs_of[copy_id].append(run)
    queues = {copy_id: in_turn(runs) for copy_id, runs in runs_of.items()}
    turns = [(of_copy[copy_id], number, copy_id) for number, copy_id in enumerate(queues)]
    heapify(turns)
    chosen: list[Waiting] = []
    while turns and len(under_way) + len(chosen) < slots.total:
        count, number, copy_id = turns[0]
        if job := next(queues[copy_id], None):
            of_project[job.project] += 1
            chosen.append(job)
            heapreplace(turns, (count + 1, number, copy_id))
        else:
            heappop(turns)
    return chosen
