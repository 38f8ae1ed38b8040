"""Prepare: look up what claimed jobs copy, and clear away what their earlier attempts have left.

Sources and folders are looked up for all claimed jobs together. Trouble with one job is kept with that job, so that the
others go on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

from icav2_copy_batch.domain.ica import SECONDS_TO_START, IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Job, LaunchRequest
from icav2_copy_batch.domain.source_faults import source_fault
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.domain.uri import IcaUri
from icav2_copy_batch.ports import Ica
from icav2_copy_batch.stages.leftovers import Leftovers

CLEARING_PAUSES = (0.2, 0.3, 0.5, 1.1, 1.0, 2.0)
"""Seconds between looks whether leftovers are gone; the first look is at once, the last pause is repeated."""
LONGEST_CLEARING_SECONDS = 60.0
"""After this the job gives back its slot, and its launch is deferred."""

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")

SourcesByProject = Mapping[str, dict[str, IcaData] | IcaError]
"""Project → path of a source → what was found there."""
Folders = Mapping[str, str | IcaError | None]
"""Path of a folder → its id, or the trouble with it; None for the root."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this launch has claimed, with its URIs taken apart."""

    job: Job
    request: LaunchRequest
    destination: IcaUri
    sources: tuple[IcaUri, ...]
    """Those that this attempt has to copy."""

    @property
    def project_id(self) -> str:
        """The destination's project."""
        return self.destination.project

    @property
    def projects(self) -> frozenset[str]:
        """All projects that ICA has to be asked about for it."""
        return frozenset([self.project_id, *(uri.project for uri in self.sources)])

    @property
    def is_retried(self) -> bool:
        """Whether an earlier attempt has failed, and may have left something that this one must not find."""
        return self.job.has_failed_before


@dataclass(frozen=True, slots=True)
class Prepared:
    """A claimed job with what is needed to start it."""

    claim: Claimed
    sources: list[IcaData]
    """What its sources are now, in order."""
    folder_id: str | None
    """None for the root of a project."""
    incomplete: list[IcaData] | None = None
    """What an earlier attempt may have left, if it has just been looked for."""
    is_clear: bool = True
    """Whether all of that is gone."""

    @property
    def source_ids(self) -> list[str]:
        return [source.data_id for source in self.sources]

    @property
    def total_bytes(self) -> int:
        """Bytes of the files among its sources."""
        return sum(source.size or 0 for source in self.sources)


@dataclass(frozen=True, slots=True)
class Troubled:
    """A claimed job that cannot be started, and why."""

    claim: Claimed
    trouble: IcaError


@dataclass(frozen=True, kw_only=True)
class Prepare:
    ica: Ica
    seconds_left: Callable[[], float]
    spread: Spread
    """How leftovers are looked for and deleted: side by side."""
    sleep: Callable[[float], None]

    def look_up(self, claims: Sequence[Claimed]) -> list[Prepared | Troubled]:
        """The claimed jobs with the ids of their sources and folders, in order.

        A job that is tried again has had its folder. That of a first attempt is made only where its sources are there.
        """
        retried = [claim for claim in claims if claim.is_retried]
        asks: list[Callable[[], Any]] = [
            partial(self._ask_sources, claims),
            partial(self._ask_folders, retried),
            partial(self._ask_leftovers, retried),
        ]
        data, folders, leftovers = self.spread(lambda ask: ask(), asks)
        known = _ask_each({claim.request: claim for claim in claims}, lambda key, claim: _sources(claim, data[key]))
        first = [claim for claim in claims if not claim.is_retried and not isinstance(known[claim.request], IcaError)]
        folders |= self._ask_folders(first)
        return [
            _prepared(claim, known[claim.request], folders.get(claim.request, {}), leftovers.get(claim.request))
            for claim in claims
        ]

    def clear(self, prepared: Sequence[Prepared | Troubled]) -> Iterator[list[Prepared | Troubled]]:
        """These in groups: each job once what its earlier attempts have left is gone, or there is trouble with it.

        Where that takes too long, the trouble is ``IcaUnavailable``.
        """
        ready, waiting = _divided(prepared)
        yield ready
        waited = 0.0
        for pause in chain(CLEARING_PAUSES, repeat(CLEARING_PAUSES[-1])):
            is_last = waited >= LONGEST_CLEARING_SECONDS or self.seconds_left() < SECONDS_TO_START + 2 * pause
            ready, waiting = _divided(self.spread(partial(self._clear, is_last=is_last), waiting))
            yield ready
            if not waiting:
                return
            self.sleep(pause)
            waited += pause

    def _ask_sources(self, claims: Iterable[Claimed]) -> Mapping[LaunchRequest, SourcesByProject]:
        retried = {uri.project for claim in claims if claim.is_retried for uri in claim.sources}
        return _ask_together(
            {claim.request: _by_project(claim.sources) for claim in claims},
            # Afresh after a failure: what is remembered may be its cause.
            lambda project, paths: (self.ica.find if project in retried else self.ica.find_sources)(project, paths),
        )

    def _ask_folders(self, claims: Iterable[Claimed]) -> dict[LaunchRequest, dict[str, Folders | IcaError]]:
        wanted = {claim.request: _by_project([claim.destination]) for claim in claims}
        return _ask_together(wanted, self.ica.ensure_folders)

    def _ask_leftovers(self, claims: Sequence[Claimed]) -> dict[LaunchRequest, list[IcaData] | IcaError]:
        def incomplete(claim: Claimed) -> list[IcaData] | IcaError:
            try:
                return Leftovers(ica=self.ica).incomplete(claim.job)
            except IcaError as error:
                return error

        return dict(zip((claim.request for claim in claims), self.spread(incomplete, claims), strict=True))

    def _clear(self, one: Prepared, is_last: bool) -> Prepared | Troubled:
        """Delete what is left of a job's earlier attempts; whether it is gone is looked for anew the next time."""
        try:
            left = Leftovers(ica=self.ica).delete(one.claim.job, one.incomplete)
        except IcaError as error:
            return Troubled(one.claim, error)
        if left and is_last:
            still = f"{len(left)} PARTIAL files are still being deleted, {left[0]} among them"
            return Troubled(one.claim, IcaUnavailable(still))
        return replace(one, incomplete=None, is_clear=not left)


