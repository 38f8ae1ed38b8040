"""Cancel: ends the jobs of a cancelled copy for which ICA has not been asked yet.

A copy that is cancelled claims no job any more (see ``Stopping.mark_cancelled``). Whoever cancels it ends its queued
jobs, and the launches that have asked ICA for nothing yet. What ICA runs cannot be stopped: it passes, or it fails and
comes back into the queue. What comes into the queue later, and what was left there, ends here in place of a launch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from icav2_copy_batch.domain.job import JobStatus, OpenJob
from icav2_copy_batch.domain.schedule import Backlog
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.ports import Table
from icav2_copy_batch.stages.logs import fields_of

MOST_AT_ONCE = 500
"""How many jobs are cancelled at a time, before other work gets its turn."""

logger = logging.getLogger(__name__)


def end_jobs(table: Table, jobs: Sequence[OpenJob], now: datetime, spread: Spread, count: Callable[[int], None]) -> int:
    """End these jobs of cancelled copies, unless they have moved on, and say how many there were.

    ``count`` is told this number too, and also where the table fails after some of them.
    """
    ended: list[OpenJob] = []

    def end(job: OpenJob) -> None:
        if table.cancel(job, now):
            ended.append(job)
            logger.info("job cancelled", extra=fields_of(job))

    try:
        spread(end, jobs)
    finally:
        count(len(ended))
    return len(ended)


def end_queued(
    table: Table,
    copy_ids: Collection[str],
    queued: Iterable[OpenJob],
    backlogs: Iterable[Backlog],
    now: datetime,
    *,
    spread: Spread,
    count: Callable[[int], None],
) -> None:
    """End the queued jobs of these cancelled copies, and count them.

    ``queued`` and ``backlogs`` are all that there are, of other copies as well.
    """
    end_jobs(table, [job for job in queued if job.copy_id in copy_ids], now, spread, count)
    for backlog in backlogs:
        if backlog.copy_id in copy_ids:
            jobs = _first_of(backlog)
            end_jobs(table, jobs, now, spread, count)
            # A job that was not there to be ended had been taken from the backlog before, or was ended.
            table.shorten_backlog(backlog, backlog.next + len(jobs))


def _first_of(backlog: Backlog) -> list[OpenJob]:
    requests = (waiting.request for waiting in backlog.first(MOST_AT_ONCE))
    return [OpenJob(each.copy_id, each.job_id, JobStatus.QUEUED, each.attempt) for each in requests]
