"""Reconcile: finds out what ICA did for a launch that died or lost ICA's answer.

A launch that died, or whose answer was lost, leaves its job LAUNCHING. ICA may have started the copy batch or not, and
starting a copy batch has no idempotency key. So the launch writes down its intent before it asks (``record_intent``),
and the ICA jobs of that time are compared with the intent.

- A claim without an intent has asked for nothing: its job goes back into the queue.
- A copy batch of the same data into the same folder is adopted, seconds after the answer was lost.
- That *none* was started is concluded late, and only where each ICA job of that time is known to be another one: it
  belongs to another job of ours, is of another kind, or is a copy batch whose own data show it.
- Where an ICA job could be it and cannot be told apart, the job stays undecided. A person looks in ICA, and says
  ``adopt`` or ``release``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import IcaError, IcaJob
from icav2_copy_batch.domain.intent import Fit
from icav2_copy_batch.domain.job import Clock, Hold, HoldReason, Job, JobStatus, timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART
from icav2_copy_batch.ports import IcaSearch, Table
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.newest import newest_copies
from icav2_copy_batch.stages.search import Candidate, Remembered, Search, intent_of, none_after, window_of

FIRST_SEARCH_AGAIN, LONGEST_SEARCH_AGAIN = timedelta(seconds=2), timedelta(seconds=30)
SEARCH_SHARE_OF_AGE = 0.5
"""ICA is searched again after this share of the time since it was asked, within the two bounds."""
UNDECIDED_SEARCH_AGAIN, LONGEST_UNDECIDED_SEARCH_AGAIN = timedelta(minutes=5), timedelta(hours=1)
UNDECIDED_SHARE_OF_AGE = 0.25
"""The same once nothing new can appear any more: only what could not be read may be readable then."""
UNREADABLE_FOR = timedelta(minutes=30)
"""If ICA cannot be asked for longer than this, the launch is left to a person; ICA is asked all the same."""
AT_WORK_FOR = timedelta(days=30)
"""A copy that was submitted earlier than this before a launch is not at work any more."""
MOST_COPIES = 1000
"""So many of the newest copies are looked through for the ICA jobs that they have had."""
LAUNCH_DIED = Hold(HoldReason.LAUNCH_DIED, "its last launch ended without starting a copy batch")

logger = logging.getLogger(__name__)


class DecisionRefused(Exception):
    """A person may not decide this as asked; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    """Finds out what became of launches, or takes a person's word for it."""

    table: Table
    ica: IcaSearch
    clock: Clock
    remembered: Remembered = field(default_factory=Remembered, compare=False)

    def settle_unknown_launches(self) -> Happenings:
        """Settle each job that is LAUNCHING and due to be searched for; how often with which end."""
        due = list(self._due())
        asked = [job for job in due if job.intent]
        # An intent is written down before ICA is asked: without one nothing was asked for.
        happened = Happenings(self._release(job) for job in due if not job.intent)
        if not asked:
            return happened
        try:
            self.remembered.shorten()
            search = Search.begin(self.ica, asked, self._known(asked), self.clock(), self.remembered)
        except IcaError as error:
            return happened + Happenings(self._leave_unread(job, error) for job in asked)
        return happened + Happenings(self._settle_guarded(job, search) for job in asked)

    def adopt(self, copy_id: str, job_id: str, ica_job_id: str) -> None:
        """A person says that an undecided launch has started this ICA job, which is polled from now on.

        Raises ``DecisionRefused`` where the launch is not undecided or ICA's job cannot be the one, and ``IcaError``.
        """
        job = self._undecided(copy_id, job_id)
        ica_job = self.ica.jobs([ica_job_id]).get(ica_job_id)
        if ica_job is None:
            raise DecisionRefused(f"ICA shows no job {ica_job_id}: check the id")
        if ica_job.project_id not in (None, job.ica_project_id):
            raise DecisionRefused(f"ICA job {ica_job_id} belongs to another project than {job.ica_project_id}")
        first, _ = window_of(job)
        if ica_job.created_at and ica_job.created_at < first:
            since = f"was created at {ica_job.created_at}, before this launch asked ICA"
            raise DecisionRefused(f"ICA job {ica_job_id} {since}")
        if ica_job_id in self._known([job]) or ica_job_id in self._ended_since(job):
            raise DecisionRefused(f"ICA job {ica_job_id} belongs to another attempt or job of this stack")
        _raise_if_moved(job, self._adopt(job, ica_job))

    def release(self, copy_id: str, job_id: str) -> None:
        """A person says that an undecided launch has started nothing: its job goes back into the queue.

        Raises ``DecisionRefused`` where the launch is not undecided.
        """
        job = self._undecided(copy_id, job_id)
        _raise_if_moved(job, self._release(job))

    def _undecided(self, copy_id: str, job_id: str) -> Job:
        job = self.table.get_job(copy_id, job_id)
        if job is None:
            raise DecisionRefused(f"copy {copy_id} has no job {job_id}")
        if job.status is not JobStatus.LAUNCHING or not job.undecided_since:
            raise DecisionRefused(f"job {job_id} of copy {copy_id} is not undecided: there is nothing to decide")
        return job

    def _due(self) -> Iterator[Job]:
        """The jobs that are due, whole; each is due again later, should this poller die as well."""
        now = self.clock()
        for listed in self.table.jobs_in(JobStatus.LAUNCHING, due_before=now):
            job = self.table.get_job(listed.copy_id, listed.job_id)
            if job and job.due_at == listed.due_at:
                again = _search_again(job, now)
                if self.table.postpone(job, again):
                    yield replace(job, due_at=timestamp(again))

    def _known(self, jobs: Iterable[Job]) -> set[str]:
        """ICA jobs that are accounted for: of these jobs, also as they were before a redrive, and all that run."""
        running = self.table.jobs_in(JobStatus.RUNNING)
        past = {attempt.ica_job_id for job in jobs for attempt in job.tried}
        return {each for each in past | {job.ica_job_id for job in running} if each}

    def _ended_since(self, job: Job) -> set[str]:
        """ICA jobs of attempts that have ended, of all copies that were at work at the time of this launch.

        Another copy may copy the same data into another folder, and ICA does not always say into which. A copy that was
        submitted later has started no ICA job in that time, whatever the clocks say.
        """
        first, last = window_of(job)
        begin = datetime.fromisoformat(first) - AT_WORK_FOR
        until = min(self.clock(), datetime.fromisoformat(last) + CLOCKS_APART)
        copies = [
            copy.copy_id
            for copy in newest_copies(self.table, begin, until, MOST_COPIES)
            if copy.open_jobs or (copy.settled_at or "") >= first
        ]
        return {
            attempt.ica_job_id
            for copy_id in dict.fromkeys([job.copy_id, *copies])
            for other in self.table.jobs(copy_id)
            for attempt in other.attempts
            if attempt.ica_job_id
        }

    def _settle_guarded(self, job: Job, search: Search) -> Happening:
        """Settle a launch; where that breaks, no other launch is held up."""
        try:
            return self._settle(job, search)
        except IcaError as error:
            return self._leave_unread(job, error)
        except Exception:
            logger.exception("launch not settled", extra=fields_of(job))
            return Happening.NOT_MOVED

    def _settle(self, job: Job, search: Search) -> Happening:
        candidates = search.candidates(job)
        exact = [each for each in candidates if each.fit is Fit.EXACT]
        if len(exact) == 1:
            return self._adopt(job, exact[0].ica_job)
        if search.at <= none_after(job):
            return Happening.WAITING
        # Whatever ICA has carried out shows by now, and so does what has ended meanwhile.
        if candidates:
            search.know(self._ended_since(job))
            candidates = search.candidates(job)
        if not candidates:
            logger.warning("no copy batch was started: queued again", extra=fields_of(job))
            return self._release(job)
        same_data = [each for each in candidates if each.fit is not Fit.POSSIBLE]
        if len(same_data) == len(candidates) == 1 and not self._twins(job):
            return self._adopt(job, same_data[0].ica_job)
        return self._leave_undecided(job, candidates)

    def _twins(self, job: Job) -> bool:
        """Whether another launch has asked for the same data at about that time, into another folder of the project."""
        for listed in self.table.jobs_in(JobStatus.LAUNCHING):
            if listed.ica_project_id == job.ica_project_id and listed.key != job.key:
                other = self.table.get_job(*listed.key)
                if other and other.intent and other.intent.digest == intent_of(job).digest:
                    return True
        return False

    def _adopt(self, job: Job, ica_job: IcaJob) -> Happening:
        logger.warning("copy batch adopted", extra=fields_of(job, ica_job_id=ica_job.job_id))
        now = self.clock()
        moved = self.table.mark_running(job, ica_job.job_id, ica_job.subject_id or "", now, due_at=now)
        return Happening.ADOPTED if moved else Happening.MOVED_ON

    def _release(self, job: Job) -> Happening:
        now = self.clock()
        return Happening.RELEASED if self.table.release(job, now, now, LAUNCH_DIED) else Happening.MOVED_ON

    def _leave_unread(self, job: Job, error: IcaError) -> Happening:
        """ICA could not be asked. Where that lasts, a person may know of another way to find out."""
        logger.warning("ICA could not be asked for a launch", extra=fields_of(job, reason=str(error)))
        if self.clock() <= none_after(job) + UNREADABLE_FOR:
            return Happening.UNREADABLE
        return self._mark_undecided(job, str(error))

    def _leave_undecided(self, job: Job, candidates: Sequence[Candidate]) -> Happening:
        why = "; ".join(f"ICA job {each.ica_job.job_id}: {each.why}" for each in candidates[:5])
        logger.error("unknown whether a copy batch was started: look in ICA", extra=fields_of(job, reason=why))
        return self._mark_undecided(job, why)

    def _mark_undecided(self, job: Job, why: str) -> Happening:
        reason = f"it cannot be found out whether ICA has started a copy batch for it: {why}"
        self.table.mark_undecided(job, self.clock(), Hold.of(HoldReason.UNDECIDED, reason))
        return Happening.UNDECIDED


def _raise_if_moved(job: Job, happening: Happening) -> None:
    if happening is Happening.MOVED_ON:
        raise DecisionRefused(f"job {job.job_id} of copy {job.copy_id} has changed meanwhile: check it again")


def _search_again(job: Job, now: datetime) -> datetime:
    """When to search for a launch again, should nothing be found now."""
    if job.intent is None:
        return now + UNDECIDED_SEARCH_AGAIN
    age, last = now - datetime.fromisoformat(job.intent.asked_at), none_after(job)
    if now > last:
        pause = age * UNDECIDED_SHARE_OF_AGE
        return now + min(max(pause, UNDECIDED_SEARCH_AGAIN), LONGEST_UNDECIDED_SEARCH_AGAIN)
    pause = min(max(age * SEARCH_SHARE_OF_AGE, FIRST_SEARCH_AGAIN), LONGEST_SEARCH_AGAIN)
    return min(now + pause, last)
