"""What a plan finds: each thing that would go otherwise than one may expect, and what would follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.uri import parse_uri


class FindingKind(StrEnum):
    """The kinds of findings, in the order in which they are shown."""

    ID_IN_USE = "ID_IN_USE"
    """There is a copy of the id that the submission asks for."""
    UNKNOWN_PROJECT = "UNKNOWN_PROJECT"
    """ICA shows no project of that name or id."""
    LOOK_UP_REFUSED = "LOOK_UP_REFUSED"
    """ICA refuses to say what lies in a project."""
    SOURCE_MISSING = "SOURCE_MISSING"
    SOURCE_NOT_AVAILABLE = "SOURCE_NOT_AVAILABLE"
    EXISTS_DIFFERENT = "EXISTS_DIFFERENT"
    """With SKIP: another file lies at the destination."""
    EXISTS_SAME = "EXISTS_SAME"
    """With SKIP: the file is there already."""
    EXISTS_OVERWRITTEN = "EXISTS_OVERWRITTEN"
    EXISTS_RENAMED = "EXISTS_RENAMED"
    FOLDER_EXISTS = "FOLDER_EXISTS"
    """The copy of a folder source is there already."""
    NAMES_DIFFER_BY_CASE = "NAMES_DIFFER_BY_CASE"
    FOLDER_BUSY = "FOLDER_BUSY"
    """Jobs of another open copy go into the same folder, or wait to."""
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a kind of finding."""

    follows: str
    fails: bool = False
    """Whether the copy would fail."""
    is_refused: bool = False
    """Whether the jobs that it concerns would fail at once, without an ICA job."""


CONSEQUENCES: Mapping[FindingKind, Consequence] = {
    FindingKind.ID_IN_USE: Consequence("the submission would be rejected; choose another copy_id, or none", fails=True),
    FindingKind.UNKNOWN_PROJECT: Consequence(
        "the submission would be rejected, or every job with that project would fail; check the spelling and the "
        "rights of the token's user",
        fails=True,
        is_refused=True,
    ),
    FindingKind.LOOK_UP_REFUSED: Consequence("jobs with these files would be refused in the same way", True, True),
    FindingKind.SOURCE_MISSING: Consequence(
        "its jobs would fail at once; check the path and its upper and lower case", True, True
    ),
    FindingKind.SOURCE_NOT_AVAILABLE: Consequence(
        "its jobs would fail at once; submit when it is AVAILABLE", True, True
    ),
    FindingKind.EXISTS_DIFFERENT: Consequence("would be skipped by ICA and then fail verification", fails=True),
    FindingKind.EXISTS_SAME: Consequence("would be skipped"),
    FindingKind.EXISTS_OVERWRITTEN: Consequence("would be overwritten"),
    FindingKind.EXISTS_RENAMED: Consequence("stays; the copy gets another name"),
    FindingKind.FOLDER_EXISTS: Consequence(
        "what is in the source would be copied into it; files that are there already were not looked at"
    ),
    FindingKind.NAMES_DIFFER_BY_CASE: Consequence(
        "both would be copied; a system that ignores case sees the same name twice"
    ),
    FindingKind.FOLDER_BUSY: Consequence("the job would wait until the other copy has finished with that folder"),
    FindingKind.PAUSED: Consequence("nothing would be launched before icav2-copy resume"),
}
UNCOMPARED = "would be skipped, and the other file would stay: this stack compares nothing (Verification)"
"""What follows from ``EXISTS_DIFFERENT`` where files are not compared."""
MAY_WAIT = "the job may wait for jobs of the other copy, where these are launched first"
"""What follows from ``FOLDER_BUSY`` where the other copy does not write there yet."""
THERE_ALREADY = "nothing new would be copied: it would count as that copy, submitted again"
"""What follows from ``ID_IN_USE`` where the other copy is of the same manifest and options."""


@dataclass(frozen=True, slots=True)
class PlanFinding:
    """One thing that a plan has found."""

    kind: FindingKind
    uri: str
    what: str
    follows: str = ""
    """Where something else follows than from others of its kind."""
    fails: bool = False

    @classmethod
    def of(cls, kind: FindingKind, uri: str, what: str) -> PlanFinding:
        """With what follows from its kind."""
        follows = CONSEQUENCES[kind]
        return cls(kind, uri, what, follows.follows, follows.fails)


