"""ICA's projects as their members see them: whether the token's user sees one, and who may do what in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icav2_copy_batch.adapters.ica.bodies import rows_in
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.libica_light import ProjectApi
from icav2_copy_batch.adapters.ica.libica_setup import ProjectPermissionApi
from icav2_copy_batch.domain.rights import Permission


class Members:
    """``GET /api/projects``, ``…/{projectId}`` and ``…/{projectId}/permissions``, of which the last has no pages.

    Each method raises ``IcaRefused`` and ``IcaUnavailable``.
    """

    def __init__(self, *, http: Http) -> None:
        self._http = http
        self._projects, self._permissions = ProjectApi(http.client), ProjectPermissionApi(http.client)

    def check_token(self) -> None:
        """Ask for one project of the list, which ICA gives to anybody whose token it takes."""
        operation = self._projects.get_projects_without_preload_content
        rows_in(self._http.call(operation, page_size="1", page_token=""))

    def project_name(self, project_id: str) -> str:
        """The name of a project that the token's user sees."""
        answer = self._http.call(self._projects.get_project_without_preload_content, project_id=project_id)
        return str(answer.get("name") or project_id)

    def permissions(self, project_id: str) -> list[Permission]:
        """The members of a project."""
        operation = self._permissions.get_project_permissions_without_preload_content
        return [_permission(row) for row in rows_in(self._http.call(operation, project_id=project_id))]


def _permission(body: Mapping[str, Any]) -> Permission:
    user = body.get("user") or {}
    names = (user.get("id"), user.get("username"), user.get("email"), body.get("emailAddress"))
    return Permission(
        role=str(body.get("roleProject")),
        may_upload=body.get("uploadAllowed") is True,
        names=frozenset(name.lower() for name in names if isinstance(name, str)),
    )
