"""How many ICA jobs may be in flight, whose turn it is, and how copies are kept apart in a folder."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heapreplace
from itertools import groupby

from icav2_copy_batch.domain.job import Job, LaunchRequest, job_id_of
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.uri import parse_uri

CLOCKS_APART = timedelta(seconds=30)
"""By how much ICA's clock and ours may differ."""
FOLDER_REST = 2 * CLOCKS_APART
"""How long a folder rests between two copies: whatever ICA has created in it since a claim is then the claimant's."""


@dataclass(frozen=True, slots=True)
class Slots:
    """How many jobs may be LAUNCHING or RUNNING at once: in all, and into one destination project."""

    total: int = 200
    per_project: int = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that may have its launch message."""

    request: LaunchRequest
    project: str
    """Of its destination, as the manifest spells it."""
    due_at: str | None = None
    """None of a job in a backlog."""


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


def choose(
    waiting: Iterable[Waiting], in_flight: Iterable[Job], slots: Slots, put_off: Iterable[Job] = ()
) -> list[Waiting]:
    """Which of the waiting jobs may go: one after the other of the copy that has the fewest in flight.

    A large copy thus holds up no small one. Within a copy the given order is kept, but for jobs whose destination
    project is full. Jobs that are ``put_off`` keep their places in their project, so that not all that waits for a
    project goes there while ICA is unavailable, and are in the way of no other.
    """
    under_way = list(in_flight)
    ids = {job.project: job.ica_project_id for job in under_way if job.ica_project_id}
    of_copy = Counter(job.copy_id for job in under_way)
    of_project = Counter(ids.get(job.project, job.project) for job in [*under_way, *put_off])
    queues: dict[str, deque[tuple[str, Waiting]]] = defaultdict(deque)
    for each in waiting:
        queues[each.request.copy_id].append((ids.get(each.project, each.project), each))
    turns = [(of_copy[copy_id], number, copy_id) for number, copy_id in enumerate(queues)]
    heapify(turns)
    chosen: list[Waiting] = []
    while turns and len(under_way) + len(chosen) < slots.total:
        count, number, copy_id = turns[0]
        queue = queues[copy_id]
        while queue and of_project[queue[0][0]] >= slots.per_project:
            queue.popleft()
        if not queue:
            heappop(turns)
            continue
        project, job = queue.popleft()
        of_project[project] += 1
        chosen.append(job)
        heapreplace(turns, (count + 1, number, copy_id))
    return chosen
