"""A manifest of sources and destinations becomes one job per destination, or is refused with every problem named."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from itertools import chain, groupby
from typing import Any

from icav2_copy_batch.domain.job import Attempt
from icav2_copy_batch.domain.problems import Problem, Refused, refuse_if_any, type_name
from icav2_copy_batch.domain.projects import Projects, UnknownProject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import MAX_URI_CHARACTERS, SCHEME, STEPS, folder_fault, is_plain, nfc, uri_fault

Manifest = Mapping[str, Any]
"""Source → its destinations, as a client sent them. Whether these are a list of strings is checked here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a manifest may be, and how large a job may get before it is split."""

    max_manifest_bytes: int = 256 * 1024 * 1024
    """How many bytes of JSON text a manifest may have, after decompression."""
    max_sources_per_job: int = 1000
    max_sources_bytes: int = 320 * 1024
    """UTF-8 bytes of all the sources of one job."""
    allow_same_project: bool = False


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A destination folder and its sources, sorted."""

    destination: str
    sources: tuple[str, ...]
    former: tuple[Attempt, ...] = ()
    """The attempts, without their outcomes, of the job that it redrives, and of those which that one redrives."""


# --- flipping --------------------------------------------------------------------------------------------------------


def flip(manifest: object, limits: Limits, projects: Projects | None = None) -> list[PlannedJob]:
    """Turn ``{source: [destination, …]}`` into one job per destination.

    Raises ``Refused`` with every problem, and whatever the look-up of a project raises. The jobs have projects by their
    ids and paths in NFC, however the manifest spells them. ``projects.names`` has its spelling afterwards.

    The order of the manifest's keys means nothing. Jobs are sorted by their destinations, so that those into one
    project stand together, and the sources of a job are sorted too. A destination with more sources than the limits
    allow becomes several jobs. Except for the sorting, the time is linear in the number of entries.
    """
    if not isinstance(manifest, dict):
        raise Refused([Problem("manifest", f"must be an object of source to destinations, not {type_name(manifest)}")])
    projects = projects or Projects()
    roots, unknown = find_projects(manifest, projects)
    manifest, twice = respell(manifest, roots)
    index = index_of(manifest)
    empty = [] if manifest else [Problem("manifest", "is empty: it names no source")]
    refuse_if_any(chain(empty, unknown, twice, check(manifest, index, limits)), projects.names)
    return plan(index, limits)


# --- one spelling ----------------------------------------------------------------------------------------------------


def find_projects(manifest: Manifest, projects: Projects) -> tuple[dict[str, str], list[Problem]]:
    """The ids of all projects of a manifest: ``icav2://<project as spelled>`` → ``icav2://<id>``.

    An unknown project is one problem. It keeps its name, so that everything else can be checked nevertheless.
    """
    roots: dict[str, str] = {}
    problems = []
    for uri in _first_uris(manifest):
        root = _root(uri)
        if root not in roots:
            try:
                roots[root] = SCHEME + projects.id_of(root[len(SCHEME) :])
            except UnknownProject as error:
                roots[root] = root
                problems.append(Problem(uri, str(error)))
    return roots, problems


def _first_uris(manifest: Manifest) -> Iterator[str]:
    """At least one faultless URI of each project, in the order of the manifest.

    Most URIs belong to the same project as the URI before them, and are passed over.
    """
    of_source = of_destination = "/"  # no URI begins with this
    for source, destinations in manifest.items():
        if not source.startswith(of_source) and not uri_fault(source):
            yield source
            of_source = f"{_root(source)}/"
        for destination in destinations if isinstance(destinations, list) else ():
            if not isinstance(destination, str) or destination.startswith(of_destination) or uri_fault(destination):
                continue
            yield destination
            of_destination = f"{_root(destination)}/"


