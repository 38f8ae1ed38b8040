"""Verify: PASSED means that the files are there.

When ICA has ended a copy batch, each file is looked for at its destination and compared with its source, of which ICA
is asked afresh: it must be AVAILABLE and of the same size (and ETag, if asked for). Files of jobs that have ended since
the last look are looked up together; a folder is compared by its tree (see ``trees``).

A job with SKIP that ICA does not call succeeded may have all its files nevertheless, since it found them there: what
another attempt would skip counts as copied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Clock, Job
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.uri import IcaUri, parse_uri
from icav2_copy_batch.ports import Ica
from icav2_copy_batch.stages.leftovers import CREATED_APART
from icav2_copy_batch.stages.trees import Tree, Walk

MISMATCH = "MISMATCH"
"""Outcome of an attempt that ICA calls succeeded and whose files are not there as they should be."""
OLDER = "OLDER"
"""Of a file that is as it should be, but was there before this attempt, which should have made it: ICA's lists may be
behind. Told for as long as they may be: where it stays so, ICA has found it there and skipped it, or has kept its
date."""
PATIENCE = timedelta(seconds=185)
"""For so long after ICA has called a job succeeded its files may not show as they are: they may become AVAILABLE a
minute later, and ICA's lists may be two minutes behind."""
UNTOLD = "UNTOLD"
"""Of a file that was copied with RENAME, where ICA does not list yet what its copy batch has made. Where it stays so,
its word is taken."""
NOT_YET = frozenset({OLDER, UNTOLD})
"""What is told of a file only while ICA's lists may be behind."""
MOST_WALKS_KEPT = 8
"""So many comparisons of trees that have begun are gone on with in memory, the latest; others begin where it is noted
that they have come to."""

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]


class Verification(StrEnum):
    NONE = "none"
    """ICA's word is taken, where it says that a copy batch has succeeded."""
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
class TreesCompared:
    """How far the folder sources of a job have been compared."""

    faults: list[SourceOutcome] | None
    """What is wrong, and what is OLDER; None while not all is compared."""
    up_to: str | None
    """Where to go on, should somebody else have to."""
    has_older: bool = False
    """While not all is compared: whether something is OLDER, so that the time runs for which that is told."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of a comparison of files."""

    wrong: dict[JobKey, list[SourceOutcome]]
    """By job; one is left out when ICA could not be asked: it is to be looked at again."""
    data_ids: dict[str, str]
    """Of the sources that were found, by URI."""


@dataclass
class Found:
    """What is in ICA, by project id and path; or why it refuses to say."""

    data: dict[str, dict[str, IcaData]] = field(default_factory=dict)
    refused: dict[str, IcaRefused] = field(default_factory=dict)

    def at(self, uri: IcaUri) -> IcaData | None:
        return self.data.get(uri.project, {}).get(uri.path)

    def tells_of(self, projects: Iterable[str]) -> bool:
        return set(projects) <= self.data.keys() | self.refused.keys()