def of_source(uri: str, source: IcaData | None) -> PlanFinding | None:
    """What is wrong with a source."""
    if source is None:
        return PlanFinding.of(FindingKind.SOURCE_MISSING, uri, "is not there")
    if source.status != "AVAILABLE":
        return PlanFinding.of(FindingKind.SOURCE_NOT_AVAILABLE, uri, f"is {source.status}")
    return None


def of_copy(
    uri: str, there: IcaData, source: IcaData, action_on_exist: str, *, sizes: bool, etags: bool
) -> PlanFinding:
    """What would happen, since something lies where the copy of a source is to be.

    ``sizes`` and ``etags`` are whether a copy has to have its source's to pass.
    """
    if uri.endswith("/"):
        return PlanFinding.of(FindingKind.FOLDER_EXISTS, uri, "is there already")
    if action_on_exist != "SKIP":
        kind = FindingKind.EXISTS_OVERWRITTEN if action_on_exist == "OVERWRITE" else FindingKind.EXISTS_RENAMED
        return PlanFinding.of(kind, uri, f"is there already, {_size(there)}")
    if fault := _difference(there, source, etags=etags):
        if not sizes:
            return PlanFinding(FindingKind.EXISTS_DIFFERENT, uri, fault, UNCOMPARED)
        return PlanFinding.of(FindingKind.EXISTS_DIFFERENT, uri, fault)
    return PlanFinding.of(FindingKind.EXISTS_SAME, uri, f"is there already, same size: {_size(there)}")


def _difference(there: IcaData, source: IcaData, *, etags: bool) -> str | None:
    if there.status != "AVAILABLE":
        return f"is there already, {there.status}"
    if there.size != source.size:
        return f"is there already, another size: {_size(there)}, its source {_size(source)}"
    if etags and there.etag != source.etag:
        return f"is there already, another ETag: {there.etag}, its source {source.etag}"
    return None


def _size(data: IcaData) -> str:
    return "size unknown" if data.size is None else f"{data.size:,} bytes"


def names_alike(jobs: Iterable[PlannedJob]) -> Iterator[PlanFinding]:
    """Names within one destination folder that differ by upper and lower case only."""
    folder, names = "", defaultdict[str, list[str]](list)
    for job in jobs:  # those into one folder follow each other
        if job.destination != folder:
            yield from _alike(folder, names)
            folder, names = job.destination, defaultdict(list)
        for source in job.sources:
            name = source[source.rfind("/", 0, -1) + 1 :]
            names[name.casefold()].append(name)
    yield from _alike(folder, names)


def _alike(folder: str, names: Mapping[str, list[str]]) -> Iterator[PlanFinding]:
    for alike in names.values():
        if len(alike) > 1:
            yield PlanFinding.of(
                FindingKind.NAMES_DIFFER_BY_CASE, folder + alike[0], f"and {', '.join(alike[1:])}: case differs"
            )


def busy_folders(
    jobs: Iterable[PlannedJob], writing: Mapping[str, str], waiting: Mapping[str, str]
) -> Iterator[PlanFinding]:
    """The destination folders into which jobs of other open copies write, and then those into which only waiting ones
    will; both are folder → one of these copies."""
    folders = dict.fromkeys(job.destination for job in jobs)
    for folder in folders:
        if copy_id := writing.get(folder):
            yield PlanFinding.of(FindingKind.FOLDER_BUSY, folder, f"jobs of copy {copy_id} go into it")
    for folder in folders:
        if folder not in writing and (copy_id := waiting.get(folder)):
            yield PlanFinding(FindingKind.FOLDER_BUSY, folder, f"jobs of copy {copy_id} wait to go into it", MAY_WAIT)


def id_in_use(copy_id: str, since: str, *, is_same: bool) -> PlanFinding:
    """That there is a copy of the id that is asked for, of the same manifest and options or of others."""
    if is_same:
        what = f"is a copy of this manifest and these options, submitted {since}"
        return PlanFinding(FindingKind.ID_IN_USE, copy_id, what, THERE_ALREADY)
    what = f"is a copy of another manifest or with other options, submitted {since}"
    return PlanFinding.of(FindingKind.ID_IN_USE, copy_id, what)


def projects_of(jobs: Iterable[PlannedJob]) -> list[str]:
    """The destination projects, in order."""
    return list(dict.fromkeys(parse_uri(job.destination).project for job in jobs))
