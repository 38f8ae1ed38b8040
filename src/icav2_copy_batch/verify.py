"""Verify: PASSED means that the files are there.

When ICA says that a copy batch has succeeded, each file is looked for at its destination and compared with its source:
it must be AVAILABLE and of the same size (and ETag, if asked for); a folder is compared by its tree. Everything that
has succeeded since the last look is looked up together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused
from icav2_copy_batch.domain.job import Job
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.uri import IcaUri, parse_uri

NOISE_PREFIX = ".iap_"
"""ICA leaves probes of this name in folders that lie in a bucket of the customer's."""
MISMATCH = "MISMATCH"
"""Outcome of an attempt that ICA calls succeeded and whose files are not there as they should be."""

logger = logging.getLogger(__name__)

JobKey = tuple[str, str]
Found = Mapping[str, Mapping[str, IcaData]]
"""Project → path → what is there."""


class Verification(StrEnum):
    NONE = "none"
    """ICA's word is taken."""
    SIZE = "size"
    """Name, status and size."""
    ETAG = "etag"
    """These and the object's ETag."""


class Ica(Protocol):
    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]: ...
    def list_tree(self, project_id: str, folder: str) -> list[IcaData]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and where its copy has to be; both are files, or both folders."""

    source: IcaUri
    copy: IcaUri


@dataclass(frozen=True)
class Verify:
    ica: Ica
    verification: Verification

    def faults(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        """For each job the sources that are not at its destination as they should be, with what is wrong.

        A job is left out when ICA could not be asked: it is to be looked at again.
        """
        if self.verification is Verification.NONE:
            return {(job.copy_id, job.job_id): [] for job in jobs}
        # RENAME may have put a file under a name that only ICA knows.
        pairs = {
            (job.copy_id, job.job_id): [] if job.options.action_on_exist == "RENAME" else _pairs(job) for job in jobs
        }
        together = self._find([pair for each in pairs.values() for pair in each])
        faults: dict[JobKey, list[SourceOutcome]] = {}
        for key, each in pairs.items():
            projects = {uri.project for pair in each for uri in (pair.source, pair.copy)}
            # What was refused for all of them may be the fault of another.
            alone = len(pairs) > 1 and projects & together[1].keys()
            found, refused = self._find(each) if alone else together
            if projects <= found.keys() | refused.keys():
                faults[key] = [outcome for pair in each if (outcome := self._outcome(pair, found, refused))]
        return faults

    def _find(self, pairs: Sequence[Pair]) -> tuple[Found, dict[str, IcaRefused]]:
        """What is there, or why ICA refuses to say, by project; one that cannot be asked about now is left out."""
        sources, copies = {pair.source for pair in pairs}, {pair.copy for pair in pairs}
        found: dict[str, dict[str, IcaData]] = {}
        refused: dict[str, IcaRefused] = {}
        for project in sorted({uri.project for uri in sources | copies}):
            try:
                # Asked afresh: what is remembered of a source may not be true any more.
                found[project] = (
                    self.ica.find(project, _files_in(project, sources))
                    | self.ica.find(project, _files_in(project, copies))
                    | {
                        data.path: data
                        for uri in sorted(sources | copies, key=str)
                        if uri.project == project and uri.is_folder
                        for data in self.ica.list_tree(project, uri.path)
                    }
                )
            except IcaRefused as error:
                refused[project] = error
            except IcaError as error:
                logger.warning(
                    "ICA could not be asked for copied files", extra={"project": project, "reason": str(error)}
                )
        return found, refused

    def _outcome(self, pair: Pair, found: Found, refused: Mapping[str, IcaRefused]) -> SourceOutcome | None:
        if error := refused.get(pair.source.project) or refused.get(pair.copy.project):
            return SourceOutcome(str(pair.source), MISMATCH, f"{pair.copy} cannot be compared: {error}")
        files = _files(pair, found)
        if not files:
            return SourceOutcome(
                str(pair.source), MISMATCH, f"{pair.copy} cannot be compared: its source holds no file any more"
            )
        for source, copy in files:
            present = found[copy.project].get(copy.path)
            if fault := self._fault(found[source.project].get(source.path), present):
                return SourceOutcome(str(pair.source), MISMATCH, f"{copy} {fault}")
        return None

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


def _files_in(project: str, uris: Iterable[IcaUri]) -> list[str]:
    return sorted(uri.path for uri in uris if uri.project == project and not uri.is_folder)


def _pairs(job: Job) -> list[Pair]:
    destination = parse_uri(job.destination)
    pairs = []
    for source in map(parse_uri, job.sources):
        slash = "/" if source.is_folder else ""
        pairs.append(Pair(source, IcaUri(destination.project, f"{destination.path}{source.name}{slash}")))
    return pairs


def _files(pair: Pair, found: Found) -> Sequence[tuple[IcaUri, IcaUri]]:
    """The files to compare: the pair itself, or those in the source folder's tree."""
    if not pair.source.is_folder:
        return [(pair.source, pair.copy)]
    tree = [path for path in found[pair.source.project] if path.startswith(pair.source.path)]
    return [
        (IcaUri(pair.source.project, path), IcaUri(pair.copy.project, pair.copy.path + path[len(pair.source.path) :]))
        for path in tree
        if not path.endswith("/") and not path.rpartition("/")[2].startswith(NOISE_PREFIX)
    ]