def _prepared(
    claim: Claimed,
    sources: list[IcaData] | IcaError,
    folders: Mapping[str, Folders | IcaError],
    incomplete: list[IcaData] | IcaError | None,
) -> Prepared | Troubled:
    """A claimed job with the answers about it, or with the first trouble among them."""
    if isinstance(sources, IcaError):
        return Troubled(claim, sources)
    in_project = folders[claim.project_id]
    folder_id = in_project if isinstance(in_project, IcaError) else in_project[claim.destination.path]
    if isinstance(folder_id, IcaError):
        return Troubled(claim, folder_id)
    if isinstance(incomplete, IcaError):
        return Troubled(claim, incomplete)
    return Prepared(claim, sources, folder_id, incomplete, is_clear=not claim.is_retried)


def _divided(prepared: Iterable[Prepared | Troubled]) -> tuple[list[Prepared | Troubled], list[Prepared]]:
    """Those that can go on, and those whose leftovers are not gone yet."""
    every = list(prepared)
    waiting = [one for one in every if isinstance(one, Prepared) and not one.is_clear]
    return [one for one in every if isinstance(one, Troubled) or one.is_clear], waiting


def _ask_each(questions: Mapping[K, V], ask: Callable[[K, V], R]) -> dict[K, R | IcaError]:
    """Each question's answer, or the trouble there was with it."""
    answers: dict[K, R | IcaError] = {}
    for key, value in questions.items():
        try:
            answers[key] = ask(key, value)
        except IcaError as error:
            answers[key] = error
    return answers


def _ask_together(
    wanted: Mapping[LaunchRequest, Mapping[str, Sequence[str]]], ask: Callable[[str, Iterable[str]], R]
) -> dict[LaunchRequest, dict[str, R | IcaError]]:
    """For each job and project the answer about its paths.

    All jobs' paths in a project are asked for together; where ICA refuses that, each job's alone: the fault may lie in
    one of them.
    """
    together: dict[str, dict[str, None]] = defaultdict(dict)
    jobs: Counter[str] = Counter()
    for of_job in wanted.values():
        for project, paths in of_job.items():
            together[project] |= dict.fromkeys(paths)
            jobs[project] += 1
    answers = _ask_each(together, ask)
    alone = {project for project, answer in answers.items() if isinstance(answer, IcaRefused) and jobs[project] > 1}
    return {
        request: {project: answers[project] for project in of_job if project not in alone}
        | _ask_each({project: paths for project, paths in of_job.items() if project in alone}, ask)
        for request, of_job in wanted.items()
    }


def _by_project(uris: Iterable[IcaUri]) -> dict[str, list[str]]:
    """Project → its paths, in order."""
    paths: dict[str, list[str]] = defaultdict(list)
    for uri in uris:
        paths[uri.project].append(uri.path)
    return paths


def _sources(claim: Claimed, data: SourcesByProject) -> list[IcaData]:
    """A job's sources, in order. Raises ``IcaRefused`` where some cannot be copied."""
    found = [(uri, _known(data[uri.project]).get(uri.path)) for uri in claim.sources]
    faults = [fault for uri, source in found if (fault := source_fault(uri, source))]
    if faults:
        more = f" (and {len(faults) - 1} more sources)" if len(faults) > 1 else ""
        raise IcaRefused(faults[0] + more)
    return [source for _, source in found if source]


def _known(answer: R | IcaError) -> R:
    if isinstance(answer, IcaError):
        raise answer
    return answer
