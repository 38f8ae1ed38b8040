"""Lookup: finds files and folders by their paths in several projects, project by project."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.domain.uri import IcaUri
from icav2_copy_batch.ports import IcaFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What ICA has answered, by project."""

    answers: Mapping[str, Mapping[str, IcaData] | IcaRefused]
    """The data by their paths, or why ICA refuses to say. A project that could not be asked is left out."""

    def at(self, uri: IcaUri) -> IcaData | None:
        """What lies there; None also where ICA does not say."""
        answer = self.answers.get(uri.project, {})
        return None if isinstance(answer, IcaRefused) else answer.get(uri.path)

    def refusal(self, project: str) -> IcaRefused | None:
        """Why ICA refuses to say anything about a project; None where it does not."""
        answer = self.answers.get(project)
        return answer if isinstance(answer, IcaRefused) else None

    def tells_of(self, projects: Iterable[str]) -> bool:
        """Whether ICA has answered for all of these projects, be it by a refusal."""
        return set(projects) <= self.answers.keys()


def look_up(ica: IcaFiles, uris: Iterable[IcaUri], spread: Spread) -> Found:
    """Ask ICA afresh for what lies at these URIs, for the projects side by side.

    Nothing that is remembered of a source is used: it may have been replaced since.
    """
    paths: dict[str, dict[str, None]] = {}
    for uri in uris:
        paths.setdefault(uri.project, {})[uri.path] = None

    def ask(project: str) -> Mapping[str, IcaData] | IcaRefused | None:
        try:
            return ica.find(project, paths[project])
        except IcaError as error:
            logger.warning("ICA could not be asked for files", extra={"project": project, "reason": str(error)})
            return error if isinstance(error, IcaRefused) else None

    projects = sorted(paths)
    answers = zip(projects, spread(ask, projects), strict=True)
    return Found({project: answer for project, answer in answers if answer is not None})
