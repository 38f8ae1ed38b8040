"""Poll: running jobs are looked at and moved on, until none runs or the time is up.

EventBridge calls it every minute, and a launch at once. It then looks again and again *within* its time, soon after
a job was launched and less and less often later, so that a copy waits for ICA and not for the schedule. A lease keeps
this to one at a time. Where ICA tells by notifications that a job has ended, ``look_now`` looks at once, by the same
code, and the poller looks only for what ICA forgets to tell.

Whatever is open and not in a backlog has a moment at which it is due, and something that acts on it then: a queued job
gets another launch message, a launch whose end nobody saw is settled, a settled copy is announced, and what takes too
long is told. Jobs of the backlogs get their first message as slots get free.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.complete import SECONDS_TO_ANNOUNCE
from icav2_copy_batch.domain.ica import VERDICTS, IcaError, IcaJob, Verdict, verdict_of
from icav2_copy_batch.domain.job import Attempt, Clock, CopyStatus, Hold, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.outage import Outcomes, wait_in_outage
from icav2_copy_batch.domain.outcomes import SourceOutcome, copied_bits
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.send import LOST_MESSAGE_AGE, slow_down
from icav2_copy_batch.verify import MISMATCH

LEASE_NAME = "poller"
LEASE = timedelta(seconds=60)
"""Renewed at every look; a poller that died holds up the next for no longer than this."""
UNANNOUNCED_AGE = timedelta(minutes=1)
"""A copy that settled so long ago should have been announced by the stream."""
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 2.0, 20.0
LOOK_SHARE_OF_AGE = 0.25
"""A job is looked at again after this share of the time it has been running, between the two bounds."""
NOTIFIED_LEASE_NAME = "notified"
NOTIFIED = timedelta(minutes=5)
"""For so long after a notification of a project's the poller trusts that more will come, and looks less often."""
GATHER_LEASE_NAME = "gather"
GATHER_SECONDS_PER_JOB, LONGEST_GATHER_SECONDS = 0.05, 1.0
"""For so long notifications are gathered for one look: the longer, the more jobs run that may end as well."""
WAITED_FOR = timedelta(seconds=60)
"""The poller stays at work for queued jobs that will be due within this time."""
TRIES_TO_NOTE = 3
"""To add how attempts have ended, where others do so at the same moment."""
LEAST_SECONDS_TO_LOOK = 45.0
SHORTEST_NAP_SECONDS, LONGEST_NAP_SECONDS = 1.0, 4.0
"""How often the table is asked what runs and what is due; ICA is asked less often."""

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]
Look = tuple[Job, IcaJob | None]
"""A running job, with its sources where they are needed, and its ICA job, if that could be read."""


class Table(Protocol):
    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]: ...
    def get_job(self, copy_id: str, job_id: str) -> Job | None: ...
    def requeue(
        self, job: Job, ended: Attempt, copied: bytes, now: datetime, due_at: datetime, hold: Hold | None = None
    ) -> bool: ...
    def outcomes(self, project_id: str) -> Outcomes: ...
    def replace_outcomes(self, project_id: str, seen: Outcomes, outcomes: Outcomes) -> bool: ...
    def mark_passed(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def unannounced_copies(self, settled_before: datetime) -> list[str]: ...
    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool: ...
    def lease_until(self, name: str) -> str | None: ...
    def drop_lease(self, name: str, owner: str) -> None: ...


class Ica(Protocol):
    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]: ...


class Queue(Protocol):
    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None: ...


class Sender(Protocol):
    def anything_waits(self, within: timedelta) -> bool: ...
    def send(self) -> Counter[str]: ...


class Announcer(Protocol):
    def announce(self, copy_id: str) -> CopyStatus | None: ...
    def look_after_waiting(self) -> None: ...


class Reconciler(Protocol):
    def settle_unknown_launches(self) -> Counter[str]: ...


class Verifier(Protocol):
    def faults(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]: ...


class ItemReader(Protocol):
    def uncopied(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]: ...


