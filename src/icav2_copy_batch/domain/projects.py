"""Projects by name: a manifest may name them, everything after it knows them by their ids alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from icav2_copy_batch.domain.uri import SCHEME, is_project_id

MOST_NAMES = 100
"""So many projects may be called by a name in one manifest: each takes a call to ICA and room in the copy's item."""


class UnknownProject(Exception):
    """No project is meant by a name, or several may be. The message follows a URI and says what to do."""


class Projects:
    """The projects of one submission: what its client calls them, and which they are."""

    def __init__(self, look_up: Callable[[str], str] = str) -> None:
        """``look_up`` gives the id of a project by its name, or raises ``UnknownProject``; it is asked no id."""
        self.names: dict[str, str] = {}
        """Id → how the client spells it, of each project that is not simply called by its id."""
        self._look_up = look_up
        self._looked_up = 0

    def id_of(self, project: str) -> str:
        """The id of a project, in lower case. Each name is to be asked for once.

        Raises ``UnknownProject``, and whatever looking it up raises.
        """
        if is_project_id(project):
            project_id = project.lower()
            if project != project_id:
                self.names.setdefault(project_id, project)
            return project_id
        if self._looked_up >= MOST_NAMES:
            raise UnknownProject(f"is in one of more than {MOST_NAMES} projects that are called by a name; give ids")
        self._looked_up += 1
        project_id = self._look_up(project)
        # A name goes before an id in capitals: it is what the same submission would have to look up again.
        if is_project_id(self.names.get(project_id, project_id)):
            self.names[project_id] = project
        return project_id


def as_spelled(uri: str, names: Mapping[str, str]) -> str:
    """A URI as its client spells it; ``names`` are those of ``Projects``."""
    if not names:
        return uri
    project, slash, path = uri[len(SCHEME) :].partition("/")
    return f"{SCHEME}{names.get(project, project)}{slash}{path}"


def text_as_spelled(text: str, names: Mapping[str, str]) -> str:
    """A sentence with every URI in it as its client spells it."""
    for project_id, name in names.items():
        text = text.replace(f"{SCHEME}{project_id}/", f"{SCHEME}{name}/")
    return text
