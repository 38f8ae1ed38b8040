"""Lists of a project's data: by folder, by name, by several paths or ids at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from icav2_copy_batch.adapters.ica.bodies import data_in
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.libica_light import ProjectDataApi
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.paths import by_folder, bytes_in_url, name_in, portions, spellings
from icav2_copy_batch.adapters.ica.projects import Projects
from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused
from icav2_copy_batch.domain.uri import nfc, parent_path

FEW_ROWS = 20
"""Rows of a search for one path or name: room for others that differ in case, and for duplicates."""
TRIES_OF_A_LONG_URL = 2
"""Tries of a URL of a length that ICA has not answered yet, before a short one is tried."""

logger = logging.getLogger(__name__)


class Listings:
    """``GET /api/projects/{projectId}/data``, with the filters that are needed.

    A list may hold more than was asked for: ICA compares paths without regard to case, and by prefix unless a filter
    says otherwise. So callers compare. A list may also hold less than is there: ICA documents that a linked folder
    cannot be listed by its path, and several values of one filter, which it documents, may count as one. So what one
    kind of list does not show is asked for by another before it counts as absent.
    """

    def __init__(self, *, http: Http, memory: Memory, projects: Projects) -> None:
        self._http, self._url_limit, self._projects = http, memory.url_limit, projects
        self._api = ProjectDataApi(http.client)

    def rows(self, project_id: str, **filters: Any) -> Iterator[IcaData]:
        """All data that a list shows; errors as for ``pages``."""
        return (data for page in self.pages(project_id, **filters) for data in page)

    def pages(self, project_id: str, **filters: Any) -> Iterator[list[IcaData]]:
        """The pages of a list, each made when it is asked for. The list of a folder that is not there is empty.

        Raises ``IcaRefused`` where ICA has no such project, and ``IcaUnavailable``.
        """
        operation = self._api.get_project_data_list_without_preload_content
        pages = self._http.pages(operation, project_id=project_id, **filters)
        try:
            page = next(pages)
        except IcaRefused as error:
            # ICA may answer 404 for a folder that is not there, as it does for a project.
            if error.http_status != 404 or not self._projects.is_there(project_id):
                raise
            return
        yield self._read(page)
        for page in pages:
            yield self._read(page)

    def _read(self, page: Iterable[dict[str, Any]]) -> list[IcaData]:
        return [data for row in page if (data := data_in(row, self._http.ica_clock))]

    # --- in folders --------------------------------------------------------------------------------------------------

    def in_folders(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """All data at these paths, from the lists of their folders."""
        folders = list(by_folder(paths).items())
        found = self._http.spread(lambda inside: self._in_folder(project_id, *inside), folders)
        return [data for each in found for data in each]

    def _in_folder(self, project_id: str, folder: str, paths: Sequence[str]) -> list[IcaData]:
        """All data at these paths in one folder.

        The list is left once it has taken as many calls as names are missing: these are then asked for one by one.
        """
        if len(paths) == 1 and ((found := self.by_name(project_id, paths[0])) or paths[0].isascii()):
            return found
        # A name may be stored in a form that is neither NFC nor NFD: a list shows it, but it cannot be asked for.
        found = []
        wanted = set(map(nfc, paths))
        missing = set(wanted)
        for spelling in spellings(folder):
            for number, page in enumerate(self.pages(project_id, parent_folder_path=spelling), start=1):
                here = [data for data in page if nfc(data.path) in wanted]
                found += here
                missing -= {nfc(data.path) for data in here if data.status != "DELETING"}
                if len(page) >= self._http.page_size and number >= len(missing):
                    return found + self._by_names(project_id, sorted(missing))
            if not missing:
                break
        return found

    def _by_names(self, project_id: str, paths: Sequence[str]) -> list[IcaData]:
        found = self._http.spread(lambda path: self.by_name(project_id, path), paths)
        return [data for each in found for data in each]

    def by_name(self, project_id: str, path: str) -> list[IcaData]:
        """All data at a path, by its folder and its name; and others, whose name differs in case."""
        return [
            data
            for spelling in spellings(path)
            for data in self.rows(
                project_id,
                parent_folder_path=parent_path(spelling),
                filename=[name_in(spelling)],
                filename_match_mode="EXACT",
                page_size=FEW_ROWS,
            )
        ]

    # --- several values in one call ----------------------------------------------------------------------------------

    def by_paths(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """Data at these paths, in as few calls as possible; and others, whose path differs in case."""
        wanted = [spelling for path in paths for spelling in spellings(path)]
        return self._by_values(project_id, "file_path", wanted, file_path_match_mode="FULL_CASE_INSENSITIVE")

    def by_ids(self, project_id: str, data_ids: Sequence[str]) -> dict[str, IcaData]:
        """The data that have these ids, as far as the list shows them, in as few calls as possible."""
        wanted = set(data_ids)
        listed = self._by_values(project_id, "id", data_ids)
        return {data.data_id: data for data in listed if data.data_id in wanted}

    def _by_values(self, project_id: str, parameter: str, values: Sequence[str], **filters: Any) -> list[IcaData]:
        """What ICA shows for these values of a parameter; nothing for some, where it takes one value at a time.

        Where a long URL fails and a short one does not, the long one was too long for ICA, or for a proxy on the way.
        """

        def ask(portion: Sequence[str], **tries: int) -> list[IcaData]:
            rows = min(FEW_ROWS + len(portion), self._http.page_size)
            return list(self.rows(project_id, **{parameter: portion}, **filters, **tries, page_size=rows))

        limit = self._url_limit
        found: list[IcaData] = []
        left = list(values)
        while left and (limit.most_bytes or len(left) == 1):
            portion = next(portions(left, limit.most_bytes))
            size = bytes_in_url(portion)
            was_answered = len(portion) == 1 or size <= limit.answered_bytes
            try:
                found += ask(portion) if was_answered else ask(portion, max_tries=TRIES_OF_A_LONG_URL)
                limit.note_answer(size)
            except IcaError as error:
                is_trouble = was_answered and not isinstance(error, IcaRefused)
                if len(portion) == 1 or is_trouble or not _may_be_the_url(error):
                    raise
                limit.lower(size, len(portion))
                logger.info("less is asked for in one call", extra={"bytes": limit.most_bytes, "reason": str(error)})
                portion = portion[:1]
                found += ask(portion)
            left = left[len(portion) :]
        return found


def _may_be_the_url(error: IcaError) -> bool:
    """Whether a call may have failed because its URL was too long; proxies say that in many ways."""
    if isinstance(error, IcaRefused):
        return error.http_status in (400, 413, 414, 431)
    return error.http_status not in (401, 409, 425, 429)
