"""Reconcile: what became of a launch whose end nobody saw.

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
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import CopyBatchItem, IcaError, IcaJob, IcaRefused
from icav2_copy_batch.domain.intent import Fit, Intent, fit, folder_fit
from icav2_copy_batch.domain.job import Clock, Hold, HoldReason, Job, JobStatus, timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART
from icav2_copy_batch.domain.uri import IcaUri, nfc, parent_path, parse_uri
from icav2_copy_batch.ports import IcaSearch, Table
from icav2_copy_batch.stages.logs import fields_of

LOST_ANSWER_AGE = timedelta(minutes=2)
"""After this a request whose answer was lost has been carried out, or never will be."""
LISTS_LAG = timedelta(minutes=3)
"""After this ICA's lists show what was created, and the items of a copy batch."""
FIRST_SEARCH_AGAIN, LONGEST_SEARCH_AGAIN = timedelta(seconds=2), timedelta(seconds=30)
SEARCH_SHARE_OF_AGE = 0.5
"""ICA is searched again after this share of the time since it was asked, within the two bounds."""
UNDECIDED_SEARCH_AGAIN, LONGEST_UNDECIDED_SEARCH_AGAIN = timedelta(minutes=5), timedelta(hours=1)
UNDECIDED_SHARE_OF_AGE = 0.25
"""The same once nothing new can appear any more: only what could not be read may be readable then."""
UNREADABLE_FOR = timedelta(minutes=30)
"""If ICA cannot be asked for longer than this, the launch is left to a person; ICA is asked all the same."""
FILES_LOOKED_UP = 50
"""So many of the files that a copy batch lists are looked up, to see whether they are those of a folder of ours."""
MOST_REMEMBERED = 20_000
LAUNCH_DIED = Hold(HoldReason.LAUNCH_DIED, "a launch of it has ended without starting anything")

logger = logging.getLogger(__name__)


