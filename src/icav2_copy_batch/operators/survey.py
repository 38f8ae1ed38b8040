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
SIDE_BY_SIDE = 4
"""So many portions are looked up at once: copies under way need ICA as well."""
SECONDS_TO_FINISH = 150.0
"""With less time left nothing more is looked up: what is under way has to end, and then the copy is simulated."""

logger = logging.getLogger(__name__)

OfCopy = Callable[[str, IcaData, IcaData], PlanFinding]
"""What is found where something lies at a copy's URI: from that URI, what lies there, and the source."""


@dataclass
class Looks:
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
    at_sources: Looks = field(default_factory=Looks)
    at_copies: Looks = field(default_factory=Looks)
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
                if project not in self.unknown and (finding := of_source(uri_text, source)):
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
        for project, portion, found in self._find(copies):
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

    def _find(self, paths: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, Sequence[str], Mapping[str, IcaData]]]:
        """Each portion of a project's paths that could be looked up, with what was found there."""
        portions = [(project, each) for project, of_project in paths.items() for each in portions_of(of_project)]
        for start in range(0, len(portions), SIDE_BY_SIDE):
            if self.stopped or self.seconds_left() < SECONDS_TO_FINISH:
                self.stopped = self.stopped or "the time was up"
                return
            wave = portions[start : start + SIDE_BY_SIDE]
            for (project, portion), answer in zip(wave, self.spread(self._ask, wave), strict=True):
                if isinstance(answer, IcaUnavailable):
                    self._stop(answer)
                elif isinstance(answer, IcaError):
                    self._refuse(project, portion[0], answer)
                    yield project, portion, {}
                else:
                    yield project, portion, answer

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
        """One finding for a project that ICA does not show."""
        if project not in self.unknown:
            is_unknown = isinstance(error, IcaRefused) and error.http_status in (403, 404)
            kind = FindingKind.UNKNOWN_PROJECT if is_unknown else FindingKind.LOOK_UP_REFUSED
            self.findings.append(PlanFinding.of(kind, f"{SCHEME}{project}{path}", str(error)))
            self.unknown.add(project)


def portions_of(paths: Iterable[str]) -> Iterator[list[str]]:
    """The paths in portions. Those in one folder stay together, as far as they are not very many."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[parent_path(path)].append(path)
    portion: list[str] = []
    for inside in folders.values():
        if portion and len(portion) + len(inside) > PORTION:
            yield portion
            portion = []
        for start in range(0, len(inside), MOST_OF_A_FOLDER):
            portion = [*portion, *inside[start : start + MOST_OF_A_FOLDER]]
            if len(portion) >= PORTION:
                yield portion
                portion = []
    if portion:
        yield portion