class DelayReporter(Protocol):
    def report(self) -> int: ...


@dataclass(frozen=True)
class Poll:
    table: Table
    ica: Ica
    queue: Queue
    sender: Sender
    announcer: Announcer
    reconciler: Reconciler
    verifier: Verifier
    items: ItemReader
    delay: DelayReporter
    clock: Clock
    seconds_left: Callable[[], float]
    sleep: Callable[[float], None]
    max_attempts: int
    spread: Spread = in_threads
    """How the jobs' moves are made: side by side."""

    def poll(self, owner: str, woken: bool = False) -> Counter[str]:
        """Look after everything that is open; how often each thing happened.

        ``owner`` names this invocation. ``woken`` says that a launch has called it, and not the schedule: what that
        launch has started may show in the index, which is eventually consistent, only after a moment.
        """
        happened = Counter[str]() if woken else self._look_after_what_is_overdue()
        patient, held = woken, False
        looked: dict[str, datetime] = {}
        try:
            while True:
                running = self.table.jobs_in(JobStatus.RUNNING)
                now = self.clock()
                launching = self.table.jobs_in(JobStatus.LAUNCHING, due_before=now + WAITED_FOR)
                is_needed = bool(running or launching) or self.sender.anything_waits(WAITED_FOR)
                if is_needed:
                    held = self.table.hold_lease(LEASE_NAME, owner, now, now + LEASE)
                if not is_needed or not held:
                    # Once more after a moment: the index may lag, and the poller at work may just be leaving.
                    if not patient:
                        break
                    patient = False
                    self.sleep(FIRST_LOOK_SECONDS)
                    continue
                notified = self._notified_projects(running, now)
                if any(self._due_in(job, looked, notified) <= 0 for job in running):
                    happened += self._look_at(running)
                    looked = {str(job.ica_job_id): now for job in running}
                if any(str(job.due_at) < timestamp(now) for job in launching):
                    happened += self.reconciler.settle_unknown_launches()
                happened += self.sender.send()
                nap = min((self._due_in(job, looked, notified) for job in running), default=LONGEST_NAP_SECONDS)
                nap = min(max(nap, SHORTEST_NAP_SECONDS), LONGEST_NAP_SECONDS)
                if self.seconds_left() < nap + LEAST_SECONDS_TO_LOOK:
                    break
                self.sleep(nap)
                patient = True
        finally:
            if held:
                self.table.drop_lease(LEASE_NAME, owner)
        return happened

    def look_now(self, owner: str, ica_job_ids: Collection[str]) -> Counter[str]:
        """What a notification asks for: look at what runs, if any of these ICA jobs may be ours.

        Jobs end in swarms: one of the invocations waits a moment and looks for all of them, which is one call.
        """
        now = self.clock()
        running = self.table.jobs_in(JobStatus.RUNNING)
        meant = [job for job in running if job.ica_job_id in ica_job_ids]
        for project_id in sorted({str(job.ica_project_id) for job in meant}):
            self.table.hold_lease(f"{NOTIFIED_LEASE_NAME} {project_id}", NOTIFIED_LEASE_NAME, now, now + NOTIFIED)
        # A launch may not have noted its ICA job yet, of which we hear here.
        ours = meant or self.table.jobs_in(JobStatus.LAUNCHING)
        gather = min(GATHER_SECONDS_PER_JOB * len(running), LONGEST_GATHER_SECONDS)
        if not ours or not self.table.hold_lease(GATHER_LEASE_NAME, owner, now, now + timedelta(seconds=gather)):
            return Counter()
        self.sleep(gather + 0.1)  # whoever comes now looks later than we
        happened = self._look_at(self.table.jobs_in(JobStatus.RUNNING))
        return happened + self.sender.send()

    def _look_after_what_is_overdue(self) -> Counter[str]:
        """What has waited for a minute may wait for another: seen to once for each time that the schedule calls."""
        happened = self._announce_forgotten()
        self.announcer.look_after_waiting()
        happened["delayed"] += self.delay.report()
        return happened

    def _announce_forgotten(self) -> Counter[str]:
        happened: Counter[str] = Counter()
        for number, copy_id in enumerate(self.table.unannounced_copies(self.clock() - UNANNOUNCED_AGE)):
            if number and self.seconds_left() < SECONDS_TO_ANNOUNCE:
                break  # the next call has all of its time
            logger.warning("the stream did not announce a copy", extra={"copy_id": copy_id})
            try:
                if status := self.announcer.announce(copy_id):
                    happened[f"copies_{status.lower()}"] += 1
            except Exception:
                logger.exception("copy not announced", extra={"copy_id": copy_id})
                happened["unannounced"] += 1
        return happened

    def _look_at(self, running: list[Job]) -> Counter[str]:
        if not running:
            return Counter()
        try:
            ica_jobs = self.ica.jobs([str(job.ica_job_id) for job in running])
        except IcaError as error:
            logger.warning("ICA's jobs could not be read", extra={"reason": str(error), "running": len(running)})
            slow_down(self.table, error, self.clock())
            return Counter(unreadable=len(running))
        looks = list(filter(None, (self._whole_if_ended(job, ica_jobs.get(str(job.ica_job_id))) for job in running)))
        faults = self.verifier.faults([job for job, ica_job in looks if _verdict(ica_job) is Verdict.SUCCEEDED])
        uncopied = self.items.uncopied([job for job, ica_job in looks if _verdict(ica_job) is Verdict.FAILED])
        outages = self._note_outcomes(looks)

        def move_on(look: Look) -> str:
            try:
                return self._move_on(*look, faults, uncopied, look[0].ica_project_id in outages)
            except Exception:
                logger.exception("job not moved on", extra=_fields(look[0]))
                return "not_moved"

        return Counter(self.spread(move_on, looks))

    def _whole_if_ended(self, job: Job, ica_job: IcaJob | None) -> Look | None:
        """A job whose ICA job has ended, with its sources, which the index does not hold; None if it has moved on."""
        if _verdict(ica_job) is Verdict.STILL_RUNNING:
            return job, ica_job
        whole = self.table.get_job(job.copy_id, job.job_id)
        if not whole or whole.ica_job_id != job.ica_job_id:
            return None
        return replace(whole, ica_created_at=ica_job.created_at if ica_job else None), ica_job

    def _move_on(
        self,
        job: Job,
        ica_job: IcaJob | None,
        faults: Mapping[JobKey, list[SourceOutcome]],
        uncopied: Mapping[JobKey, list[SourceOutcome]],
        in_outage: bool,
    ) -> str:
        """Make the move that ICA's answer about a running job calls for."""
        if ica_job is None:
            logger.warning("ICA has no such job", extra=_fields(job))
            return "unreadable"
        if ica_job.status not in VERDICTS:
            logger.error("ICA job has a status we do not know", extra={**_fields(job), "ica_status": ica_job.status})
            return "unknown_status"
        verdict = verdict_of(ica_job.status)
        if verdict is Verdict.STILL_RUNNING:
            return "running"
        if verdict is Verdict.FAILED:
            return self._fail(job, ica_job.status, _reason(ica_job), uncopied.get(_key(job)), in_outage)
        if _key(job) not in faults:
            logger.warning("ICA could not be asked for the copied files", extra=_fields(job))
            return "unreadable"
        if wrong := faults[_key(job)]:
            return self._fail(job, MISMATCH, f"verification: {wrong[0].reason}", wrong, in_outage)
        now = self.clock()
        ended = job.ended_attempt(ica_job.status, None, now)
        return self._log("passed", job, ended, self.table.mark_passed(job, ended, now))

    def _fail(
        self, job: Job, outcome: str, reason: str, uncopied: Sequence[SourceOutcome] | None, in_outage: bool
    ) -> str:
        """This attempt failed: another for the sources that it did not copy, unless it was the last."""
        now = self.clock()
        ended = job.ended_attempt(outcome, reason, now, uncopied or ())
        if job.attempt >= self.max_attempts:
            return self._log("given_up", job, ended, self.table.give_up(job, ended, now))
        copied = job.copied if uncopied is None else copied_bits(job.sources, {each.source for each in uncopied})
        if in_outage and (wait := wait_in_outage(job)):
            return self._log(
                "requeued", job, ended, self.table.requeue(job, ended, copied, now, now + wait, Hold.OUTAGE)
            )
        if requeued := self.table.requeue(job, ended, copied, now, due_at=now + LOST_MESSAGE_AGE):
            self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt + 1)])
        return self._log("requeued", job, ended, requeued)

    def _note_outcomes(self, looks: Iterable[Look]) -> set[str]:
        """Note how ICA says that attempts into each project have ended; the projects in which it fails most of them."""
        ended: dict[str, Counter[Verdict]] = defaultdict(Counter)
        for job, ica_job in looks:
            if (verdict := _verdict(ica_job)) is not Verdict.STILL_RUNNING:
                ended[str(job.ica_project_id)][verdict] += 1
        return {
            project_id
            for project_id, of_project in sorted(ended.items())
            if self._note(project_id, of_project[Verdict.SUCCEEDED], of_project[Verdict.FAILED])
        }

    def _note(self, project_id: str, passed: int, failed: int) -> bool:
        """Add to what is known of a project; whether it is an outage of ICA's."""
        now = self.clock()
        try:
            for _ in range(TRIES_TO_NOTE):
                seen = self.table.outcomes(project_id)
                outcomes = seen.plus(passed, failed, now)
                # Where all goes well there is nothing to note.
                if not (failed or seen.has_failures) or self.table.replace_outcomes(project_id, seen, outcomes):
                    break
        except Exception:
            logger.exception("outcomes not noted", extra={"project_id": project_id})
            return False
        if outage := outcomes.is_outage(now):
            logger.warning("ICA fails most attempts into a project", extra={"project_id": project_id})
        return outage

    def _log(self, word: str, job: Job, ended: Attempt, moved: bool) -> str:
        message = f"job {word.replace('_', ' ')}" if moved else "job had moved on"
        logger.info(message, extra={**_fields(job), "outcome": ended.outcome, "reason": ended.reason})
        return word if moved else "moved_on"

    def _due_in(self, job: Job, looked: Mapping[str, datetime], notified: set[str]) -> float:
        """In how many seconds to look at a running job: soon after it was launched, then less and less often.

        One of whose end ICA will tell is looked at seldom, and first after it has run for a while.
        """
        now = self.clock()
        started = datetime.fromisoformat(job.running_at) if job.running_at else now
        told = str(job.ica_project_id) in notified
        looked_at = looked.get(str(job.ica_job_id), started if told else None)
        if looked_at is None:
            return 0
        share_of_age = (looked_at - started).total_seconds() * LOOK_SHARE_OF_AGE
        pause = LONGEST_LOOK_SECONDS if told else min(max(share_of_age, FIRST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)
        return pause - (now - looked_at).total_seconds()

    def _notified_projects(self, running: Iterable[Job], now: datetime) -> set[str]:
        """The projects of whose jobs ICA tells us, so that a look is there only for what it forgets to tell."""
        projects = sorted({str(job.ica_project_id) for job in running})
        until = {project_id: self.table.lease_until(f"{NOTIFIED_LEASE_NAME} {project_id}") for project_id in projects}
        return {project_id for project_id, moment in until.items() if moment and moment > timestamp(now)}


def _verdict(ica_job: IcaJob | None) -> Verdict:
    return verdict_of(ica_job.status) if ica_job else Verdict.STILL_RUNNING


def _key(job: Job) -> JobKey:
    return job.copy_id, job.job_id


def _reason(ica_job: IcaJob) -> str:
    said = f": {ica_job.reason}" if ica_job.reason else ""
    return f"ICA job {ica_job.job_id} ended {ica_job.status}{said}"


def _fields(job: Job) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, "ica_job_id": job.ica_job_id}