class NotForAPerson(Exception):
    """A person may not decide this as asked; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class BatchShown:
    """A copy batch as ICA shows it."""

    folder_id: str | None
    items: list[CopyBatchItem]

    @property
    def data_ids(self) -> frozenset[str]:
        return frozenset(item.data_id for item in self.items)


@dataclass
class Search:
    """One search in ICA for all launches that are to be settled: nothing is read twice."""

    ica: IcaSearch
    at: datetime
    """When it began: that ICA did not show something then proves nothing about a later moment."""
    listed: list[IcaJob]
    """ICA's jobs since the first of these launches asked."""
    known: set[str]
    """The ids of ICA jobs that belong to jobs of ours."""
    folders: dict[str, str | None]
    """The folder of each copy batch by the batch's id. It does not change, and is kept from search to search."""
    copy_types: set[str] = field(default_factory=set)
    """The types of ICA jobs that are known to be copy batches."""
    batches: dict[str, BatchShown | IcaRefused] = field(default_factory=dict)

    def learn_types(self) -> None:
        """Learn from jobs that are ours which type ICA gives to copy batches. Raises ``IcaError``."""
        ours = [job for job in self.listed if job.job_id in self.known]
        if not ours and self.known:
            ours = list(self.ica.jobs(sorted(self.known)[:1]).values())
        self.copy_types |= {job.subject_type for job in ours if job.subject_type}

    def is_of_another_kind(self, ica_job: IcaJob) -> bool:
        return bool(self.copy_types and ica_job.subject_type) and ica_job.subject_type not in self.copy_types

    def folder_of(self, project_id: str, batch_id: str) -> str | None:
        """The id of a copy batch's folder, as far as ICA says. Raises ``IcaError``."""
        if self.folders.get(batch_id) is None:
            self.folders[batch_id] = self.ica.copy_batch_folder(project_id, batch_id)
        return self.folders[batch_id]

    def batch(self, project_id: str, ica_job: IcaJob) -> BatchShown:
        """The copy batch of an ICA job, with its items.

        Raises ``IcaRefused`` where it cannot be read as a copy batch, and ``IcaUnavailable``.
        """
        batch_id = ica_job.subject_id or ""
        if batch_id not in self.batches:
            try:
                folder_id = self.folder_of(project_id, batch_id)
                self.batches[batch_id] = BatchShown(folder_id, self.ica.copy_batch_items(project_id, batch_id))
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
    """Finds out what became of launches, or takes a person's word for it."""

    table: Table
    ica: IcaSearch
    clock: Clock
    _folders: dict[str, str | None] = field(default_factory=dict)
    """The folders of copy batches that were read, by the batch's id."""
    _others: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Copy, job, claim and ICA job that were told apart once: they are not compared again."""

    def settle_unknown_launches(self) -> Happenings:
        """Settle each job that is LAUNCHING and due to be searched for; how often with which end."""
        due = list(self._due())
        asked = [job for job in due if job.intent]
        # An intent is written down before ICA is asked: without one nothing was asked for.
        happened = Happenings(self._release(job) for job in due if not job.intent)
        if not asked:
            return happened
        try:
            search = self._search(asked)
        except IcaError as error:
            return happened + Happenings(self._leave_unread(job, error) for job in asked)
        return happened + Happenings(self._settle_guarded(job, search) for job in asked)

    def adopt(self, copy_id: str, job_id: str, ica_job_id: str) -> None:
        """A person says that an undecided launch has started this ICA job, which is polled from now on.

        Raises ``NotForAPerson`` where the launch is not undecided or ICA's job cannot be the one, and ``IcaError``.
        """
        job = self._undecided(copy_id, job_id)
        ica_job = self.ica.jobs([ica_job_id]).get(ica_job_id)
        if ica_job is None:
            raise NotForAPerson(f"ICA shows no job {ica_job_id}: check the id")
        if ica_job.project_id not in (None, job.ica_project_id):
            raise NotForAPerson(f"ICA job {ica_job_id} is of another project than {job.ica_project_id}")
        if ica_job_id in self._known([job]) or ica_job_id in self._attempts_of_copy(job):
            raise NotForAPerson(f"ICA job {ica_job_id} is that of another attempt or job of ours")
        _raise_if_moved(job, self._adopt(job, ica_job))

    def release(self, copy_id: str, job_id: str) -> None:
        """A person says that an undecided launch has started nothing: its job goes back into the queue.

        Raises ``NotForAPerson`` where the launch is not undecided.
        """
        job = self._undecided(copy_id, job_id)
        _raise_if_moved(job, self._release(job))

    def _undecided(self, copy_id: str, job_id: str) -> Job:
        job = self.table.get_job(copy_id, job_id)
        if job is None:
            raise NotForAPerson(f"there is no job {job_id} of a copy {copy_id}")
        if job.status is not JobStatus.LAUNCHING or not job.undecided_since:
            raise NotForAPerson(f"job {job_id} of copy {copy_id} is not undecided: nobody needs to say anything")
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

    def _search(self, jobs: Sequence[Job]) -> Search:
        since = min(_window(job)[0] for job in jobs)
        known = self._known(jobs)
        if len(self._folders) > MOST_REMEMBERED or len(self._others) > MOST_REMEMBERED:
            self._folders.clear()
            self._others.clear()
        search = Search(self.ica, self.clock(), self.ica.recent_jobs(since), known, self._folders)
        search.learn_types()
        return search

    def _known(self, jobs: Iterable[Job]) -> set[str]:
        """ICA jobs that are accounted for: of these jobs' past attempts, and of all that run."""
        running = self.table.jobs_in(JobStatus.RUNNING)
        past = {attempt.ica_job_id for job in jobs for attempt in job.attempts}
        return {each for each in past | {job.ica_job_id for job in running} if each}

    def _attempts_of_copy(self, job: Job) -> set[str]:
        attempts = (attempt for other in self.table.jobs(job.copy_id) for attempt in other.attempts)
        return {attempt.ica_job_id for attempt in attempts if attempt.ica_job_id}

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
        candidates = list(self._candidates(job, search))
        exact = [each for each in candidates if each.fit is Fit.EXACT]
        if len(exact) == 1:
            return self._adopt(job, exact[0].ica_job)
        if search.at <= _none_after(job):
            return Happening.WAITING
        # Whatever ICA has carried out shows by now, and so does what has ended meanwhile.
        if candidates:
            ended = self._attempts_of_copy(job)
            search.known |= ended
            search.learn_types()
            candidates = list(self._candidates(job, search))
        if not candidates:
            logger.warning("no copy batch was started: queued again", extra=fields_of(job))
            return self._release(job)
        same_data = [each for each in candidates if each.fit is not Fit.POSSIBLE]
        if len(same_data) == len(candidates) == 1 and not self._twins(job):
            return self._adopt(job, same_data[0].ica_job)
        return self._leave_undecided(job, candidates)

    def _candidates(self, job: Job, search: Search) -> Iterator[Candidate]:
        """The ICA jobs of its time that a launch may have started."""
        first, last = _window(job)
        for ica_job in search.listed:
            in_time = ica_job.created_at is None or first <= ica_job.created_at <= last
            here = ica_job.project_id in (None, job.ica_project_id)
            told_apart = (job.copy_id, job.job_id, job.claimed_at or "", ica_job.job_id)
            if not in_time or not here or ica_job.job_id in search.known or told_apart in self._others:
                continue
            found = self._compare(job, ica_job, search)
            if found.fit is Fit.OTHER:
                self._others.add(told_apart)
            elif ica_job.created_at is None:
                # ICA's clock could not be measured yet: it may be one of another time, of a copy of the same files.
                yield Candidate(ica_job, Fit.POSSIBLE, f"{found.why}; when it was created is not known")
            else:
                yield found

    def _compare(self, job: Job, ica_job: IcaJob, search: Search) -> Candidate:
        intent, project_id = _intent(job), str(job.ica_project_id)
        if search.is_of_another_kind(ica_job):
            return Candidate(ica_job, Fit.OTHER, "it is of another kind")
        try:
            if folder_fit(intent, search.folder_of(project_id, ica_job.subject_id or "")) is False:
                return Candidate(ica_job, Fit.OTHER, "it copies into another folder")
            batch = search.batch(project_id, ica_job)
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

    def _fit_of_files(self, job: Job, batch: BatchShown) -> Fit:
        """Compare a copy batch for which ICA lists a folder's files in place of the folder. Raises ``IcaError``."""
        sources = [parse_uri(source) for source in job.uncopied]
        data_ids = sorted(batch.data_ids)[:FILES_LOOKED_UP]
        found = {
            data_id: IcaUri(project, nfc(data.path))  # ICA may hold another form
            for project in sorted({uri.project for uri in sources})
            for data_id, data in self.ica.find_by_ids(project, data_ids).items()
        }
        if not all(any(_holds(source, uri) for source in sources) for uri in found.values()):
            return Fit.OTHER
        # It may be a part of our data that somebody else copies: believed only once nothing else can be it.
        return Fit.SAME_DATA if len(found) == len(data_ids) else Fit.POSSIBLE

    def _twins(self, job: Job) -> bool:
        """Whether another launch has asked for the same data at about that time, into another folder of the project."""
        for listed in self.table.jobs_in(JobStatus.LAUNCHING):
            if listed.ica_project_id == job.ica_project_id and listed.key != job.key:
                other = self.table.get_job(*listed.key)
                if other and other.intent and other.intent.digest == _intent(job).digest:
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
        if self.clock() <= _none_after(job) + UNREADABLE_FOR:
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


