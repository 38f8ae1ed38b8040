"""Survey: what ICA shows of a planned copy's sources, and of what lies already where their copies are to be.

The paths of a project are looked up together, in portions, so that memory and the time until the next look at the clock
stay bounded. Where time runs out, or ICA does not answer any more, what was looked at until then counts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from icav2_copy_batch.domain.findings import FindingKind, PlanFinding, of_source
from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.domain.uri import SCHEME, IcaUri, copied_into, parent_path, parse_uri
from icav2_copy_batch.ports import IcaFiles

PORTION = 1000
"""So many paths are looked up at once, or more where they lie in one folder, whose list has them all."""
MOST_OF_A_FOLDER = 20_000
MOST_COPIES_OF_A_FOLDER = 5_000
"""Fewer of copies: those that its list does not have, which may be all, are looked up once more by their paths."""
MOST_REFUSED = 20
"""Where ICA refuses so many paths of a project, each alone, it is taken to refuse all."""
SIDE_BY_SIDE = 4
"""So many portions are looked up at once: copies under way need ICA as well."""
SECONDS_TO_FINISH = 150.0
"""With less time left nothing more is looked up: what is under way has to end, and then the copy is simulated."""

logger = logging.getLogger(__name__)

OfCopy = Callable[[str, IcaData, IcaData], PlanFinding]
"""What is found where something lies at a copy's URI: from that URI, what lies there, and the source."""


@dataclass
class LookedAt:
    """How many of so many were looked at."""

    done: int = 0
    of: int = 0


