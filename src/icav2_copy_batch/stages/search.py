"""Search: which ICA jobs a launch may have started, given what it was about to ask for (its intent)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaJob, IcaRefused
from icav2_copy_batch.domain.intent import Fit, Intent, fit, folder_fit
from icav2_copy_batch.domain.job import Job, timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART
from icav2_copy_batch.domain.uri import IcaUri, nfc, parent_path, parse_uri
from icav2_copy_batch.ports import IcaSearch

LOST_ANSWER_AGE = timedelta(minutes=2)
"""After this a request whose answer was lost has been carried out, or never will be."""
LISTS_LAG = timedelta(minutes=3)
"""After this ICA's lists show what was created, and the items of a copy batch."""
FILES_LOOKED_UP = 50
"""So many of the files that a copy batch lists are looked up, to see whether they are those of a folder of ours."""
MOST_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class BatchShown:
    """A copy batch as ICA shows it."""

    folder_id: str | None
    items: list[CopyBatchItem]

    @property
    def data_ids(self) -> frozenset[str]:
        return frozenset(item.data_id for item in self.items)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ICA job that a launch may have started."""

    ica_job: IcaJob
    fit: Fit
    why: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What does not change, and is kept from search to search."""

    folders: dict[str, str | None] = field(default_factory=dict)
    """The folders of copy batches, by the batch's id."""
    others: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Copy, job, claim and ICA job that were told apart once: they are not compared again."""

    def shorten(self) -> None:
        """Forget all of it where it has become too much."""
        if max(len(self.folders), len(self.others)) > MOST_REMEMBERED:
            self.folders.clear()
            self.others.clear()


@dataclass(kw_only=True)
class Search:
    """One search in ICA for all launches that are to be settled: nothing is read twice."""

    ica: IcaSearch
    at: datetime
    """When it began: that ICA did not show something then proves nothing about a later moment."""
    listed: list[IcaJob]
    """ICA's jobs since the first of these launches asked."""
    known: set[str]
    """The ids of ICA jobs that belong to jobs of ours."""
    remembered: Remembered
    copy_types: set[str] = field(default_factory=set)
    """The types of ICA jobs that are known to be copy batches."""
    batches: dict[str, BatchShown | IcaRefused] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, ica: IcaSearch, jobs: Sequence[Job], known: set[str], now: datetime, remembered: Remembered
    ) -> Search:
        """List ICA's jobs since the first of these launches asked. Raises ``IcaError``."""
        since = min(window_of(job)[0] for job in jobs)
        search = cls(ica=ica, at=now, listed=ica.recent_jobs(since), known=set(), remembered=remembered)
        search.know(known)
        return search

    def know(self, ica_job_ids: Collection[str]) -> None:
        """Count these ICA jobs as ours, and learn from them the type of copy batches. Raises ``IcaError``."""
        self.known |= set(ica_job_ids)
        ours = [job for job in self.listed if job.job_id in self.known]
        if not ours and self.known:
            ours = list(self.ica.jobs(sorted(self.known)[:1]).values())
        self.copy_types |= {job.subject_type for job in ours if job.subject_type}

    def candidates(self, job: Job) -> list[Candidate]:
        """The ICA jobs of its time that a launch may have started. Raises ``IcaUnavailable``."""
        first, last = window_of(job)
        candidates = []
        for ica_job in self.listed:
            in_time = ica_job.created_at is None or first <= ica_job.created_at <= last
            here = ica_job.project_id in (None, job.ica_project_id)
            told_apart = (job.copy_id, job.job_id, job.claimed_at or "", ica_job.job_id)
            if not in_time or not here or ica_job.job_id in self.known or told_apart in self.remembered.others:
                continue
            found = self._compare(job, ica_job)
            if found.fit is Fit.OTHER:
                self.remembered.others.add(told_apart)
            elif ica_job.created_at is None:
                # ICA's clock could not be measured yet: it may be one of another time, of a copy of the same files.
                candidates.append(Candidate(ica_job, Fit.POSSIBLE, f"{found.why}; when it was created is not known"))
            else:
                candidates.append(found)
        return candidates

    def _compare(self, job: Job, ica_job: IcaJob) -> Candidate:
        intent, project_id = intent_of(job), str(job.ica_project_id)
        if self.copy_types and ica_job.subject_type and ica_job.subject_type not in self.copy_types:
            return Candidate(ica_job, Fit.OTHER, "it is of another kind")
        try:
            if folder_fit(intent, self._folder_of(project_id, ica_job.subject_id or "")) is False:
                return Candidate(ica_job, Fit.OTHER, "it copies into another folder")
            batch = self._batch(project_id, ica_job)
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

    def _folder_of(self, project_id: str, batch_id: str) -> str | None:
        """The id of a copy batch's folder, as far as ICA says."""
        folders = self.remembered.folders
        if folders.get(batch_id) is None:
            folders[batch_id] = self.ica.copy_batch_folder(project_id, batch_id)
        return folders[batch_id]

    def _batch(self, project_id: str, ica_job: IcaJob) -> BatchShown:
        """The copy batch of an ICA job, with its items. Raises ``IcaRefused`` where it cannot be read as one."""
        batch_id = ica_job.subject_id or ""
        if batch_id not in self.batches:
            try:
                folder_id = self._folder_of(project_id, batch_id)
                self.batches[batch_id] = BatchShown(folder_id, self.ica.copy_batch_items(project_id, batch_id))
            except IcaRefused as error:
                self.batches[batch_id] = error
        found = self.batches[batch_id]
        if isinstance(found, IcaRefused):
            raise found
        if ica_job.subject_type:
            self.copy_types.add(ica_job.subject_type)
        return found

    def _fit_of_files(self, job: Job, batch: BatchShown) -> Fit:
        """Compare a copy batch for which ICA lists a folder's files in place of the folder."""
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


def intent_of(job: Job) -> Intent:
    """What a launch was about to ask for. Raises ``LookupError`` where that was nothing."""
    if job.intent is None:
        raise LookupError(f"job {job.job_id} of copy {job.copy_id} has asked ICA for nothing")
    return job.intent


def none_after(job: Job) -> datetime:
    """From when on an ICA job that does not show was not started."""
    return _carried_out_by(job) + LISTS_LAG


def _carried_out_by(job: Job) -> datetime:
    """When ICA has carried out what this launch asked for, or never will."""
    if job.answer_lost_at:
        return datetime.fromisoformat(job.answer_lost_at) + LOST_ANSWER_AGE
    return datetime.fromisoformat(job.lease_until or intent_of(job).asked_at)


def window_of(job: Job) -> tuple[str, str]:
    """Between which moments ICA has created the job, if this launch has started one."""
    first = datetime.fromisoformat(intent_of(job).asked_at) - CLOCKS_APART
    return timestamp(first), timestamp(_carried_out_by(job) + CLOCKS_APART)


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
