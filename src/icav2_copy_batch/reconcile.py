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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.domain.ica import CopyBatch, IcaData, IcaError, IcaJob, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import MAX_REASON_CHARACTERS, Clock, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.slots import CLOCKS_APART
from icav2_copy_batch.domain.uri import is_project_id, parse_uri
from icav2_copy_batch.send import LOST_MESSAGE_AGE

LOOK_AGAIN = timedelta(minutes=5)
"""When a search that could not decide is made again."""

UNDECIDED = "it cannot be found out whether ICA has started a copy batch for it"

logger = logging.getLogger(__name__)


class Table(Protocol):
    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]: ...
    def get_job(self, copy_id: str, job_id: str) -> Job | None: ...
    def jobs(self, copy_id: str) -> Iterable[Job]: ...
    def postpone(self, job: Job, due_at: datetime, held_up_by: str | None = None) -> bool: ...
    def release(self, job: Job, now: datetime, due_at: datetime, held_up_by: str) -> bool: ...
    def mark_running(self, job: Job, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime) -> bool: ...


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
            until = self.clock() + LOOK_AGAIN
            if job and job.due_at == listed.due_at and self.table.postpone(job, until):
                try:
                    happened[self._settle(replace(job, due_at=timestamp(until)))] += 1
                except Exception:
                    logger.exception("launch not settled", extra=_fields(job))
        return happened

    def _settle(self, job: Job) -> str:
        try:
            started = self._search(job)
        except IcaUnavailable as error:
            logger.warning(
                "ICA could not be asked whether a copy batch was started", extra=_fields(job, reason=str(error))
            )
            return "unreadable"
        except IcaError as error:
            logger.error("unknown whether a copy batch was started: look in ICA", extra=_fields(job, reason=str(error)))
            self.table.postpone(job, self.clock() + LOOK_AGAIN, f"{UNDECIDED}: {error}"[:MAX_REASON_CHARACTERS])
            return "undecided"
        now = self.clock()
        if started and started.subject_id:
            logger.warning("copy batch adopted", extra=_fields(job, ica_job_id=started.job_id))
            self.table.mark_running(job, started.job_id, started.subject_id, now, due_at=now)
            return "adopted"
        logger.warning("no copy batch was started: queued again", extra=_fields(job))
        if self.table.release(job, now, now + LOST_MESSAGE_AGE, "a launch of it has died"):
            self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt)])
        return "released"

    def _search(self, job: Job) -> IcaJob | None:
        """The job of the copy batch that this launch has started, if it has.

        Raises ``IcaError`` when ICA cannot tell.
        """
        destination, sources = parse_uri(job.destination), [parse_uri(source) for source in job.uncopied]
        project_id = job.ica_project_id or ""
        if not is_project_id(project_id):
            return None  # claimed only to be refused: its project is unknown
        since = datetime.fromisoformat(job.claimed_at or timestamp(self.clock())) - CLOCKS_APART
        known = self._known_ica_jobs(job)
        recent = [
            ica_job
            for ica_job in self.ica.jobs_created_since(timestamp(since))
            if ica_job.job_id not in known and ica_job.project_id in (None, project_id)
        ]
        if recent:
            # What other jobs of this copy have run in the same folder is accounted for too.
            siblings = (other for other in self.table.jobs(job.copy_id) if other.destination == job.destination)
            theirs = {attempt.ica_job_id for other in siblings for attempt in other.attempts}
            recent = [ica_job for ica_job in recent if ica_job.job_id not in theirs]
        if not recent:
            return None
        folders = self.ica.find(project_id, [destination.path]) if destination.path != "/" else {}
        folder_id = folders[destination.path].data_id if destination.path in folders else None
        data_ids: set[str] = set()
        for project in sorted({uri.project for uri in sources}):
            paths = [uri.path for uri in sources if uri.project == project]
            data_ids |= {data.data_id for data in self.ica.find(self.ica.project_id(project), paths).values()}
        wanted = CopyBatch(folder_id, frozenset(data_ids))
        return self._job_of(wanted, project_id, recent, sure=len(data_ids) == len(sources))

    def _job_of(self, wanted: CopyBatch, project_id: str, recent: Sequence[IcaJob], sure: bool) -> IcaJob | None:
        """The job of the batch that is wanted; ``sure`` says that its sources are all where they were."""
        doubtful = None
        for ica_job in recent:
            try:
                batch = self.ica.copy_batch(project_id, ica_job.subject_id or "")
            except IcaRefused:
                # Another kind of job; or a copy batch that this is not the way to read. Only a match would tell.
                doubtful = f"ICA job {ica_job.job_id}, of that time, cannot be read as a copy batch"
                continue
            if sure and batch == wanted:
                return ica_job
            if batch.folder_id == wanted.folder_id and (not sure or batch.data_ids & wanted.data_ids):
                doubtful = f"ICA job {ica_job.job_id} copies into the same folder, but not what is at the sources now"
        if doubtful:
            raise IcaRefused(doubtful)
        return None

    def _known_ica_jobs(self, job: Job) -> set[str | None]:
        """ICA jobs that are accounted for: of this job's past attempts, and of all that run."""
        running = self.table.jobs_in(JobStatus.RUNNING)
        return {attempt.ica_job_id for attempt in job.attempts} | {other.ica_job_id for other in running}


def _fields(job: Job, **more: Any) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, **more}