def _intent(job: Job) -> Intent:
    if job.intent is None:
        raise LookupError(f"job {job.job_id} of copy {job.copy_id} has asked ICA for nothing")
    return job.intent


def _raise_if_moved(job: Job, happening: Happening) -> None:
    if happening is Happening.MOVED_ON:
        raise NotForAPerson(f"job {job.job_id} of copy {job.copy_id} has moved on meanwhile: look at it again")


def _search_again(job: Job, now: datetime) -> datetime:
    """When to search for a launch again, should nothing be found now."""
    if job.intent is None:
        return now + UNDECIDED_SEARCH_AGAIN
    age, none_after = now - _moment(job.intent.asked_at), _none_after(job)
    if now > none_after:
        pause = age * UNDECIDED_SHARE_OF_AGE
        return now + min(max(pause, UNDECIDED_SEARCH_AGAIN), LONGEST_UNDECIDED_SEARCH_AGAIN)
    pause = min(max(age * SEARCH_SHARE_OF_AGE, FIRST_SEARCH_AGAIN), LONGEST_SEARCH_AGAIN)
    return min(now + pause, none_after)


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


def _holds(source: IcaUri, uri: IcaUri) -> bool:
    """Whether a file is a source, or lies in it."""
    is_in = uri.path.startswith(source.path) if source.is_folder else uri.path == source.path
    return uri.project == source.project and is_in


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
