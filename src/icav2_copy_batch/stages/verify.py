"""Verify: a job passes only when its files are there.

When ICA has ended a copy batch, each file is looked up at its destination and compared with its source: it must be
AVAILABLE and of the same size (and ETag, if asked for). Files of jobs that end together are looked up together. A
folder is compared by its tree (see ``trees``).

A job with SKIP that ICA does not call succeeded may have all its files nevertheless, because ICA found them there and
skipped them. What another attempt would skip counts as copied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Clock, Job, JobKey
from icav2_copy_batch.domain.outcomes import Finding, Fingerprint, SourceOutcome
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import IcaUri, copied_into, parse_uri
from icav2_copy_batch.ports import Ica
from icav2_copy_batch.stages.leftovers import CREATED_APART
from icav2_copy_batch.stages.logs import fields_of
from icav2_copy_batch.stages.lookup import Found, look_up
from icav2_copy_batch.stages.trees import Tree, Walk

PATIENCE = timedelta(seconds=185)
"""For so long after ICA has called a job succeeded its files may not show as they are: they may become AVAILABLE a
minute later, and ICA's lists may be two minutes behind."""
MOST_WALKS_KEPT = 8
"""So many comparisons of trees are kept in memory, the latest; others go on from where their job says they had come."""

logger = logging.getLogger(__name__)


class Verification(StrEnum):
    """What has to be the same of a file and its copy."""

    NONE = "none"
    """Nothing: ICA's word is taken, where it says that a copy batch has succeeded."""
    SIZE = "size"
    """Name, status and size."""
    ETAG = "etag"
    """These and the object's ETag."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and where its copy has to be; both are files, or both folders."""

    source: IcaUri
    copy: IcaUri


@dataclass(frozen=True, slots=True)
class FilesCompared:
    """What became of a comparison of files."""

    wrong: dict[JobKey, list[SourceOutcome]]
    """By job what is not as it should be. A job is left out where ICA could not be asked: it is compared again."""
    data_ids: dict[str, str] = field(default_factory=dict)
    """The data ids of the sources that were found, by URI."""
    right: dict[JobKey, dict[str, Fingerprint]] = field(default_factory=dict)
    """By job and source the copies that are as they should be."""


