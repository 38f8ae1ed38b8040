"""Destination folders: found, or created with their parents, one of each path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from uuid import NAMESPACE_URL, uuid5

from icav2_copy_batch.adapters.ica.bodies import text_in
from icav2_copy_batch.adapters.ica.data import Data
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.libica_light import CreateFolder, ProjectDataApi
from icav2_copy_batch.adapters.ica.listings import Listings
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.paths import depth, lineage, matched, name_in
from icav2_copy_batch.domain.ica import IcaData, IcaError, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.uri import nfc, parent_path

FOLDER_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the tries of a folder that ICA neither creates nor shows."""
REREAD_SECONDS = 1.0
"""A folder that was just created and cannot be read is read again after this."""
MOST_REPLACED = 20
"""Ids of deleted folders that are passed over in search of one that ICA still has, for one path."""


class Folders:
    """``POST /api/projects/{projectId}/data:createFolder``, under an ``Idempotency-Key``."""

    def __init__(self, *, http: Http, memory: Memory, listings: Listings, data: Data) -> None:
        self._http, self._memory, self._listings, self._data = http, memory, listings, data
        self._api = ProjectDataApi(http.client)

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | IcaError | None]:
        """The ids of these folders, which are created with their parents where they are missing; None for the root.

        A folder that cannot be had has an error in place of its id: ``IcaRefused`` where it can never be created,
        ``IcaUnavailable`` where it may be later. Raises the same where not even a search is possible.

        Two launches that create one folder at the same moment end with one. Parents come first. Each folder has an
        idempotency key that is made from its path, and what counts is what is there afterwards: a conflict (409) can
        mean that the folder exists, is being created or is being changed, and the answer to a key that was used before
        may be seven days old, and name a folder that has been deleted since.
        """
        wanted = list(dict.fromkeys(folders))
        remembered = self._memory.recall(project_id, wanted)
        paths = dict.fromkeys(path for folder in wanted if folder not in remembered for path in lineage(folder))
        found = self._ensure(project_id, paths)
        self._memory.remember(project_id, {path: each for path, each in found.items() if isinstance(each, IcaData)})
        known = found | remembered
        return {folder: None if folder == "/" else _id_or_error(known[folder]) for folder in wanted}

    def _ensure(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData | IcaError]:
        """These folders, among which are all their parents; or why one cannot be had."""
        wanted = sorted(paths, key=depth)
        known: dict[str, IcaData | IcaError] = {**self._find(project_id, wanted)}
        missing = [path for path in wanted if path not in known]
        for _, level in groupby(missing, key=depth):
            parents = {path: known.get(parent_path(path)) for path in level}
            known |= {path: parent for path, parent in parents.items() if isinstance(parent, IcaError)}
            places = {
                path: parent.path if parent else "/"
                for path, parent in parents.items()
                if not isinstance(parent, IcaError)
            }
            known |= self._make(project_id, places)
        return known

    def _find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The folders that are there. Below one of them that is not there, none is searched for."""
        wanted = sorted(paths, key=depth)
        all_wanted = set(wanted)
        listed = self._listings.by_paths(project_id, wanted)
        found = matched(wanted, [data for data in listed if data.status != "DELETING"])
        missing = [path for path in wanted if path not in found]
        for _, level in groupby(missing, key=depth):
            below_some = [path for path in level if (above := parent_path(path)) in found or above not in all_wanted]
            listed = self._listings.in_folders(project_id, below_some)
            found |= matched(below_some, [data for data in listed if data.status != "DELETING"])
        return found

    # --- making ------------------------------------------------------------------------------------------------------

    def _make(self, project_id: str, places: Mapping[str, str]) -> dict[str, IcaData | IcaError]:
        """Create folders of one depth, each with the path of its parent as ICA has it; or why one cannot be had.

        A folder that ICA neither creates nor shows is tried ``len(FOLDER_PAUSES) + 1`` times.
        """
        made: dict[str, IcaData | IcaError] = {}
        replaced: dict[str, list[str]] = {path: [] for path in places}
        pauses = iter(FOLDER_PAUSES)
        while left := {path: parent for path, parent in places.items() if path not in made}:
            outcomes, stale = self._make_once(project_id, left, replaced)
            made |= outcomes
            for path, data_id in stale.items():
                replaced[path].append(data_id)
            missing = [path for path in left if path not in made]
            if stale.keys() >= set(missing) and all(len(replaced[path]) < MOST_REPLACED for path in stale):
                continue  # another key may be answered better
            pause = next(pauses, None)
            if pause is None or not self._http.pause(pause):
                return made | {path: self._trouble_with(project_id, path) for path in missing}
            made |= self._find(project_id, missing)  # else what has come meanwhile is made again
        return made

    def _make_once(
        self, project_id: str, places: Mapping[str, str], replaced: Mapping[str, Sequence[str]]
    ) -> tuple[dict[str, IcaData | IcaError], dict[str, str]]:
        """The folders that are there after one try, or the trouble with them; and ids of deleted ones, by path."""
        answers = self._create_each(project_id, places, replaced)
        made: dict[str, IcaData | IcaError] = {
            path: answer for path, answer in answers.items() if isinstance(answer, IcaError)
        }
        ids = {path: answer for path, answer in answers.items() if isinstance(answer, str)}
        there = self._read_back(project_id, list(ids.values()))
        made |= {path: there[data_id] for path, data_id in ids.items() if data_id in there}
        stale = {path: data_id for path, data_id in ids.items() if data_id not in there}
        conflicts = [path for path, answer in answers.items() if answer is None]
        return made | self._find(project_id, conflicts), stale

    def _create_each(
        self, project_id: str, places: Mapping[str, str], replaced: Mapping[str, Sequence[str]]
    ) -> dict[str, str | IcaError | None]:
        """The id of each folder, None where there was a conflict, or the trouble with it."""
        outage: list[IcaError] = []

        def create(path: str) -> str | IcaError | None:
            if outage:  # another has tried long enough
                return outage[0]
            try:
                return self._create(project_id, path, places[path], replaced[path])
            except IcaUnavailable as error:
                if error.http_status == 409:
                    return None
                outage.append(error)
                return error
            except IcaRefused as error:
                return error

        return dict(zip(places, self._http.spread(create, list(places)), strict=True))

    def _create(self, project_id: str, path: str, parent: str, replaced: Sequence[str]) -> str:
        """Create one folder in its parent; its id. ``replaced`` are its earlier ids, which make for another key."""
        name, earlier = nfc(name_in(path)), replaced[-1] if replaced else ""
        key = str(uuid5(NAMESPACE_URL, f"icav2-copy-batch/{project_id}{parent}{name}/#{earlier}"))
        answer = self._http.call(
            self._api.create_folder_without_preload_content,
            project_id=project_id,
            create_folder=CreateFolder(name=name, folderPath=parent),
            idempotency_key=key,
            conflict_is_answer=True,
        )
        return text_in(answer, "data", "id")

    def _read_back(self, project_id: str, folder_ids: Sequence[str]) -> dict[str, IcaData]:
        """The folders that ICA says it has just created, by id; those that it has no more are left out.

        Lists may be behind: what they do not show is read by its id, and once more after a while.
        """
        wanted = set(folder_ids)
        found = self._listings.by_ids(project_id, folder_ids)
        found |= self._data.read_each(project_id, wanted - found.keys())
        if found.keys() < wanted:
            if not self._http.pause(REREAD_SECONDS):
                raise IcaUnavailable("a folder was created, but cannot be read")
            found |= self._data.read_each(project_id, wanted - found.keys())
        return {data_id: data for data_id, data in found.items() if data.status != "DELETING"}

    def _trouble_with(self, project_id: str, path: str) -> IcaError:
        """Why a folder cannot be had. It never can where something else has its name, but for the case."""
        try:
            rows = self._listings.by_name(project_id, path)
        except IcaError as error:
            return error
        wanted = nfc(path).rstrip("/").casefold()
        in_the_way = [
            data.path
            for data in rows
            if data.status != "DELETING" and nfc(data.path) != nfc(path)
            if nfc(data.path).rstrip("/").casefold() == wanted
        ]
        if in_the_way:
            return IcaRefused(f"the folder {path} cannot be created, since {in_the_way[0]} is there; ICA answers 409")
        return IcaUnavailable(f"the folder {path} is not there yet, and ICA does not create it")


def _id_or_error(found: IcaData | IcaError) -> str | IcaError:
    return found if isinstance(found, IcaError) else found.data_id
