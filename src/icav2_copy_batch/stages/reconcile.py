"""Reconcile: what became of a launch whose end nobody saw.

A launch that died, or whose answer was lost, leaves its job LAUNCHING: ICA may have started the copy batch or not, and
starting a copy batch has no idempotency key. So the launch writes down its intent before it asks (``record_intent``),
and ICA's jobs of that time are compared with the intent.

- A claim without an intent has asked for nothing: its job goes back into the queue.
- A copy batch of the same data into the same folder is adopted, seconds after the answer was lost.
- That *none* was started is concluded late, and only where each ICA job of that time is known to be another one: of
  another job of ours, of another kind, or a copy batch whose own data show it.
- Whatever could be it, and cannot be told apart, leaves the job undecided. A person is told, looks in ICA, and says
  ``adopt`` or ``release``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaError, IcaJob, IcaRefused
from icav2_copy_batch.domain.intent import Fit, Intent, fit, folder_fit
from icav2_copy_batch.domain.job import Clock, Hold, HoldReason, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART
from icav2_copy_batch.domain.uri import nfc, parent_path, parse_uri
from icav2_copy_batch.ports import IcaSearch, LaunchQueue, Table
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE

LOST_ANSWER_AGE = timedelta(minutes=2)
"""After this a request whose answer was lost is taken to be carried out, or never to be."""
LISTS_LAG = timedelta(minutes=3)
"""After this ICA's lists show what was created, and a batch's items are listed."""
FIRST_LOOK_AGAIN, LONGEST_LOOK_AGAIN = timedelta(seconds=2), timedelta(seconds=30)
LOOK_SHARE_OF_AGE = 0.5
"""A job is searched for again after this share of the time since ICA was asked, between the two bounds."""
UNDECIDED_LOOK_AGAIN, LONGEST_UNDECIDED_LOOK_AGAIN = timedelta(minutes=5), timedelta(hours=1)
UNDECIDED_SHARE_OF_AGE = 0.25
"""The same once nothing new can appear any more: only what could not be read may be readable then."""
UNREADABLE_FOR = timedelta(minutes=30)
"""An ICA that cannot be asked for longer than this leaves the launch to a person; it is asked all the same."""
FILES_LOOKED_AT = 50
"""So many of the files that a copy batch lists are looked up, to see whether they are those of a folder of ours."""
MOST_REMEMBERED = 20_000
LAUNCH_DIED = Hold(HoldReason.LAUNCH_DIED, "a launch of it has ended without starting anything")

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]


class NotForAPerson(Exception):
    """A person may not decide this as asked; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A copy batch as ICA shows it."""

    folder_id: str | None
    items: list[CopyBatchItem]

    @property
    def data_ids(self) -> frozenset[str]:
        return frozenset(item.data_id for item in self.items)


@dataclass
class Look:
    """One look at ICA for all launches that are to be settled: nothing is read twice."""

    ica: IcaSearch
    at: datetime
    """When it began: what ICA was seen not to show then proves nothing about a later moment."""
    listed: list[IcaJob]
    """ICA's jobs since the first of these launches asked."""
    known: set[str]
    """ICA jobs of ours, by id."""
    folders: dict[str, str | None]
    """Batch id → its folder: kept from look to look, since it does not change."""
    copy_types: set[str] = field(default_factory=set)
    """The types of ICA jobs that are known to be copy batches."""
    batches: dict[str, Seen | IcaRefused] = field(default_factory=dict)

    def learn_types(self) -> None:
        """See from jobs that are ours by which type ICA's jobs are known as copy batches."""
        ours = [job for job in self.listed if job.job_id in self.known]
        if not ours and self.known:
            ours = list(self.ica.jobs(sorted(self.known)[:1]).values())
        self.copy_types |= {job.subject_type for job in ours if job.subject_type}

    def is_of_another_kind(self, ica_job: IcaJob) -> bool:
        return bool(self.copy_types and ica_job.subject_type) and ica_job.subject_type not in self.copy_types

    def folder_of(self, project_id: str, batch_id: str) -> str | None:
        if self.folders.get(batch_id) is None:
            self.folders[batch_id] = self.ica.copy_batch_folder(project_id, batch_id)
        return self.folders[batch_id]

    def batch(self, project_id: str, ica_job: IcaJob) -> Seen:
        """The copy batch of an ICA job, with its items; raises ``IcaRefused`` where it cannot be read as one."""
        batch_id = ica_job.subject_id or ""
        if batch_id not in self.batches:
            try:
                folder_id = self.folder_of(project_id, batch_id)
                self.batches[batch_id] = Seen(folder_id, self.ica.copy_batch_items(project_id, batch_id))
            except IcaRefused as error:
                self.batches[batch_id] = error
        found = self.batches[batch_id]
        if isinstance(found, IcaRefused):
            raise found
        if ica_job.subject_type:
            self.copy_types.add(ica_job.subject_type)
        return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ICA job that a launch may have started."""

    ica_job: IcaJob
    fit: Fit
    why: str


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    table: Table
    ica: IcaSearch
    queue: LaunchQueue
    clock: Clock
    _folders: dict[str, str | None] = field(default_factory=dict)
    """Of copy batches that were read, by batch id."""
    _others: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Copy, job, claim and ICA job that were told apart once: they are not compared again."""

    def settle_unknown_launches(self) -> Counter[str]:
        """Settle each job that is LAUNCHING and due to be searched for; how often with which end."""
        happened: Counter[str] = Counter()
        asked: list[Job] = []
        for job in self._taken():
            if job.intent:
                asked.append(job)
            else:
                happened[self._release(job)] += 1  # nothing was asked for: that is written down before it is asked
        if not asked:
            return happened
        try:
            look = self._look(asked)
        except IcaError as error:
            return happened + Counter(self._leave_unread(job, error) for job in asked)
        for job in asked:
            try:
                happened[self._settle(job, look)] += 1
            except IcaError as error:
                happened[self._leave_unread(job, error)] += 1
            except Exception:
                logger.exception("launch not settled", extra=_fields(job))
        return happened

    def adopt(self, copy_id: str, job_id: str, ica_job_id: str) -> None:
        """A person says that an undecided launch has started this ICA job: it is looked after from now on.

        Raises ``NotForAPerson`` where the launch is not undecided, or ICA's job cannot be the one.
        """
        job = self._undecided(copy_id, job_id)
        ica_job = self.ica.jobs([ica_job_id]).get(ica_job_id)
        if ica_job is None:
            raise NotForAPerson(f"ICA shows no job {ica_job_id}: check the id")
        if ica_job.project_id not in (None, job.ica_project_id):
            raise NotForAPerson(f"ICA job {ica_job_id} is of another project than {job.ica_project_id}")
        if ica_job_id in self._known([job]) or ica_job_id in self._attempts_of_copy(job):
            raise NotForAPerson(f"ICA job {ica_job_id} is that of another attempt or job of ours")
        if not self._adopt(job, ica_job):
            raise NotForAPerson(f"job {job_id} of copy {copy_id} has moved on meanwhile: look at it again")

    def release(self, copy_id: str, job_id: str) -> None:
        """A person says that an undecided launch has started nothing: its job goes back into the queue.

        Raises ``NotForAPerson`` where the launch is not undecided.
        """
        job = self._undecided(copy_id, job_id)
        if self._release(job) != "released":
            raise NotForAPerson(f"job {job_id} of copy {copy_id} has moved on meanwhile: look at it again")

    def _undecided(self, copy_id: str, job_id: str) -> Job:
        job = self.table.get_job(copy_id, job_id)
        if job is None:
            raise NotForAPerson(f"there is no job {job_id} of a copy {copy_id}")
        if job.status is not JobStatus.LAUNCHING or not job.undecided_since:
            raise NotForAPerson(f"job {job_id} of copy {copy_id} is not undecided: nobody needs to say anything")
        return job

    def _taken(self) -> Iterator[Job]:
        """The jobs that are due, whole; each is due again later, should this poller die as well."""
        now = self.clock()
        for listed in self.table.jobs_in(JobStatus.LAUNCHING, due_before=now):
            job = self.table.get_job(listed.copy_id, listed.job_id)
            if job and job.due_at == listed.due_at:
                again = self._look_again(job, now)
                if self.table.postpone(job, again):
                    yield replace(job, due_at=timestamp(again))

    def _look_again(self, job: Job, now: datetime) -> datetime:
        if job.intent is None:
            return now + UNDECIDED_LOOK_AGAIN
        age, none_after = now - _moment(job.intent.asked_at), _none_after(job)
        if now > none_after:
            pause = age * UNDECIDED_SHARE_OF_AGE
            return now + min(max(pause, UNDECIDED_LOOK_AGAIN), LONGEST_UNDECIDED_LOOK_AGAIN)
        pause = min(max(age * LOOK_SHARE_OF_AGE, FIRST_LOOK_AGAIN), LONGEST_LOOK_AGAIN)
        return min(now + pause, none_after)

    def _look(self, jobs: Sequence[Job]) -> Look:
        since = min(_window(job)[0] for job in jobs)
        known = self._known(jobs)
        if len(self._folders) > MOST_REMEMBERED or len(self._others) > MOST_REMEMBERED:
            self._folders.clear()
            self._others.clear()
        look = Look(self.ica, self.clock(), self.ica.recent_jobs(since), known, self._folders)
        look.learn_types()
        return look

    def _known(self, jobs: Iterable[Job]) -> set[str]:
        """ICA jobs that are accounted for: of these jobs' past attempts, and of all that run."""
        running = self.table.jobs_in(JobStatus.RUNNING)
        past = {attempt.ica_job_id for job in jobs for attempt in job.attempts}
        return {each for each in past | {job.ica_job_id for job in running} if each}

    def _attempts_of_copy(self, job: Job) -> set[str]:
        attempts = (attempt for other in self.table.jobs(job.copy_id) for attempt in other.attempts)
        return {attempt.ica_job_id for attempt in attempts if attempt.ica_job_id}

    def _settle(self, job: Job, look: Look) -> str:
        candidates = list(self._candidates(job, look))
        exact = [each for each in candidates if each.fit is Fit.EXACT]
        if len(exact) == 1:
            return self._adopted(job, exact[0].ica_job)
        if look.at <= _none_after(job):
            return "waiting"
        # Whatever ICA has carried out shows by now, and so does what has ended meanwhile.
        if candidates:
            ended = self._attempts_of_copy(job)
            look.known |= ended
            look.learn_types()
            candidates = list(self._candidates(job, look))
        if not candidates:
            logger.warning("no copy batch was started: queued again", extra=_fields(job))
            return self._release(job)
        same_data = [each for each in candidates if each.fit is not Fit.POSSIBLE]
        if len(same_data) == len(candidates) == 1 and not self._twins(job):
            return self._adopted(job, same_data[0].ica_job)
        return self._leave_undecided(job, candidates)

    def _candidates(self, job: Job, look: Look) -> Iterator[Candidate]:
        """The ICA jobs of its time that a launch may have started."""
        first, last = _window(job)
        for ica_job in look.listed:
            in_time = ica_job.created_at is None or first <= ica_job.created_at <= last
            here = ica_job.project_id in (None, job.ica_project_id)
            told_apart = (job.copy_id, job.job_id, job.claimed_at or "", ica_job.job_id)
            if not in_time or not here or ica_job.job_id in look.known or told_apart in self._others:
                continue
            found = self._compare(job, ica_job, look)
            if found.fit is Fit.OTHER:
                self._others.add(told_apart)
            elif ica_job.created_at is None:
                # ICA's clock could not be measured yet: it may be one of another time, of a copy of the same files.
                yield Candidate(ica_job, Fit.POSSIBLE, f"{found.why}; when it was created is not known")
            else:
                yield found

    def _compare(self, job: Job, ica_job: IcaJob, look: Look) -> Candidate:
        intent, project_id = _intent(job), str(job.ica_project_id)
        if look.is_of_another_kind(ica_job):
            return Candidate(ica_job, Fit.OTHER, "it is of another kind")
        try:
            if folder_fit(intent, look.folder_of(project_id, ica_job.subject_id or "")) is False:
                return Candidate(ica_job, Fit.OTHER, "it copies into another folder")
            batch = look.batch(project_id, ica_job)
        except IcaRefused:
            return Candidate(ica_job, Fit.POSSIBLE, "it cannot be read as a copy batch")
        in_folder = folder_fit(intent, batch.folder_id)
        if in_folder is None:
            in_folder = _goes_to(parse_uri(job.destination).path, batch.items)
        found = fit(intent, in_folder, batch.data_ids)
        if found is Fit.POSSIBLE and intent.has_folders and batch.items:
            found = self._fit_of_files(job, batch)
        where = "into the same folder" if in_folder else "and ICA does not say into which folder"
        return Candidate(ica_job, found, f"it copies {len(batch.items)} listed items {where}")

    def _fit_of_files(self, job: Job, batch: Seen) -> Fit:
        """Compare a copy batch for which ICA lists the files of a folder in place of the folder."""
        sources = [parse_uri(source) for source in job.uncopied]
        looked_up = sorted(batch.data_ids)[:FILES_LOOKED_AT]
        found: dict[str, tuple[str, str]] = {}
        for project in sorted({uri.project for uri in sources}):
            for data_id, data in self.ica.find_by_ids(project, looked_up).items():
                found[data_id] = (project, nfc(data.path))  # ICA may hold another form
        ours = [
            any(
                project == uri.project and (path == uri.path or (uri.is_folder and path.startswith(uri.path)))
                for uri in sources
            )
            for project, path in found.values()
        ]
        if not all(ours):
            return Fit.OTHER
        # It may be a part of our data that somebody else copies: believed only once nothing else can be it.
        return Fit.SAME_DATA if len(found) == len(looked_up) else Fit.POSSIBLE

    def _twins(self, job: Job) -> bool:
        """Whether another launch has asked for the same data at about that time, into another folder of the project."""
        for listed in self.table.jobs_in(JobStatus.LAUNCHING):
            if listed.ica_project_id == job.ica_project_id and _key(listed) != _key(job):
                other = self.table.get_job(*_key(listed))
                if other and other.intent and other.intent.digest == _intent(job).digest:
                    return True
        return False

    def _adopted(self, job: Job, ica_job: IcaJob) -> str:
        return "adopted" if self._adopt(job, ica_job) else "moved_on"

    def _adopt(self, job: Job, ica_job: IcaJob) -> bool:
        logger.warning("copy batch adopted", extra=_fields(job, ica_job_id=ica_job.job_id))
        now = self.clock()
        return self.table.mark_running(job, ica_job.job_id, ica_job.subject_id or "", now, due_at=now)

    def _release(self, job: Job) -> str:
        now = self.clock()
        if not self.table.release(job, now, now + LOST_MESSAGE_AGE, LAUNCH_DIED):
            return "moved_on"
        self.queue.send([LaunchRequest(job.copy_id, job.job_id, job.attempt)])
        return "released"

    def _leave_unread(self, job: Job, error: IcaError) -> str:
        """ICA could not be asked. Where that lasts, a person may know of another way to find out."""
        logger.warning("ICA could not be asked for a launch", extra=_fields(job, reason=str(error)))
        if self.clock() <= _none_after(job) + UNREADABLE_FOR:
            return "unreadable"
        reason = f"it cannot be found out whether ICA has started a copy batch for it: {error}"
        self.table.mark_undecided(job, self.clock(), Hold.of(HoldReason.UNDECIDED, reason))
        return "undecided"

    def _leave_undecided(self, job: Job, candidates: Sequence[Candidate]) -> str:
        which = "; ".join(f"ICA job {each.ica_job.job_id}: {each.why}" for each in candidates[:5])
        reason = f"it cannot be found out whether ICA has started a copy batch for it ({which})"
        logger.error("unknown whether a copy batch was started: look in ICA", extra=_fields(job, reason=reason))
        self.table.mark_undecided(job, self.clock(), Hold.of(HoldReason.UNDECIDED, reason))
        return "undecided"


