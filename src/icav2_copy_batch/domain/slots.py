"""How many ICA jobs may be in flight, whose turn it is, and how copies are kept apart in a folder."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heapreplace

from icav2_copy_batch.domain.job import Job
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


def choose(waiting: Sequence[Job], in_flight: Iterable[Job], slots: Slots) -> list[Job]:
    """Which of the waiting jobs may go: one after the other of the copy that has the fewest in flight.

    A large copy thus holds up no small one. Within a copy the given order is kept, but for jobs whose destination
    project is full.
    """
    under_way = list(in_flight)
    of_copy = Counter(job.copy_id for job in under_way)
    of_project = Counter(_project(job) for job in under_way)
    queues: dict[str, deque[Job]] = defaultdict(deque)
    for job in waiting:
        queues[job.copy_id].append(job)
    turns = [(of_copy[copy_id], number, copy_id) for number, copy_id in enumerate(queues)]
    heapify(turns)
    chosen: list[Job] = []
    while turns and len(under_way) + len(chosen) < slots.total:
        count, number, copy_id = turns[0]
        queue = queues[copy_id]
        while queue and of_project[_project(queue[0])] >= slots.per_project:
            queue.popleft()
        if not queue:
            heappop(turns)
            continue
        job = queue.popleft()
        of_project[_project(job)] += 1
        chosen.append(job)
        heapreplace(turns, (count + 1, number, copy_id))
    return chosen


def _project(job: Job) -> str:
    return parse_uri(job.destination).project