@dataclass(frozen=True, slots=True)
class TreesCompared:
    """How far the folder sources of a job have been compared."""

    wrong: list[SourceOutcome] | None
    """What is not as it should be; None while not all is compared."""
    up_to: str | None
    """Where to go on, should somebody else have to."""
    has_older: bool = False
    """While not all is compared: whether something is OLDER, so that the time begins for which that is found."""
    right: dict[str, Fingerprint] = field(default_factory=dict)
    """By source the trees that are as they should be, as far as one comparison has seen all of them."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Compares what a job's attempts should have made with what ICA shows."""

    ica: Ica
    verification: Verification
    clock: Clock
    spread: Spread = in_threads
    """How projects are asked: side by side."""
    walks: dict[tuple[JobKey, str | None], Walk] = field(default_factory=dict, compare=False)
    """Comparisons of trees that have begun, by job and ICA job."""

    # --- files -------------------------------------------------------------------------------------------------------

    def faults(self, jobs: Sequence[Job]) -> FilesCompared:
        """For each job that ICA calls succeeded, the files that are not as they should be.

        A job is left out where ICA could not be asked: it is compared again. For folder sources see ``compare_trees``.
        """
        if self.verification is Verification.NONE:
            return FilesCompared({job.key: [] for job in jobs})
        renamed = [job for job in jobs if job.options.action_on_exist == "RENAME"]
        others = [job for job in jobs if job.options.action_on_exist != "RENAME"]
        compared = self._compare(others, failed=False)
        for job in renamed:
            try:
                compared.wrong[job.key] = self._faults_of_renamed(job)
            except IcaError as error:
                logger.warning("ICA could not be asked for renamed files", extra=fields_of(job, reason=str(error)))
        return compared

    def missing(self, jobs: Sequence[Job]) -> FilesCompared:
        """For each job with SKIP that ICA does not call succeeded, the files that another attempt would have to copy.

        A job is left out where ICA could not be asked. Jobs with OVERWRITE or RENAME are left out as well: what is
        there may be what was to be overwritten.
        """
        return self._compare([job for job in jobs if job.options.action_on_exist == "SKIP"], failed=True)

    def _compare(self, jobs: Sequence[Job], failed: bool) -> FilesCompared:
        pairs = {job.key: [pair for pair in pairs_of(job) if not pair.source.is_folder] for job in jobs}
        together = self._look_up([pair for each in pairs.values() for pair in each])
        compared = FilesCompared({})
        for job in jobs:
            each = pairs[job.key]
            projects = {uri.project for pair in each for uri in (pair.source, pair.copy)}
            # What was refused for all of them may be the fault of another.
            alone = len(jobs) > 1 and any(together.refusal(project) for project in projects)
            found = self._look_up(each) if alone else together
            if found.tells_of(projects):
                outcomes = {str(pair.source): self._outcome(pair, found) for pair in each}
                wrong = [outcome for outcome in outcomes.values() if outcome]
                compared.wrong[job.key] = wrong or ([] if failed else self._older(job, each, found))
                compared.right[job.key] = {
                    source: Fingerprint(copy.size, copy.etag)
                    for pair in each
                    if not outcomes[source := str(pair.source)] and (copy := found.at(pair.copy))
                }
            there = {str(pair.source): found.at(pair.source) for pair in each}
            compared.data_ids.update({source: data.data_id for source, data in there.items() if data})
        return compared

    def _look_up(self, pairs: Sequence[Pair]) -> Found:
        return look_up(self.ica, (uri for pair in pairs for uri in (pair.source, pair.copy)), self.spread)

    def _outcome(self, pair: Pair, found: Found) -> SourceOutcome | None:
        if error := found.refusal(pair.source.project) or found.refusal(pair.copy.project):
            return _mismatch(pair.source, pair.copy, f"cannot be compared: {error}")
        fault = self._fault(found.at(pair.source), found.at(pair.copy))
        return _mismatch(pair.source, pair.copy, fault) if fault else None

    def _older(self, job: Job, pairs: Sequence[Pair], found: Found) -> list[SourceOutcome]:
        made_since = self._made_since(job)
        return [
            _older(pair.source, pair.copy)
            for pair in pairs
            if (copy := found.at(pair.copy)) and copy.is_older_than(made_since.get(str(pair.source)))
        ]

    def _made_since(self, job: Job) -> dict[str, datetime]:
        """The sources whose copies this attempt has to have made, and when it began; other copies may be older.

        With SKIP a file may have been there before. After an attempt that failed, the next has to make the files that
        were missing; in a folder it makes only what is missing, among what earlier attempts have made. Once ICA's lists
        cannot be behind any more, every copy may be older.
        """
        if not job.ica_created_at or has_shown(job, self.clock()):
            return {}
        began = datetime.fromisoformat(job.ica_created_at) - CREATED_APART
        if job.options.action_on_exist == "OVERWRITE":
            return dict.fromkeys(job.uncopied, began)
        return {source: began for source in job.uncopied if job.has_failed_before and not source.endswith("/")}

    def _fault(self, source: IcaData | None, copy: IcaData | None) -> str | None:
        if copy is None:
            return "is not there"
        if copy.status != "AVAILABLE":
            return f"is {copy.status}"
        if source is None:
            return "cannot be compared: its source is not there any more"
        if copy.size != source.size:
            return f"has {copy.size} bytes, its source {source.size}"
        if self.verification is Verification.ETAG and copy.etag != source.etag:
            return f"has the ETag {copy.etag}, its source {source.etag}"
        return None

    def _faults_of_renamed(self, job: Job) -> list[SourceOutcome]:
        """The files that are not as they should be, as far as ICA says under which name it has made each.

        Raises ``IcaError`` where ICA cannot be asked.
        """
        project_id = str(job.ica_project_id)
        try:
            items = self.ica.copy_batch_items(project_id, str(job.ica_batch_id))
        except IcaRefused:
            return []
        if not items and not has_shown(job, self.clock()):
            return [SourceOutcome(job.uncopied[0], Finding.UNLISTED, "ICA does not list its copy yet")]
        made = {item.data_id: item.created for item in items if item.created}
        uris = [uri for uri in map(parse_uri, job.uncopied) if not uri.is_folder]
        if not made or not uris:
            return []
        sources: dict[IcaUri, IcaData] = {}
        for project in sorted({uri.project for uri in uris}):
            found = self.ica.find(project, [uri.path for uri in uris if uri.project == project])
            sources |= {IcaUri(project, path): data for path, data in found.items()}
        there = self.ica.find_by_ids(project_id, [created.data_id for created in made.values()])
        folder = parse_uri(job.destination)
        paired = {uri: made[source.data_id] for uri, source in sources.items() if source.data_id in made}
        faults = [
            _mismatch(uri, IcaUri(folder.project, created.path), fault)
            for uri, created in paired.items()
            if (fault := self._fault(sources[uri], there.get(created.data_id)))
        ]
        known = {created.data_id for created in paired.values()}
        others = [there.get(created.data_id) for created in made.values() if created.data_id not in known]
        has_folders = len(uris) < len(job.uncopied)  # whose contents may be what was made
        gone = [uri for uri in uris if uri not in paired and not (has_folders and uri in sources)]
        return [*faults, *(self._faults_of_gone(gone, sources, others, folder) if others else ())]

    def _faults_of_gone(
        self, gone: Sequence[IcaUri], sources: Mapping[IcaUri, IcaData], made: Sequence[IcaData | None], folder: IcaUri
    ) -> list[SourceOutcome]:
        """The same of files that are not there any more, or are others now: nobody knows which of ``made`` is whose."""
        faults = {uri: [self._fault(sources.get(uri), each) for each in made] for uri in gone}
        return [_mismatch(uri, folder, str(each[0])) for uri, each in faults.items() if all(each)]

    # --- trees -------------------------------------------------------------------------------------------------------

    def has_trees(self, job: Job, succeeded: bool) -> bool:
        """Whether a job has folder sources that are to be compared by their trees.

        With RENAME ICA's word is taken for folders, since the names of what it has made are not known. With OVERWRITE,
        what lies in a folder may be older than an attempt that failed.
        """
        if succeeded and self.verification is Verification.NONE:
            return False
        action = job.options.action_on_exist
        comparable = action != "RENAME" if succeeded else action == "SKIP"
        return comparable and any(source.endswith("/") for source in job.sources)

    def pages_listed(self, job: Job) -> int:
        """How many pages have been listed to compare a job's trees, as far as is remembered."""
        walk = self.walks.get((job.key, job.ica_job_id))
        return walk.pages if walk else 0

    def compare_trees(self, job: Job, has_time: Callable[[], bool]) -> TreesCompared:
        """Go on comparing a job's folder sources, page by page, for as long as there is time.

        Raises ``IcaUnavailable`` where ICA could not be asked; what was compared since the last portion is lost then.
        """
        key, pairs = (job.key, job.ica_job_id), pairs_of(job)
        known = self.walks.pop(key, None)
        walk = known or self._walk(job, pairs)
        try:
            while has_time():
                if not walk.step():
                    return TreesCompared(_outcomes(walk, pairs), walk.up_to, right=_right(walk, pairs))
        except IcaRefused as error:
            if known:
                # The listing was left for a while: ICA may not go on with it.
                raise IcaUnavailable(f"a listing cannot be gone on with: {error}") from error
            pair = pairs[walk.number]
            refused = _mismatch(pair.source, pair.copy, f"cannot be compared: {error}")
            return TreesCompared([refused, *_outcomes(walk, pairs)], walk.up_to)
        while len(self.walks) >= MOST_WALKS_KEPT:
            del self.walks[next(iter(self.walks))]
        self.walks[key] = walk
        return TreesCompared(None, walk.up_to, bool(walk.older))

    def _walk(self, job: Job, pairs: Sequence[Pair]) -> Walk:
        """A comparison of a job's trees, from where an earlier one had come."""
        made_since = self._made_since(job)
        trees = [
            Tree(number, pair.source, pair.copy, made_since.get(str(pair.source)))
            for number, pair in enumerate(pairs)
            if pair.source.is_folder
        ]
        return Walk(self.ica, trees, self._fault, self.verification is Verification.ETAG, job.verified_up_to)