@dataclass
class Survey:
    """What was found, and how far it came."""

    ica: IcaFiles
    seconds_left: Callable[[], float]
    spread: Spread
    sources: dict[str, IcaData] = field(default_factory=dict)
    """What was found of the sources, by URI."""
    findings: list[PlanFinding] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    """Projects that ICA does not show, or of which it refuses to say anything."""
    refused: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By project, the paths of which ICA refuses to say anything."""
    at_sources: LookedAt = field(default_factory=LookedAt)
    at_copies: LookedAt = field(default_factory=LookedAt)
    """At the places where copies are to be."""
    stopped: str | None = None
    """Why not all was looked at."""

    def look_at_sources(self, jobs: Iterable[PlannedJob]) -> None:
        """Find each source once. Raises ``IcaUnavailable`` where ICA does not answer at all."""
        uris = list(dict.fromkeys(source for job in jobs for source in job.sources))
        self.at_sources.of = len(uris)
        paths: dict[str, list[str]] = defaultdict(list)
        for uri in map(parse_uri, uris):
            paths[uri.project].append(uri.path)
        for project, portion, found in self._find(paths):
            self.at_sources.done += len(portion)
            for path in portion:
                uri_text = f"{SCHEME}{project}{path}"
                if source := found.get(path):
                    self.sources[uri_text] = source
                if not self._is_refused(project, path) and (finding := of_source(uri_text, source)):
                    self.findings.append(finding)

    def look_at_copies(self, jobs: Sequence[PlannedJob], finding: OfCopy) -> None:
        """See what lies already where the copies are to be. Folders that are not there hold nothing."""
        self.at_copies.of = sum(len(job.sources) for job in jobs)
        there = self._folders_there({job.destination for job in jobs})
        copies: dict[str, dict[str, str]] = defaultdict(dict)
        for job in jobs:
            folder = parse_uri(job.destination)
            if job.destination not in there:
                self.at_copies.done += 0 if self.stopped else len(job.sources)
                continue
            for source in job.sources:
                copies[folder.project][copied_into(folder, parse_uri(source)).path] = source
        for project, portion, found in self._find(copies, MOST_COPIES_OF_A_FOLDER):
            self.at_copies.done += len(portion)
            for path, data in found.items():
                if original := self.sources.get(copies[project][path]):
                    self.findings.append(finding(f"{SCHEME}{project}{path}", data, original))

    def _folders_there(self, destinations: Iterable[str]) -> set[str]:
        paths: dict[str, list[str]] = defaultdict(list)
        there = set()
        for uri in map(parse_uri, sorted(destinations)):
            if uri.path == "/":
                there.add(str(uri))
            paths[uri.project].append(uri.path)
        for project, _, found in self._find(paths):
            there |= {str(IcaUri(project, path)) for path in found}
        return there

    # --- in portions -------------------------------------------------------------------------------------------------

    def _find(
        self, paths: Mapping[str, Iterable[str]], most_of_a_folder: int = MOST_OF_A_FOLDER
    ) -> Iterator[tuple[str, Sequence[str], Mapping[str, IcaData]]]:
        """Each portion of a project's paths that could be looked up, with what was found there."""
        portions = [
            (project, each)
            for project, of_project in paths.items()
            for each in portions_of(of_project, most_of_a_folder)
        ]
        for start in range(0, len(portions), SIDE_BY_SIDE):
            if self._is_over():
                return
            wave = portions[start : start + SIDE_BY_SIDE]
            for (project, portion), answer in zip(wave, self.spread(self._ask, wave), strict=True):
                yield from self._taken(project, portion, answer)

    def _taken(
        self, project: str, portion: Sequence[str], answer: Mapping[str, IcaData] | IcaError
    ) -> Iterator[tuple[str, Sequence[str], Mapping[str, IcaData]]]:
        """What ICA has answered about a portion. Where it refuses one for its paths, it is asked about each half."""
        if isinstance(answer, IcaUnavailable):
            self._stop(answer)
        elif not isinstance(answer, IcaError):
            yield project, portion, answer
        elif len(portion) == 1 or _is_of_project(answer):
            self._refuse(project, portion[0], answer)
            yield project, portion, {}
        else:
            middle = len(portion) // 2
            for half in (portion[:middle], portion[middle:]):
                if self._is_over():
                    return
                yield from self._taken(project, half, self._ask((project, half)))

    def _is_over(self) -> bool:
        """Whether nothing more is to be looked up."""
        if not self.stopped and self.seconds_left() < SECONDS_TO_FINISH:
            self.stopped = "the time was up"
        return self.stopped is not None

    def _ask(self, asked: tuple[str, Sequence[str]]) -> Mapping[str, IcaData] | IcaError:
        project, paths = asked
        try:
            return {} if project in self.unknown else self.ica.find(project, paths)
        except IcaError as error:
            return error

    def _stop(self, error: IcaUnavailable) -> None:
        if not self.at_sources.done:
            raise error
        logger.warning("a plan was not finished", extra={"reason": str(error)})
        self.stopped = f"ICA cannot be asked now: {error}"

    def _refuse(self, project: str, path: str, error: IcaError) -> None:
        """One finding for a project that ICA does not show, or for a path that it refuses."""
        if self._is_refused(project, path):
            return
        is_of_project = _is_of_project(error)
        kind = FindingKind.UNKNOWN_PROJECT if is_of_project else FindingKind.LOOK_UP_REFUSED
        self.findings.append(PlanFinding.of(kind, f"{SCHEME}{project}{path}", str(error)))
        self.refused[project].add(path)
        if is_of_project or len(self.refused[project]) >= MOST_REFUSED:
            self.unknown.add(project)

    def _is_refused(self, project: str, path: str) -> bool:
        return project in self.unknown or path in self.refused[project]


def _is_of_project(error: IcaError) -> bool:
    """Whether a refusal is of a whole project, and not of one of the paths."""
    return isinstance(error, IcaRefused) and error.http_status in (403, 404)


def portions_of(paths: Iterable[str], most_of_a_folder: int = MOST_OF_A_FOLDER) -> Iterator[list[str]]:
    """The paths in portions. Those in one folder stay together, as far as they are not very many."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[parent_path(path)].append(path)
    portion: list[str] = []
    for inside in folders.values():
        if portion and len(portion) + len(inside) > PORTION:
            yield portion
            portion = []
        for start in range(0, len(inside), most_of_a_folder):
            portion = [*portion, *inside[start : start + most_of_a_folder]]
            if len(portion) >= PORTION:
                yield portion
                portion = []
    if portion:
        yield portion
