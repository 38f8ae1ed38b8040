"""What a plan finds: each thing that would go otherwise than one may expect, and what would follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.uri import parse_uri


class Kind(StrEnum):
    """The kinds of findings, in the order in which they are shown."""

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
    """Jobs of another open copy go into the same folder."""
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a kind of finding."""

    follows: str
    fails: bool = False
    """Whether the copy would fail."""
    is_refused: bool = False
    """Whether the jobs that it concerns would fail at once, without an ICA job."""


CONSEQUENCES: Mapping[Kind, Consequence] = {
    Kind.UNKNOWN_PROJECT: Consequence(
        "the submission would be rejected, or every job with that project would fail; check the spelling and the "
        "rights of the token's user",
        fails=True,
        is_refused=True,
    ),
    Kind.LOOK_UP_REFUSED: Consequence("jobs with these files would be refused in the same way", True, True),
    Kind.SOURCE_MISSING: Consequence(
        "its jobs would fail at once; check the path and its upper and lower case", True, True
    ),
    Kind.SOURCE_NOT_AVAILABLE: Consequence("its jobs would fail at once; submit when it is AVAILABLE", True, True),
    Kind.EXISTS_DIFFERENT: Consequence("would be skipped by ICA and then fail verification", fails=True),
    Kind.EXISTS_SAME: Consequence("would be skipped"),
    Kind.EXISTS_OVERWRITTEN: Consequence("would be overwritten"),
    Kind.EXISTS_RENAMED: Consequence("would be kept beside, renamed"),
    Kind.FOLDER_EXISTS: Consequence(
        "what is in the source would be copied into it; files that are there already were not looked at"
    ),
    Kind.NAMES_DIFFER_BY_CASE: Consequence("both would be copied; whoever does not regard case sees one name twice"),
    Kind.FOLDER_BUSY: Consequence("the job would wait until the other copy has finished with that folder"),
    Kind.PAUSED: Consequence("nothing would be launched before icav2-copy resume"),
}
UNCOMPARED = "would be skipped, and the other file would stay: this stack compares nothing (Verification)"
"""What follows from ``EXISTS_DIFFERENT`` where files are not compared."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a plan has found."""

    kind: Kind
    uri: str
    what: str
    follows: str = ""
    """Where something else follows than from others of its kind."""
    fails: bool = False

    @classmethod
    def of(cls, kind: Kind, uri: str, what: str) -> Finding:
        """With what follows from its kind."""
        follows = CONSEQUENCES[kind]
        return cls(kind, uri, what, follows.follows, follows.fails)


def of_source(uri: str, source: IcaData | None) -> Finding | None:
    """What is wrong with a source."""
    if source is None:
        return Finding.of(Kind.SOURCE_MISSING, uri, "is not there")
    if source.status != "AVAILABLE":
        return Finding.of(Kind.SOURCE_NOT_AVAILABLE, uri, f"is {source.status}")
    return None


def of_copy(uri: str, there: IcaData, source: IcaData, action_on_exist: str, *, sizes: bool, etags: bool) -> Finding:
    """What would happen, since something lies where the copy of a source is to be.

    ``sizes`` and ``etags`` are whether a copy has to have its source's to pass.
    """
    if uri.endswith("/"):
        return Finding.of(Kind.FOLDER_EXISTS, uri, "is there already")
    if action_on_exist != "SKIP":
        kind = Kind.EXISTS_OVERWRITTEN if action_on_exist == "OVERWRITE" else Kind.EXISTS_RENAMED
        return Finding.of(kind, uri, f"is there already, {_size(there)}")
    if fault := _difference(there, source, etags=etags):
        if not sizes:
            return Finding(Kind.EXISTS_DIFFERENT, uri, fault, UNCOMPARED)
        return Finding.of(Kind.EXISTS_DIFFERENT, uri, fault)
    return Finding.of(Kind.EXISTS_SAME, uri, f"is there already, same size: {_size(there)}")


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


def names_alike(jobs: Iterable[PlannedJob]) -> Iterator[Finding]:
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


def _alike(folder: str, names: Mapping[str, list[str]]) -> Iterator[Finding]:
    for alike in names.values():
        if len(alike) > 1:
            yield Finding.of(Kind.NAMES_DIFFER_BY_CASE, folder + alike[0], f"and {', '.join(alike[1:])}: case differs")


def busy_folders(jobs: Iterable[PlannedJob], others: Mapping[str, str]) -> Iterator[Finding]:
    """The destination folders into which jobs of other open copies go; ``others`` is folder → one of these copies."""
    for destination in dict.fromkeys(job.destination for job in jobs):
        if copy_id := others.get(destination):
            yield Finding.of(Kind.FOLDER_BUSY, destination, f"jobs of copy {copy_id} go into it")


def projects_of(jobs: Iterable[PlannedJob]) -> list[str]:
    """The destination projects, in order."""
    return list(dict.fromkeys(parse_uri(job.destination).project for job in jobs))