def respell(manifest: Manifest, roots: Mapping[str, str]) -> tuple[Manifest, list[Problem]]:
    """The manifest with projects called by their ids in lower case, and paths in NFC. Most manifests come like that.

    What is not a URI stays as it is. Two sources that become the same are a problem.
    """
    if all(root == spelled for spelled, root in roots.items()) and _is_ascii(manifest):
        return manifest, []

    def respelled(uri: Any) -> Any:
        root = _root(uri) if isinstance(uri, str) else ""
        return roots[root] + nfc(uri[len(root) :]) if root in roots else uri

    one_spelling: dict[str, Any] = {}
    problems = []
    for source, destinations in manifest.items():
        if (key := respelled(source)) in one_spelling:
            more_than_once = "is a key more than once, in several spellings; list all its destinations under one key"
            problems.append(Problem(source, more_than_once))
        elif isinstance(destinations, list):
            one_spelling[key] = [respelled(each) for each in destinations]
        else:
            one_spelling[key] = destinations
    return one_spelling, problems


def _is_ascii(manifest: Manifest) -> bool:
    return all(map(str.isascii, manifest)) and all(
        destination.isascii()
        for destinations in manifest.values()
        if isinstance(destinations, list)
        for destination in destinations
        if isinstance(destination, str)
    )


# --- index -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Index:
    """A manifest by its destinations."""

    folders: dict[str, dict[str, str]]
    """Destination → name in that folder → source of that name; of several the first."""
    pairs: int
    """How many pairs of a source and a destination the manifest has. An entry without a list counts as one."""

    @property
    def is_whole(self) -> bool:
        """Whether every pair has a place of its own in ``folders``: no two of one name, and nothing malformed."""
        return self.pairs == sum(map(len, self.folders.values()))


def index_of(manifest: Manifest) -> Index:
    """Index whatever is a string in a list; ``check`` says what is wrong with everything else."""
    folders: defaultdict[str, dict[str, str]] = defaultdict(dict)
    pairs = 0
    for source, destinations in manifest.items():
        if not isinstance(destinations, list) or not destinations:
            pairs += 1
            continue
        name = _name(source)
        pairs += len(destinations)
        for destination in destinations:
            if isinstance(destination, str):
                folders[destination].setdefault(name, source)
    return Index(folders, pairs)


# --- check -----------------------------------------------------------------------------------------------------------


def check(manifest: Manifest, index: Index, limits: Limits) -> Iterator[Problem]:
    """Every problem of an indexed manifest: those of its entries in their order, then folders that overlap.

    In most manifests the index shows that all destinations are right. Then only the sources are gone through.
    """
    faults = {destination: fault for destination in index.folders if (fault := _destination_fault(destination))}
    is_doubtful = bool(faults) or not index.is_whole
    copied_into = set() if limits.allow_same_project else {f"{_root(destination)}/" for destination in index.folders}
    project_of: dict[str, str] = {}  # folder of a faultless source → its project
    for source, destinations in manifest.items():
        folder, _, name = source.rpartition("/")
        project = project_of.get(folder)
        # Next to a faultless source, only the name is new.
        if not (project and name and name not in STEPS and is_plain(name) and len(source) <= MAX_URI_CHARACTERS):
            if fault := _source_fault(source):
                yield Problem(source, fault)
                project = None
            elif project is None:
                project = project_of[folder] = f"{_root(source)}/"
        refused_project = project if project in copied_into else None
        if is_doubtful or refused_project:
            yield from _entry_problems(source, destinations, index, faults, refused_project)
    yield from _overlaps(index)


