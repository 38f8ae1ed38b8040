"""Names of projects. A manifest may call a project by its name; after ingest only ids are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from icav2_copy_batch.domain.uri import SCHEME, is_project_id

MOST_NAMES = 100
"""How many projects one manifest may call by name: each takes a call to ICA and room in the copy's item."""


class UnknownProject(Exception):
    """A name means no project, or may mean several. The message follows a URI and says what to do."""


class Projects:
    """The projects of one submission: their ids, and what the client calls them."""

    def __init__(self, look_up: Callable[[str], str] = str) -> None:
        """``look_up`` returns a project's id by its name, or raises ``UnknownProject``. It is not called for ids."""
        self.names: dict[str, str] = {}
        """Id → the client's spelling, for each project that the client does not call by its id in lower case."""
        self._look_up = look_up
        self._looked_up = 0

    def id_of(self, project: str) -> str:
        """The id of a project, in lower case. Call this once for each name: every call looks the name up.

        Raises ``UnknownProject``, and whatever ``look_up`` raises.
        """
        if is_project_id(project):
            project_id = project.lower()
            if project != project_id:
                self.names.setdefault(project_id, project)
            return project_id
        if self._looked_up >= MOST_NAMES:
            raise UnknownProject(
                f"is in one of more than {MOST_NAMES} projects that are called by name; give their ids"
            )
        self._looked_up += 1
        project_id = self._look_up(project)
        # A name is kept rather than an id in capitals: the same submission, delivered again, then needs no look-up.
        if is_project_id(self.names.get(project_id, project_id)):
            self.names[project_id] = project
        return project_id


def as_spelled(uri: str, names: Mapping[str, str]) -> str:
    """A URI as the client spells it. ``names`` are ``Projects.names``."""
    if not names:
        return uri
    project, slash, path = uri[len(SCHEME) :].partition("/")
    return f"{SCHEME}{names.get(project, project)}{slash}{path}"


def text_as_spelled(text: str, names: Mapping[str, str]) -> str:
    """A sentence in which every URI is spelled as the client spells it. ``names`` are ``Projects.names``."""
    for project_id, name in names.items():
        text = text.replace(f"{SCHEME}{project_id}/", f"{SCHEME}{name}/")
    return text
