"""Poll: running jobs are looked at and moved on, until none runs or the time is up.

EventBridge calls it every minute, and a launch at once. It then looks again and again *within* its time, soon after
a job was launched and less and less often later, so that a copy waits for ICA and not for the schedule. A lease keeps
this to one at a time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.domain.ica import VERDICTS, IcaError, IcaJob, Verdict, verdict_of
from icav2_copy_batch.domain.job import Attempt, Clock, CopyStatus, Job, JobStatus, LaunchRequest
from icav2_copy_batch.ingest import LOST_MESSAGE_AGE

LEASE_NAME = "poller"
LEASE = timedelta(seconds=60)
"""Renewed at every look; a poller that died holds up the next for no longer than this."""
UNANNOUNCED_AGE = timedelta(minutes=1)
"""A copy that settled so long ago should have been announced by the stream."""
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 2.0, 20.0
LOOK_SHARE_OF_AGE = 0.25
"""A job is looked at again after this share of the time it has been running, between the two bounds."""
LEAST_SECONDS_TO_LOOK = 45.0
PARALLEL_MOVES = 8
MISMATCH = "MISMATCH"
"""Outcome of an attempt that ICA calls succeeded and whose files are not there as they should be."""

logger = logging.getLogger(__name__)


class Table(Protocol):
    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]: ...
    def get_job(self, copy_id: str, job_id: str) -> Job | None: ...
    def postpone(self, job: Job, due_at: datetime) -> bool: ...
    def requeue(self, job: Job, ended: Attempt, now: datetime, due_at: datetime) -> bool: ...
    def mark_passed(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def unannounced_copies(self, settled_before: datetime) -> list[str]: ...
    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool: ...
    def drop_lease(self, name: str, owner: str) -> None: ...


class Ica(Protocol):
    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]: ...


class Queue(Protocol):
    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None: ...


class Announcer(Protocol):
    def announce(self, copy_id: str) -> CopyStatus | None: ...


class Verifier(Protocol):
    def faults(self, jobs: Sequence[Job]) -> dict[tuple[str, str], str | None]: ...


class Reconciler(Protocol):
    def settle_unknown_launches(self) -> Counter[str]: ...


@dataclass(frozen=True)
class Poll:
    table: Table
    ica: Ica
    queue: Queue
    announcer: Announcer
    reconciler: Reconciler
    verifier: Verifier
    clock: Clock
    seconds_left: Callable[[], float]
    sleep: Callable[[float], None]
    max_attempts: int

    def poll(self, owner: str, woken: bool = False) -> Counter[str]:
        """Look after everything that is open; how often each thing happened.

        ``owner`` names this invocation. ``woken`` says that a launch has called it: what that launch has started may
        show in the index, which is eventually consistent, only after a moment.
        """
        happened = self._announce_forgotten()
        happened += self._send_again_what_was_lost()
        happened += self.reconciler.settle_unknown_launches()
        patient, held = woken, False
        try:
            while True:
                running = self.table.jobs_in(JobStatus.RUNNING)
                now = self.clock()
                if running:
                    held = self.table.hold_lease(LEASE_NAME, owner, now, now + LEASE)
                if not running or not held:
                    # Once more after a moment: the index may lag, and the poller at work may just be leaving.
                    if not patient:
                        break
                    patient = False
                    self.sleep(FIRST_LOOK_SECONDS)
                    continue
                happened += self._look_at(running)
                pause = min(self._seconds_until_next_look(job) for job in running)
                if self.seconds_left() < pause + LEAST_SECONDS_TO_LOOK:
                    break
                self.sleep(pause)
                patient = True
        finally:
            if held:
                self.table.drop_lease(LEASE_NAME, owner)
        return happened

    def _announce_forgotten(self) -> Counter[str]:
        happened: Counter[str] = Counter()
        for copy_id in self.table.unannounced_copies(self.clock() - UNANNOUNCED_AGE):
            logger.warning("the stream did not announce a copy", extra={"copy_id": copy_id})
            if status := self.announcer.announce(copy_id):
                happened[f"copies_{status.lower()}"] += 1
        return happened

    def _send_again_what_was_lost(self) -> Counter[str]:
        """Queued jobs whose launch message should have been handled long ago get another."""
        now = self.clock()
        overdue = self.table.jobs_in(JobStatus.QUEUED, due_before=now)
        lost = [job for job in overdue if self.table.postpone(job, now + LOST_MESSAGE_AGE)]
        for job in lost:
            logger.warning("launch message sent again", extra=_fields(job))
        self.queue.send(LaunchRequest(job.copy_id, job.job_id, job.attempt) for job in lost)
        return Counter(sent_again=len(lost))

    def _look_at(self, running: list[Job]) -> Counter[str]:
        try:
            ica_jobs = self.ica.jobs([str(job.ica_job_id) for job in running])
        except IcaError as error:
            logger.warning("ICA's jobs could not be read", extra={"reason": str(error), "running": len(running)})
            return Counter(unreadable=len(running))
        looks = [(job, ica_jobs.get(str(job.ica_job_id))) for job in running]
        faults = self.verifier.faults(self._whole(job for job, ica_job in looks if _succeeded(ica_job)))
        with ThreadPoolExecutor(PARALLEL_MOVES) as pool:
            return Counter(pool.map(lambda look: self._move_on(look[0], look[1], faults), looks))

    def _whole(self, jobs: Iterable[Job]) -> list[Job]:
        """These jobs with their sources, which the index does not hold."""
        return [whole for job in jobs if (whole := self.table.get_job(job.copy_id, job.job_id))]

    def _move_on(self, job: Job, ica_job: IcaJob | None, faults: Mapping[tuple[str, str], str | None]) -> str:
        """Make the move that ICA's answer about a running job calls for."""
        if ica_job is None:
            logger.warning("ICA has no such job", extra=_fields(job))
            return "unreadable"
        if ica_job.status not in VERDICTS:
            logger.error("ICA job has a status we do not know", extra={**_fields(job), "ica_status": ica_job.status})
        verdict = verdict_of(ica_job.status)
        if verdict is Verdict.STILL_RUNNING:
            return "running"
        now = self.clock()
        if verdict is Verdict.SUCCEEDED:
            key = (job.copy_id, job.job_id)
            if key not in faults:
                logger.warning("ICA could not be asked for the copied files", extra=_fields(job))
                return "unreadable"
            if faults[key] is None:
                ended = job.ended_attempt(ica_job.status, None, now)
                return self._log("passed", job, ended, self.table.mark_passed(job, ended, now))
            ended = job.ended_attempt(MISMATCH, faults[key], now)
        else:
            ended = job.ended_attempt(ica_job.status, _reason(ica_job), now)
        if job.attempt >= self.max_attempts:
            return self._log("given_up", job, ended, self.table.give_up(job, ended, now))
        if requeued := self.table.requeue(job, ended, now, due_at=now + LOST_MESSAGE_AGE):
            self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt + 1)])
        return self._log("requeued", job, ended, requeued)

    def _log(self, word: str, job: Job, ended: Attempt, moved: bool) -> str:
        message = f"job {word.replace('_', ' ')}" if moved else "job had moved on"
        logger.info(message, extra={**_fields(job), "outcome": ended.outcome, "reason": ended.reason})
        return word if moved else "moved_on"

    def _seconds_until_next_look(self, job: Job) -> float:
        started = datetime.fromisoformat(job.running_at) if job.running_at else self.clock()
        age = (self.clock() - started).total_seconds()
        return min(max(age * LOOK_SHARE_OF_AGE, FIRST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)


def _succeeded(ica_job: IcaJob | None) -> bool:
    return ica_job is not None and verdict_of(ica_job.status) is Verdict.SUCCEEDED


def _reason(ica_job: IcaJob) -> str:
    said = f": {ica_job.reason}" if ica_job.reason else ""
    return f"ICA job {ica_job.job_id} ended {ica_job.status}{said}"


def _fields(job: Job) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, "ica_job_id": job.ica_job_id}