def _entry_problems(
    source: str, destinations: object, index: Index, faults: Mapping[str, str], refused_project: str | None
) -> Iterator[Problem]:
    """What is wrong with the destinations of one source. A faulty destination is named once, at its first source."""
    if not isinstance(destinations, list) or not destinations:
        yield Problem(source, "must have a non-empty list of destination folders")
        return
    name = _name(source)
    counts: Counter[str] = Counter()
    for destination in destinations:
        if not isinstance(destination, str):
            yield Problem(source, f"has a destination that is {type_name(destination)}; each has to be a string")
            continue
        counts[destination] += 1
        if counts[destination] > 1:
            continue
        names = index.folders[destination]
        if destination in faults and next(iter(names.values())) is source:
            yield Problem(destination, faults[destination])
        if refused_project and destination.startswith(refused_project):
            fault = f"is in the same project as its destination {destination}; ICA copies between two projects"
            yield Problem(source, fault)
        if names[name] is not source:
            yield Problem(source, f"has the same name as {names[name]} in {destination}; one of the two would be lost")
    for destination, count in counts.items():
        if count > 1:
            yield Problem(source, f"names the destination {destination} more than once")


def _overlaps(index: Index) -> Iterator[Problem]:
    """Destinations within a folder that is copied as a whole: two jobs could write one file at the same time."""
    trees = {
        destination + name: source
        for destination, names in index.folders.items()
        for name, source in names.items()
        if name[-1:] == "/"
    }
    for destination in index.folders if trees else ():
        if tree := next((tree for tree in _lineage(destination) if tree in trees), None):
            fault = f"lies in {tree}, to which {trees[tree]} is copied; submit it later, as another copy"
            yield Problem(destination, fault)


def _lineage(folder: str) -> Iterator[str]:
    """A folder and the folders that it lies in, the longest first."""
    end = len(folder)
    while end > 0:
        yield folder[:end]
        end = folder.rfind("/", 0, end - 1) + 1


def _source_fault(source: str) -> str | None:
    if fault := uri_fault(source):
        return fault
    is_root = source.count("/") == 3 and source[-1] == "/"
    return "is the root of a project; name a file or a folder in it" if is_root else None


def _destination_fault(destination: str) -> str | None:
    return folder_fault(destination, "is a destination, which must be a folder: end it with /")


def _name(source: str) -> str:
    """The last part of a source; a folder's with its slash."""
    return source[source.rfind("/", 0, -1) + 1 :]


def _root(uri: str) -> str:
    """``icav2://<project>``; nothing if the text has no path and so is not a URI."""
    return uri[: max(uri.find("/", len(SCHEME)), 0)]


# --- plan ------------------------------------------------------------------------------------------------------------


def plan(index: Index, limits: Limits) -> list[PlannedJob]:
    """The jobs of an indexed manifest without problems, sorted."""
    return [
        job
        for destination in sorted(index.folders)
        for job in _split(destination, sorted(index.folders[destination].values()), limits)
    ]


def _split(destination: str, sources: list[str], limits: Limits) -> Iterator[PlannedJob]:
    for start in range(0, len(sources), limits.max_sources_per_job):
        yield from _halve_until_small(destination, sources[start : start + limits.max_sources_per_job], limits)


def _halve_until_small(destination: str, sources: list[str], limits: Limits) -> Iterator[PlannedJob]:
    if len(sources) == 1 or sum(len(source.encode()) for source in sources) <= limits.max_sources_bytes:
        yield PlannedJob(destination, tuple(sources))
        return
    middle = len(sources) // 2
    yield from _halve_until_small(destination, sources[:middle], limits)
    yield from _halve_until_small(destination, sources[middle:], limits)


def digest(jobs: Iterable[PlannedJob], options: CopyOptions) -> str:
    """A fingerprint of what a submission asks for: which sources into which destinations, and how.

    Not of how it is asked for, which is no part of what ``flip`` makes of it, and not of how it is split into ``jobs``.
    """
    fingerprint = hashlib.sha256(json.dumps(astuple(options)).encode())
    for destination, of_destination in groupby(jobs, key=lambda job: job.destination):
        fingerprint.update(f"\n\n{destination}".encode())
        for job in of_destination:
            fingerprint.update("\n".join(("", *job.sources)).encode())  # no URI has a line break in it
    return fingerprint.hexdigest()