def _intent(job: Job) -> Intent:
    if job.intent is None:
        raise LookupError(f"job {job.job_id} of copy {job.copy_id} has asked ICA for nothing")
    return job.intent


def _carried_out_by(job: Job) -> datetime:
    """When ICA has carried out what this launch asked for, or never will."""
    if job.answer_lost_at:
        return _moment(job.answer_lost_at) + LOST_ANSWER_AGE
    return _moment(job.lease_until or _intent(job).asked_at)


def _none_after(job: Job) -> datetime:
    """From when on an ICA job that does not show was not started."""
    return _carried_out_by(job) + LISTS_LAG


def _window(job: Job) -> tuple[str, str]:
    """Between which moments ICA has created the job, if this launch has started one."""
    first, last = _moment(_intent(job).asked_at) - CLOCKS_APART, _carried_out_by(job) + CLOCKS_APART
    return timestamp(first), timestamp(last)


def _goes_to(folder: str, items: Collection[CopyBatchItem]) -> bool | None:
    """Whether what a copy batch has made lies in a folder; None where ICA does not say."""
    made = [nfc(item.created.path) for item in items if item.created]
    wanted = nfc(folder)
    if not any(path.startswith(wanted) for path in made):
        return False if made else None
    return True if all(parent_path(path) == wanted for path in made) else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _key(job: Job) -> JobKey:
    return job.copy_id, job.job_id


def _fields(job: Job, **more: Any) -> dict[str, Any]:
    return {"copy_id": job.copy_id, "job_id": job.job_id, "attempt": job.attempt, **more}
