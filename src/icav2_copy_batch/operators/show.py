"""Show: a copy, its jobs, and what holds each of them now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from icav2_copy_batch.domain.job import Clock, Copy, Hold, HoldReason, Job, JobStatus, OpenJob
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.requests import MAX_LISTED, ShowCopy
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.waits import NOT_WRITTEN, Surroundings
from icav2_copy_batch.ports import Table

ENDED_BADLY = (JobStatus.FAILED, JobStatus.CANCELLED)
OPEN = (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)

COPY_KEYS = (
    *("copy_id", "status", "submitted_at", "ingested_at", "published_at", "delayed_at", "paused_at", "cancelled_at"),
    *("total_jobs", "open_jobs", "passed_jobs", "failed_jobs", "cancelled_jobs", "passed_bytes"),
    *("manifest_uri", "redrive_of"),
)
"""What is shown of a copy as the table has it."""

Answer = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Show:
    """Answers how a copy and its jobs stand. Nothing is written."""

    table: Table
    bucket_name: str
    clock: Clock
    slots: Slots = field(default_factory=Slots)

    def answer(self, copy: Copy, request: ShowCopy) -> Answer:
        """A copy; and as far as asked, what holds its open jobs, and a page of its jobs."""
        answer: Answer = {"copy": self.copy(copy)}
        if request.holds:
            answer["copy"] |= self._standing(copy)
        if request.jobs or request.failed or request.open:
            answer |= self._page(copy, request)
        return answer

    def copy(self, copy: Copy) -> Answer:
        """A copy and its counts. While it is open, the table has in ``settled_at`` when a job last ended."""
        result_uri = f"s3://{self.bucket_name}/results/{copy.copy_id}.json" if copy.is_published else None
        more = {"tags": dict(copy.tags), "redriven_as": sorted(copy.redriven_as), "result_uri": result_uri}
        settled_at = copy.settled_at if copy.is_settled else None
        return {**{key: getattr(copy, key) for key in COPY_KEYS}, "settled_at": settled_at, **more}

    def listed(self, copies: Iterable[Copy]) -> Iterator[Answer]:
        """Copies as a list shows them, each with the pauses of its own and of everything."""
        now, pauses = self.clock(), self.table.pauses()
        around = Surroundings(now=now, pauses=pauses)
        for copy in copies:
            paused = around.pauses_of(copy.copy_id, ()) if copy.open_jobs else []
            yield {**self.copy(copy), "pauses": [asdict(each) for each in paused]}

    def _page(self, copy: Copy, request: ShowCopy) -> Answer:
        """The next jobs in their order. Only so many are read for one answer, however few of them are asked for."""
        around: Surroundings | None = None
        jobs = iter(self.table.jobs(copy.copy_id, request.after))
        shown, last = [], None
        for job in islice(jobs, MAX_LISTED):
            last = job.job_id
            if not _is_wanted(job, request):
                continue
            if job.status is JobStatus.QUEUED:
                around = around or self._surroundings(copy, self._in_index())
                shown.append(job_answer(copy, job, around.hold_of(job)))
            else:
                shown.append(job_answer(copy, job, job.hold))
        return {"jobs": shown, **({"next_after": last} if next(jobs, None) else {})}

    def _standing(self, copy: Copy) -> Answer:
        """How many jobs are queued, launching and running, what holds how many of them, and what is paused for them.

        This is known from the backlogs and the index of open jobs, which may be some seconds old. None of the copy's
        own jobs is read, so that the work does not grow with the jobs that wait.
        """
        if not copy.open_jobs:
            return {**_counts(Counter()), "holds": [], "pauses": []}
        # In this order a job that moves on meanwhile is seen twice rather than not at all.
        backlogs = [each for each in self.table.backlogs() if each.copy_id == copy.copy_id]
        jobs = self._in_index()
        around = self._surroundings(copy, jobs)
        ours = [job for job in jobs if job.copy_id == copy.copy_id]
        statuses = Counter(job.status for job in ours)
        holds = [(around.hold_of(job), 1) for job in ours]
        for backlog in backlogs:
            # A job that is sent just now leaves its backlog a moment later.
            sent = sum(backlog.next <= int(job.job_id) <= backlog.last for job in ours)
            waiting = backlog.last - backlog.next + 1 - sent
            statuses[JobStatus.QUEUED] += waiting
            holds.append((around.hold_of_backlog(copy.copy_id, backlog.project), waiting))
        if copy.ingested_at is None and (unwritten := copy.open_jobs - statuses.total()) > 0:
            statuses[JobStatus.QUEUED] += unwritten
            holds.append((around.stop(copy.copy_id) or NOT_WRITTEN, unwritten))
        projects = {job.project for job in ours} | {backlog.project for backlog in backlogs}
        paused = around.pauses_of(copy.copy_id, projects)
        return {**_counts(statuses), "holds": _summed(holds), "pauses": [asdict(each) for each in paused]}

    def _in_index(self) -> list[OpenJob]:
        """The open jobs of all copies that are in no backlog, as far as the index shows them by now."""
        return list({job.key: job for status in OPEN for job in self.table.jobs_in(status)}.values())

    def _surroundings(self, copy: Copy, jobs: Sequence[OpenJob]) -> Surroundings:
        cancelled = frozenset([copy.copy_id] if copy.cancelled_at else [])
        pauses, pace = self.table.pauses(), self.table.pace()
        return Surroundings.of(self.clock(), self.slots, pauses, cancelled, jobs, pace)


def job_answer(copy: Copy, job: Job, hold: Hold | None) -> Answer:
    """A job as it is shown."""
    keys = ("job_id", "status", "attempt", "due_at", "ica_job_id", "reason", "redriven_as", "total_bytes")
    times = ("queued_at", "claimed_at", "running_at", "ended_at")
    attempt_keys = ("number", "outcome", "claimed_at", "ended_at", "ica_job_id", "reason")
    return {
        **{key: getattr(job, key) for key in (*keys, *times)},
        "dest_uri": as_spelled(job.destination, copy.project_names),
        "project_id": job.project,
        "sources": len(job.sources),
        "folders": sum(source.endswith("/") for source in job.sources),
        "hold": asdict(hold) if hold else None,
        "attempts": [{key: getattr(each, key) for key in attempt_keys} for each in job.attempts],
    }


def _is_wanted(job: Job, request: ShowCopy) -> bool:
    if request.failed or request.open:
        return (request.failed and job.status in ENDED_BADLY) or (request.open and job.status in OPEN)
    return True


def _counts(statuses: Counter[JobStatus]) -> Answer:
    return {f"{status.lower()}_jobs": statuses[status] for status in OPEN}


def _summed(holds: Iterable[tuple[Hold | None, int]]) -> list[Answer]:
    """Each reason with how many jobs it holds, and what is said of the first of them; the most frequent first."""
    counts: Counter[HoldReason] = Counter()
    details: dict[HoldReason, str] = {}
    for hold, count in holds:
        if hold:
            counts[hold.reason] += count
            details.setdefault(hold.reason, hold.detail)
    return [{"reason": reason, "jobs": count, "detail": details[reason]} for reason, count in counts.most_common()]
