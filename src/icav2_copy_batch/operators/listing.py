"""Listing: the files that lie below a folder in ICA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.requests import CannotDo, Failure, ListFiles
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.ports import IcaTrees

MOST_FILES = 200_000
"""So many files are answered: their list takes some 40 MB, and a copy of so many takes a while to plan and to read."""
SECONDS_TO_ANSWER = 60.0
"""What is left of the time when the last page is asked for: its tries, and to store the answer."""
INSTEAD = "name a folder in it, or give whole folders as sources in the manifest: their URIs end in /"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Lists the files below a folder, however deep."""

    ica: IcaTrees
    project_id: Callable[[str], str]
    """Gives the id of a project by its name or id; raises ``IcaError``."""
    seconds_left: Callable[[], float]

    def files(self, request: ListFiles) -> dict[str, Any]:
        """The files, sorted by their paths below the folder. ICA's own probes are left out.

        Raises ``CannotDo`` where there is no file, and where there are too many, and ``IcaError``.
        """
        folder = parse_uri(request.uri)
        project_id = self.project_id(folder.project)
        found: dict[str, IcaData] = {}
        for page in self.ica.tree_pages(project_id, folder.path):
            for data in page:
                _note(found, data)
            if len(found) > MOST_FILES:
                raise CannotDo(Failure.REFUSED, f"{request.uri} holds more than {MOST_FILES:,} files; {INSTEAD}")
            if self.seconds_left() < SECONDS_TO_ANSWER:
                so_far = f"the time was over when ICA had listed {len(found):,} files below {request.uri}"
                raise CannotDo(Failure.REFUSED, f"{so_far}; {INSTEAD}")
        if not found:
            check = "check how project and path are spelled, also in upper and lower case"
            raise CannotDo(Failure.REFUSED, f"ICA shows no file below {request.uri}; {check}")
        below = len(folder.path)
        files = [_shown(found[path], path[below:]) for path in sorted(found)]
        return {"uri": request.uri, "project_id": project_id, "files": files}


def _note(found: dict[str, IcaData], data: IcaData) -> None:
    """Keep a file that was listed. Where two have one path, since ICA is deleting one, keep the AVAILABLE one."""
    if data.is_probe:
        return
    before = found.get(data.path)
    if before is None or before.status != "AVAILABLE":
        found[data.path] = data


def _shown(data: IcaData, path: str) -> dict[str, Any]:
    return {"path": path, "size": data.size, "status": data.status, "etag": data.etag}
