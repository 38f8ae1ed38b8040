"""Files and folders of a project: found by their paths or ids, and deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from icav2_copy_batch.adapters.ica.bodies import data_in
from icav2_copy_batch.adapters.ica.http import MEDIA_TYPE, Http
from icav2_copy_batch.adapters.ica.libica_light import ProjectDataApi
from icav2_copy_batch.adapters.ica.listings import Listings
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.paths import by_folder, bytes_in_url, matched
from icav2_copy_batch.domain.ica import IcaData, IcaRefused, IcaUnavailable


class Data:
    """``/api/projects/{projectId}/data`` and ``…/data/{dataId}``."""

    def __init__(self, *, http: Http, memory: Memory, listings: Listings) -> None:
        self._http, self._memory, self._listings = http, memory, listings
        self._api = ProjectDataApi(http.client)

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The data at exactly these paths, by path; a path without data is left out. A folder's path ends in a slash.

        Paths in different Unicode forms are one path: what is found has its path as it was asked for. Raises
        ``IcaRefused`` where ICA has no such project, and ``IcaUnavailable``.
        """
        wanted = list(dict.fromkeys(paths))
        crowded, sparse = self._cheapest_way(wanted)
        listed = self._listings.in_folders(project_id, crowded) + self._listings.by_paths(project_id, sparse)
        found = matched(wanted, listed)
        # What one kind of list does not show, the other may: see ``Listings``.
        again = self._listings.by_paths(project_id, [path for path in crowded if path not in found])
        again += self._listings.in_folders(project_id, [path for path in sparse if path not in found])
        found |= matched([path for path in wanted if path not in found], again)
        self._memory.note_seen(found.values())
        return {path: replace(data, path=path) for path, data in found.items()}

    def _cheapest_way(self, paths: Iterable[str]) -> tuple[list[str], list[str]]:
        """The paths for which it takes fewer calls to list their folders, and those to ask for by their paths."""
        crowded: list[str] = []
        sparse: list[str] = []
        most_bytes = self._memory.url_limit.most_bytes
        for inside in by_folder(paths).values():
            (sparse if len(inside) == 1 or bytes_in_url(inside) <= most_bytes else crowded).extend(inside)
        return crowded, sparse

    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """As ``find``, for data that nobody changes while they are copied.

        Those that were AVAILABLE are remembered for five minutes.
        """
        wanted = list(dict.fromkeys(paths))
        known = self._memory.recall(project_id, wanted)
        fresh = self.find(project_id, [path for path in wanted if path not in known])
        self._memory.remember(project_id, fresh)
        return known | fresh

    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        """The data of a project that have these ids, wherever they lie now; an id that ICA does not have is left out.

        Many are asked for in one call. Where that shows one of several at most, each other is read by its id. Raises
        ``IcaRefused`` where ICA has no such project, and ``IcaUnavailable``.
        """
        wanted = list(dict.fromkeys(data_ids))
        found = self._listings.by_ids(project_id, wanted)
        # Either the others are gone, or ICA has taken one of the ids alone.
        return found if len(found) > 1 else found | self.read_each(project_id, set(wanted) - found.keys())

    def read_each(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        """The data with these ids, by one call each; errors as for ``read``."""
        read = self._http.spread(lambda data_id: self.read(project_id, data_id), sorted(data_ids))
        return {data.data_id: data for data in read if data}

    def read(self, project_id: str, data_id: str) -> IcaData | None:
        """A file or folder by its id, as it is now: lists may be behind. None where ICA does not have that id.

        ``GET /api/projects/{projectId}/data/{dataId}``. Raises ``IcaRefused`` and ``IcaUnavailable``.
        """
        operation = self._api.get_project_data_without_preload_content
        try:
            answer = self._http.call(operation, project_id=project_id, data_id=data_id)
        except IcaRefused as error:
            if error.http_status != 404:
                raise
            return None
        if not (data := data_in(answer, self._http.ica_clock)):
            raise IcaUnavailable(f"ICA's answer about {data_id} has no id or no path")
        return data

    def delete_data(self, project_id: str, data_ids: Iterable[str]) -> None:
        """Have ICA delete those of these files that are PARTIAL, which takes it a while.

        Lists may be behind: each file is read by its id first, and left alone if it is whole by now. A file that is
        gone already counts as deleted. ``POST /api/projects/{projectId}/data/{dataId}:delete``. Raises ``IcaRefused``
        and ``IcaUnavailable``.
        """
        self._http.spread(lambda data_id: self._delete(project_id, data_id), list(data_ids))

    def _delete(self, project_id: str, data_id: str) -> None:
        now = self.read(project_id, data_id)
        if now is None or now.status != "PARTIAL":
            return
        try:
            self._http.call(
                self._api.delete_data_without_preload_content,
                project_id=project_id,
                data_id=data_id,
                headers={"Content-Type": MEDIA_TYPE},
            )
        except IcaRefused as error:
            if error.http_status != 404:  # 404: gone already
                raise
