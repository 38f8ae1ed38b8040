"""Reconcile: what became of a launch whose end nobody saw.

A launch that died, or whose answer was lost, leaves its job LAUNCHING: ICA may have started the copy batch or not, and
starting a copy batch has no idempotency key. So ICA's recent jobs are searched for the copy batch that this launch
would have started: created since its claim, into the same folder, of the same sources. Found, it is adopted. Not
found, the job goes back into the queue, the same attempt. Where the search cannot decide, nothing is started, and a
person is told.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.domain.ica import CopyBatch, IcaData, IcaError, IcaJob, IcaRefused
from icav2_copy_batch.domain.job import Clock, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ingest import LOST_MESSAGE_AGE

CLOCKS_APART = timedelta(seconds=60)
"""By how much ICA's clock and ours may differ."""
LOOK_AGAIN = timedelta(minutes=5)
"""When a search that could not decide is made again."""

logger = logging.getLogger(__name__)


class Table(Protocol):
    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]: ...
    def get_job(self, copy_id: str, job_id: str) -> Job | None: ...
    def postpone(self, job: Job, due_at: datetime) -> bool: ...
    def release(self, job: Job, now: datetime, due_at: datetime) -> bool: ...
    def mark_running(
        self, job: Job, ica_project_id: str, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime
    ) -> bool: ...


class Ica(Protocol):
    def project_id(self, project: str) -> str: ...
    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]: ...
    def jobs_created_since(self, since: str) -> list[IcaJob]: ...
    def copy_batch(self, project_id: str, batch_id: str) -> CopyBatch: ...


class Queue(Protocol):
    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None: ...


@dataclass(frozen=True)
class Reconcile:
    table: Table
    ica: Ica
    queue: Queue
    clock: Clock

    def settle_unknown_launches(self) -> Counter[str]:
        """Settle each job that has been LAUNCHING for longer than its claim's lease; how often with which end."""
        happened: Counter[str] = Counter()
        for listed in self.table.jobs_in(JobStatus.LAUNCHING, due_before=self.clock()):
            job = self.table.get_job(listed.copy_id, listed.job_id)
            # One poller sees to it, and sees to it again later should this one die as well.
            if job and job.due_at == listed.due_at and self.table.postpone(job, self.clock() + LOOK_AGAIN):
                happened[self._settle(job)] += 1
        return happened

    def _settle(self, job: Job) -> str:
        try:
            project_id, started = self._search(job)
        except IcaError as error:
            logger.error("unknown whether a copy batch was started: look in ICA", extra=_fields(job, reason=str(error)))
            return "undecided"
        now = self.clock()
        if started and started.subject_id:
            logger.warning("copy batch adopted", extra=_fields(job, ica_job_id=started.job_id))
            self.table.mark_running(job, project_id, started.job_id, started.subject_id, now, due_at=now)
            return "adopted"
        logger.warning("no copy batch was started: queued again", extra=_fields(job))
        if self.table.release(job, now, due_at=now + LOST_MESSAGE_AGE):
            self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt)])
        return "released"

    def _search(self, job: Job) -> tuple[str, IcaJob | None]:
        """The destination's project, and the job of the copy batch that this launch has started, if it has.

        Raises ``IcaError`` when ICA cannot tell.
        """
        destination, sources = parse_uri(job.destination), [parse_uri(source) for source in job.sources]
        project_id = self.ica.project_id(destination.project)
        since = datetime.fromisoformat(job.claimed_at or timestamp(self.clock())) - CLOCKS_APART
        known = self._known_ica_jobs(job)
        recent = [
            ica_job
            for ica_job in self.ica.jobs_created_since(timestamp(since))
            if ica_job.job_id not in known and ica_job.project_id in (None, project_id)
        ]
        if not recent:
            return project_id, None
        folders = self.ica.find(project_id, [destination.path]) if destination.path != "/" else {}
        folder_id = folders[destination.path].data_id if destination.path in folders else None
        data_ids = set()
        for project in {uri.project for uri in sources}:
            paths = [uri.path for uri in sources if uri.project == project]
            data_ids |= {data.data_id for data in self.ica.find(self.ica.project_id(project), paths).values()}
        return project_id, self._job_of(CopyBatch(folder_id, frozenset(data_ids)), project_id, recent)

    def _job_of(self, wanted: CopyBatch, project_id: str, recent: Sequence[IcaJob]) -> IcaJob | None:
        unreadable = None
        for ica_job in recent:
            try:
                if self.ica.copy_batch(project_id, ica_job.subject_id or "") == wanted:
                    return ica_job
            except IcaRefused:
                # Another kind of job; or a copy batch that this is not the way to read. Only a match would tell.
                unreadable = ica_job
        if unreadable:
            raise IcaRefused(f"ICA job {unreadable.job_id} was created at that time and cannot be read as a copy batch")
        return None

    def _known_ica_jobs(self, job: Job) -> set[str | None]:
        """ICA jobs that are accounted for: of this job's past attempts, and of all that run."""
        running = self.table.jobs_in(JobStatus.RUNNING)
        return {attempt.ica_job_id for attempt in job.attempts} | {other.ica_job_id for other in running}


def _fields(job: Job, **more: Any) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, **more}