@dataclass(frozen=True, kw_only=True)
class Verify:
    ica: Ica
    verification: Verification
    clock: Clock
    spread: Spread = in_threads
    """How projects are asked: side by side."""
    walks: dict[tuple[str, str, str | None], Walk] = field(default_factory=dict, compare=False)
    """Comparisons of trees that have begun, by job and ICA job."""

    # --- files -------------------------------------------------------------------------------------------------------

    def faults(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        """For each job that ICA calls succeeded the files that are not as they should be, with what is wrong.

        A job is left out when ICA could not be asked: it is to be looked at again. Folder sources: ``compare_trees``.
        """
        if self.verification is Verification.NONE:
            return {(job.copy_id, job.job_id): [] for job in jobs}
        renamed = [job for job in jobs if job.options.action_on_exist == "RENAME"]
        others = [job for job in jobs if job.options.action_on_exist != "RENAME"]
        found = self._compare(others, failed=False).wrong
        for job in renamed:
            try:
                found[job.copy_id, job.job_id] = self._faults_of_renamed(job)
            except IcaError as error:
                logger.warning(
                    "ICA could not be asked for renamed files", extra={"copy_id": job.copy_id, "reason": str(error)}
                )
        return found

    def missing(self, jobs: Sequence[Job]) -> Compared:
        """For each job with SKIP that ICA does not call succeeded the files that another attempt would have to copy.

        As ``faults``. Nothing is told of OVERWRITE and RENAME: what is there may be what was to be overwritten.
        """
        return self._compare([job for job in jobs if job.options.action_on_exist == "SKIP"], failed=True)

    def _compare(self, jobs: Sequence[Job], failed: bool) -> Compared:
        pairs = [(job, [pair for pair in pairs_of(job) if not pair.source.is_folder]) for job in jobs]
        together = self._find([pair for _, each in pairs for pair in each])
        compared = Compared({}, {})
        for job, each in pairs:
            projects = {uri.project for pair in each for uri in (pair.source, pair.copy)}
            # What was refused for all of them may be the fault of another.
            alone = len(pairs) > 1 and projects & together.refused.keys()
            found = self._find(each) if alone else together
            if found.tells_of(projects):
                outcomes = [self._outcome(pair, found) for pair in each]
                wrong = [outcome for outcome in outcomes if outcome]
                compared.wrong[job.copy_id, job.job_id] = wrong or ([] if failed else self._older(job, each, found))
            there = {str(pair.source): found.at(pair.source) for pair in each}
            compared.data_ids.update({source: data.data_id for source, data in there.items() if data})
        return compared

    def _find(self, pairs: Sequence[Pair]) -> Found:
        """What is there; a project that cannot be asked about now is left out."""
        paths: dict[str, dict[str, None]] = {}
        for uri in (uri for pair in pairs for uri in (pair.source, pair.copy)):
            paths.setdefault(uri.project, {})[uri.path] = None
        found = Found()

        def ask(project: str) -> None:
            try:
                # Asked afresh: what is remembered of a source may not be true any more.
                found.data[project] = self.ica.find(project, paths[project])
            except IcaRefused as error:
                found.refused[project] = error
            except IcaError as error:
                logger.warning(
                    "ICA could not be asked for copied files", extra={"project": project, "reason": str(error)}
                )

        self.spread(ask, sorted(paths))
        return found

    def _outcome(self, pair: Pair, found: Found) -> SourceOutcome | None:
        if error := found.refused.get(pair.source.project) or found.refused.get(pair.copy.project):
            return _outcome_of(pair, f"cannot be compared: {error}")
        fault = self._fault(found.at(pair.source), found.at(pair.copy))
        return _outcome_of(pair, fault) if fault else None

    def _older(self, job: Job, pairs: Sequence[Pair], found: Found) -> list[SourceOutcome]:
        made_since = self._made_since(job)
        return [
            _older_outcome(pair.source, pair.copy)
            for pair in pairs
            if (copy := found.at(pair.copy)) and copy.is_older_than(made_since.get(str(pair.source)))
        ]

    def _made_since(self, job: Job) -> dict[str, datetime]:
        """The sources whose copies have to be of this attempt's making, and when it began; others may be older.

        With SKIP a file that was there may be any; after an attempt that failed, the next has to make what was missing.
        Of a folder it makes what is missing in it, among what earlier ones have made. All may be older once ICA's lists
        cannot be behind any more.
        """
        if not job.ica_created_at or has_shown(job, self.clock()):
            return {}
        began = datetime.fromisoformat(job.ica_created_at) - CREATED_APART
        if job.options.action_on_exist == "OVERWRITE":
            return dict.fromkeys(job.uncopied, began)
        return {source: began for source in job.uncopied if job.failed_attempts and not source.endswith("/")}

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
        """As far as ICA says what it has made of each file: it may lie under a name that only ICA knows."""
        project_id = str(job.ica_project_id)
        try:
            items = self.ica.copy_batch_items(project_id, str(job.ica_batch_id))
        except IcaRefused:
            return []
        if not items and not has_shown(job, self.clock()):
            return [SourceOutcome(job.uncopied[0], UNTOLD, "ICA does not list yet what was made of it")]
        made = {item.data_id: item.created for item in items if item.created}
        pending = set(job.uncopied)
        pairs = [pair for pair in pairs_of(job) if str(pair.source) in pending and not pair.source.is_folder]
        if not made or not pairs:
            return []
        sources = Found()
        for project in sorted({pair.source.project for pair in pairs}):
            wanted = [pair.source.path for pair in pairs if pair.source.project == project]
            sources.data[project] = self.ica.find(project, wanted)
        there = self.ica.find_by_ids(project_id, [created.data_id for created in made.values()])
        faults = []
        for pair in pairs:
            source = sources.at(pair.source)
            if source and (created := made.get(source.data_id)):
                copy = IcaUri(pair.copy.project, created.path)
                if fault := self._fault(source, there.get(created.data_id)):
                    faults.append(_outcome_of(Pair(pair.source, copy), fault))
        return faults

    # --- trees -------------------------------------------------------------------------------------------------------

    def has_trees(self, job: Job, succeeded: bool) -> bool:
        """Whether a job has folder sources that are to be compared by their trees.

        ICA's word is taken for those of RENAME, since the names of what it has made are not known; and with OVERWRITE,
        what lies in a folder may be older than an attempt that failed.
        """
        if succeeded and self.verification is Verification.NONE:
            return False
        action = job.options.action_on_exist
        comparable = action != "RENAME" if succeeded else action == "SKIP"
        return comparable and any(source.endswith("/") for source in job.sources)

    def pages_listed(self, job: Job) -> int:
        """For how many pages the trees of a job have been compared already, as far as is remembered."""
        walk = self.walks.get(_walk_key(job))
        return walk.pages if walk else 0

    def compare_trees(self, job: Job, has_time: Callable[[], bool]) -> TreesCompared:
        """Go on comparing a job's folder sources, for as long as there is time: page by page.

        Raises ``IcaUnavailable`` when ICA could not be asked; what is compared since the last portion is lost then.
        """
        key = _walk_key(job)
        known = self.walks.pop(key, None)
        pairs = pairs_of(job)
        made_since = self._made_since(job)
        trees = [
            Tree(number, pair.source, pair.copy, made_since.get(str(pair.source)))
            for number, pair in enumerate(pairs)
            if pair.source.is_folder
        ]
        with_etag = self.verification is Verification.ETAG
        walk = known or Walk(self.ica, trees, self._fault, with_etag, job.verified_up_to)
        try:
            while has_time():
                if not walk.step():
                    return TreesCompared(_tree_outcomes(walk, pairs), walk.up_to)
        except IcaRefused as error:
            if known:
                # The listing was left for a while: ICA may not go on with it.
                raise IcaUnavailable(f"a listing cannot be gone on with: {error}") from error
            refused = _outcome_of(pairs[walk.number], f"cannot be compared: {error}")
            return TreesCompared([refused, *_tree_outcomes(walk, pairs)], walk.up_to)
        while len(self.walks) >= MOST_WALKS_KEPT:
            del self.walks[next(iter(self.walks))]
        self.walks[key] = walk
        return TreesCompared(None, walk.up_to, has_older=bool(walk.older))


def has_shown(job: Job, now: datetime) -> bool:
    """Whether a job's files have been awaited for so long that they are what ICA shows now."""
    since = job.mismatch_since
    return since is not None and now - datetime.fromisoformat(since) >= PATIENCE


def pairs_of(job: Job) -> list[Pair]:
    """What has to be there by now."""
    destination = parse_uri(job.destination)
    pairs = []
    for source in map(parse_uri, job.due_by_now):
        slash = "/" if source.is_folder else ""
        pairs.append(Pair(source, IcaUri(destination.project, f"{destination.path}{source.name}{slash}")))
    return pairs


def _outcome_of(pair: Pair, fault: str) -> SourceOutcome:
    return SourceOutcome(str(pair.source), MISMATCH, f"{pair.copy} {fault}")


def _older_outcome(source: IcaUri, copy: IcaUri) -> SourceOutcome:
    return SourceOutcome(str(source), OLDER, f"{copy} is listed as made before")


def _tree_outcomes(walk: Walk, pairs: Sequence[Pair]) -> list[SourceOutcome]:
    """What is wrong comes first."""
    faults = [SourceOutcome(str(fault.source), MISMATCH, f"{fault.copy} {fault.what}") for fault in walk.faults]
    return [*faults, *(_older_outcome(pairs[number].source, copy) for number, copy in walk.older.items())]


def _walk_key(job: Job) -> tuple[str, str, str | None]:
    return job.copy_id, job.job_id, job.ica_job_id