def has_shown(job: Job, now: datetime) -> bool:
    """Whether a job's files have been awaited for so long that ICA shows them as they are."""
    since = job.mismatch_since
    return since is not None and now - datetime.fromisoformat(since) >= PATIENCE


def pairs_of(job: Job) -> list[Pair]:
    """The sources that have to be copied by now, and where their copies have to be."""
    destination = parse_uri(job.destination)
    return [Pair(source, copied_into(destination, source)) for source in map(parse_uri, job.due_by_now)]


def _mismatch(source: IcaUri, copy: IcaUri, fault: str) -> SourceOutcome:
    return SourceOutcome(str(source), Finding.MISMATCH, f"{copy} {fault}")


def _older(source: IcaUri, copy: IcaUri) -> SourceOutcome:
    return SourceOutcome(str(source), Finding.OLDER, f"{copy} is listed as created before this attempt")


def _outcomes(walk: Walk, pairs: Sequence[Pair]) -> list[SourceOutcome]:
    """What a comparison of trees has found; what is wrong comes first."""
    faults = [_mismatch(pairs[number].source, fault.copy, fault.what) for number, fault in walk.faults.items()]
    return [*faults, *(_older(pairs[number].source, copy) for number, copy in walk.older.items())]


def _right(walk: Walk, pairs: Sequence[Pair]) -> dict[str, Fingerprint]:
    """The trees that are as they should be, and that this comparison has seen whole."""
    return {
        str(pairs[number].source): Fingerprint(size) for number, size in walk.bytes.items() if number not in walk.faults
    }
