"""ICA's projects, by name or id."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.libica_light import ProjectApi
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.domain.ica import IcaRefused
from icav2_copy_batch.domain.uri import is_project_id, nfc

FEW_ROWS = 20


class Projects:
    """``GET /api/projects`` and ``GET /api/projects/{projectId}``."""

    def __init__(self, *, http: Http, memory: Memory) -> None:
        self._http, self._memory = http, memory
        self._api = ProjectApi(http.client)

    def project_id(self, project: str) -> str:
        """The id of a project that is given by its id or by its exact name.

        ICA's ``search`` is a free one, which may find less than the list of all projects: that is read where the search
        finds nothing. Raises ``IcaRefused`` unless exactly one project has the name, and ``IcaUnavailable``.
        """
        if is_project_id(project):
            return project.lower()
        if known := self._memory.project_id(project):
            return known
        ids = self._named(project, page_size=FEW_ROWS, search=project) or self._named(project)
        if not ids:
            raise IcaRefused(
                f"no project named {project!r} can be seen with this token; check the spelling and the user's "
                "permission, or give the project's id"
            )
        if len(ids) > 1:
            raise IcaRefused(f"{len(ids)} projects are named {project!r}; give the project's id instead")
        (project_id,) = ids
        self._memory.remember_project(project, project_id)
        return project_id

    def _named(self, name: str, **filters: Any) -> set[str]:
        """The ids of the projects of exactly this name; else of those whose name is the same in NFC."""
        listed = list(self._http.rows(self._api.get_projects_without_preload_content, **filters))
        ids = {str(project["id"]) for project in listed if project.get("name") == name}
        return ids or {str(project["id"]) for project in listed if nfc(project.get("name") or "") == nfc(name)}

    def is_there(self, project_id: str) -> bool:
        """Whether ICA has a project of this id. Raises ``IcaUnavailable``."""
        try:
            self._http.call(self._api.get_project_without_preload_content, project_id=project_id)
        except IcaRefused:
            return False
        return True
