"""ICA, through libica: the few calls the product makes, and what their failures mean.

libica builds, signs and sends each request. Its answers are read here and not by its models, which refuse a whole
page for one value they do not know (a new status, say): we take the fields we need, and an answer that cannot be
read (an HTML error page) is one more way for ICA to be unavailable.

Traps this module closes, all of the API's own: paths match without case and by prefix, so that every match is
compared exactly; lists come in pages; a URL has a limit, so that paths are asked for in portions; 409 has several
meanings, so that it is answered by looking.
"""

from __future__ import annotations

import json
import logging
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import urllib3
from pydantic import ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from icav2_copy_batch.adapters.ica.clock import IcaClock
from icav2_copy_batch.adapters.ica.libica_light import (
    ApiClient,
    ApiException,
    Configuration,
    CreateFolder,
    CreateProjectDataCopyBatch,
    CreateProjectDataCopyBatchItem,
    JobApi,
    ProjectApi,
    ProjectDataApi,
    ProjectDataCopyBatchApi,
)
from icav2_copy_batch.domain.commands import CopyOptions
from icav2_copy_batch.domain.ica import (
    CONSEQUENCES,
    SECONDS_TO_START,
    CallFailure,
    CopyBatchItem,
    IcaAnswerLost,
    IcaData,
    IcaError,
    IcaJob,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
    StartedCopyBatch,
    failure_of,
)
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.token import bare_token
from icav2_copy_batch.domain.uri import is_project_id, nfc, parent_path
from icav2_copy_batch.ports import Pacing, TokenSource

MEDIA_TYPE = "application/vnd.illumina.v3+json"
PAGE_SIZE = "1000"
"""The largest that any client is known to send."""
FEW_ROWS = "20"
"""Of a look for one path or name: room for others that differ in case, and for duplicates."""
JOBS_WORTH_A_PAGE = 4
"""For each so many jobs another page of the list is looked through before they are asked for one by one."""
MAX_OFFSET_ROWS = 200_000
"""ICA gives no rows beyond this by offset."""
INCOMPLETE = ("PARTIAL", "DELETING")
"""Statuses of a file that is there and is none, which SKIP may take for one."""
MAX_QUERY_BYTES = 7000
"""Of the encoded paths in one URL; with the rest of it well below 8 KB."""
CONNECT_SECONDS, READ_SECONDS = 3.0, 20.0
BYTES_AT_ONCE = 64 * 1024
MAX_TRIES, FEW_TRIES, MAX_PACED_TRIES = 6, 2, 12
"""The last where ICA has refused a call with 429, and each try has waited for its turn."""
TRIES_OF_A_LONG_URL = 2
"""Before a short one is tried."""
TRIES_OF_THE_JOB_LIST = 2
"""Before jobs are asked for by their ids."""
MOST_ASKED_SINGLY = 64
"""Jobs that one look asks for by their ids."""
FOLDER_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the tries of a folder that ICA does not create, nor show."""
REREAD_SECONDS = 1.0
"""A created folder that cannot be read is read again after this."""
MOST_REPLACED = 20
"""So many ids of a folder that was created and deleted again are passed over, of those that ICA may still reply."""
MAX_WAIT_SECONDS = 10.0
REMEMBERED_SECONDS = 300.0
"""How long a container remembers projects by name, folders, and sources."""
MOST_REMEMBERED = 100_000


TOKEN_REFUSED = "ICA does not take the token"  # noqa: S105 # a message about the token
"""Logged when ICA refuses a fresh token, or none can be read. The template counts this very text, for an alarm."""

logger = logging.getLogger(__name__)

Fault = Callable[..., IcaError]
"""Makes the error for a ``CallFailure``, with a message and what else is known."""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """A page of the list of all jobs, which was asked for newest first."""

    jobs: list[IcaJob]
    rows: int
    """How many there were, those included that cannot be read."""
    is_last: bool

    def ends_before(self, since: str) -> bool:
        """Whether the pages that follow hold only jobs from before a moment: as far as this one is sorted."""
        times = [job.created_at for job in self.jobs if job.created_at]
        newest_first = len(times) == self.rows and times == sorted(times, reverse=True)
        return newest_first and bool(times) and times[-1] < since


class IcaClient:
    """The ICA API as far as the product needs it.

    Every method raises ``IcaUnavailable`` when ICA did not carry out the call and may do so later, ``IcaRefused`` when
    it would refuse it again, and ``start_copy_batch`` alone ``IcaAnswerLost`` when nobody knows.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource,
        seconds_left: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        spread: Spread = in_threads,
        wire: Any = None,
        clock: Clock = lambda: datetime.now(UTC),
        pacing: Pacing | None = None,
    ) -> None:
        """``base_url`` ends in ``/ica/rest``; ``seconds_left`` says how long this invocation may still take.

        ``spread`` makes the calls that need not wait for each other. ``wire`` carries the requests in place of libica's
        ``RESTClientObject`` and its connection pool. ``pacing`` says when each call may be made, where ICA limits them.
        """
        configuration = Configuration(host=base_url.rstrip("/"))
        # We retry, and only what may be repeated. libica declares a number and hands on what it is given.
        configuration.retries = urllib3.Retry(0, redirect=0)  # type: ignore[assignment]
        client = ApiClient(configuration)
        client.rest_client = wire or client.rest_client
        client.user_agent = "icav2-copy-batch"
        self._data = ProjectDataApi(client)
        self._projects = ProjectApi(client)
        self._batches = ProjectDataCopyBatchApi(client)
        self._jobs = JobApi(client)
        self._tokens = tokens
        self._seconds_left = seconds_left
        self._sleep = sleep
        self._monotonic = monotonic
        self._spread = spread
        self._clock = clock
        self._pacing = pacing
        self._ica_clock = IcaClock(clock)
        self._tries = MAX_TRIES
        self._project_ids: dict[str, tuple[str, float]] = {}
        self._remembered: dict[tuple[str, str], tuple[IcaData, float]] = {}
        self._told_from_memory: set[str] = set()
        """Ids that may not be true any more, until they are found by a look."""
        self._jobs_asked_singly = 0
        self._query_bytes, self._answered_bytes = MAX_QUERY_BYTES, 0
        """The most that is asked for in one URL, 0 where several values are not taken; the most that was answered."""

    def impatient(self) -> IcaClient:
        """The same client for those who ask again later anyway: a call that fails is made once more, and no more.

        What it remembers is shared.
        """
        impatient = copy(self)
        impatient._tries = FEW_TRIES
        return impatient

    # --- projects ----------------------------------------------------------------------------------------------------

    def project_id(self, project: str) -> str:
        """The id of a project given by id or by its exact name."""
        if is_project_id(project):
            return project.lower()
        known = self._project_ids.get(project)
        if known and known[1] > self._monotonic():
            return known[0]
        ids = self._projects_named(project, page_size=FEW_ROWS, search=project) or self._projects_named(project)
        if len(ids) != 1:
            raise IcaRefused(
                f"no project named {project!r} can be seen with this token; check the spelling and the user's "
                "permission, or give the project's id"
                if not ids
                else f"{len(ids)} projects are named {project!r}; give the project's id instead"
            )
        (project_id,) = ids
        self._project_ids[project] = (project_id, self._monotonic() + REMEMBERED_SECONDS)
        return str(project_id)

    def _projects_named(self, name: str, **filters: Any) -> set[str]:
        """The ids of the projects of this name. ICA's ``search`` is a free one, which may find less than a listing."""
        listed = list(self._rows(self._projects.get_projects_without_preload_content, **filters))
        ids = {it["id"] for it in listed if it.get("name") == name}
        return ids or {it["id"] for it in listed if nfc(it.get("name") or "") == nfc(name)}

    def _is_project(self, project_id: str) -> bool:
        try:
            self._call(self._projects.get_project_without_preload_content, project_id=project_id)
        except IcaRefused:
            return False
        return True

    # --- data --------------------------------------------------------------------------------------------------------
    #
    # Two forms of a look for paths: a folder's listing (``_listed``), which public clients use; and several paths in
    # one call (``_asked``), which the API's document allows and no client is known to do. Either may find less than is
    # there (a linked folder cannot be listed; ICA may look at one of several paths, or at files alone), so that what
    # one does not find is looked for by the other, before anybody is told that it is not there.

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The data at these exact paths; a path where nothing is, is left out. A folder's path ends in a slash.

        Paths in different Unicode forms are one path. What is found has its path as it was asked for.
        """
        wanted = list(dict.fromkeys(paths))
        crowded, sparse = self._cheaper_way(wanted)
        found = _matched(wanted, self._listed(project_id, crowded) + self._asked(project_id, sparse))
        again = self._asked(project_id, [path for path in crowded if path not in found])
        again += self._listed(project_id, [path for path in sparse if path not in found])
        found |= _matched([path for path in wanted if path not in found], again)
        return {path: replace(data, path=path) for path, data in found.items()}

    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """As ``find``, for what nobody changes while it is copied: what was AVAILABLE some minutes ago still is."""
        wanted = list(dict.fromkeys(paths))
        known = self._from_memory(project_id, wanted)
        fresh = self.find(project_id, [path for path in wanted if path not in known])
        self._remember(project_id, fresh)
        return known | fresh

    def _from_memory(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        now = self._monotonic()
        known = {path: self._remembered.get((project_id, path)) for path in paths}
        found = {path: entry[0] for path, entry in known.items() if entry and entry[1] > now}
        self._told_from_memory |= {data.data_id for data in found.values()}
        return found

    def _remember(self, project_id: str, fresh: Mapping[str, IcaData]) -> None:
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.clear()
        until = self._monotonic() + REMEMBERED_SECONDS
        for path, data in fresh.items():
            self._told_from_memory.discard(data.data_id)
            if data.status == "AVAILABLE":
                self._remembered[project_id, path] = (data, until)

    def _cheaper_way(self, paths: Iterable[str]) -> tuple[list[str], list[str]]:
        """The paths for which it takes fewer calls to list their folders, and those to ask for by their paths."""
        crowded: list[str] = []
        sparse: list[str] = []
        for inside in _by_folder(paths).values():
            (sparse if len(inside) == 1 or _bytes_of(inside) <= self._query_bytes else crowded).extend(inside)
        return crowded, sparse

    def _listed(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """All data at these paths, by the listings of their folders."""
        folders = list(_by_folder(paths).items())
        found = self._spread(lambda inside: self._in_folder(project_id, *inside), folders)
        return [data for each in found for data in each]

    def _in_folder(self, project_id: str, folder: str, paths: Sequence[str]) -> list[IcaData]:
        """All data at these paths, of one folder. Of a very large one no more is listed than pays."""
        if len(paths) == 1 and ((found := self._named(project_id, paths[0])) or paths[0].isascii()):
            return found
        # A name may be stored in a form that is neither NFC nor NFD: it can be seen, but not asked for.
        found = []
        wanted = set(map(nfc, paths))
        missing = set(wanted)
        for spelling in _spellings(folder):
            for number, page in enumerate(self._data_pages(project_id, parent_folder_path=spelling), start=1):
                here = [data for data in page if nfc(data.path) in wanted]
                found += here
                missing -= {nfc(data.path) for data in here if data.status != "DELETING"}
                if len(page) >= int(PAGE_SIZE) and number >= len(missing):
                    by_name = self._spread(lambda path: self._named(project_id, path), sorted(missing))
                    return found + [data for each in by_name for data in each]
            if not missing:
                break
        return found

    def _named(self, project_id: str, path: str) -> list[IcaData]:
        """All data at this path, by its folder and its name."""
        return [
            data
            for spelling in _spellings(path)
            for data in self._list_data(
                project_id,
                parent_folder_path=parent_path(spelling),
                filename=[_name(spelling)],
                filename_match_mode="EXACT",
                page_size=FEW_ROWS,
            )
        ]

    def _asked(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """Data at these paths, by as few questions as take them all; and others whose path differs in case."""
        spellings = [spelling for path in paths for spelling in _spellings(path)]
        return self._ask_for_several(project_id, "file_path", spellings, file_path_match_mode="FULL_CASE_INSENSITIVE")

    def _ask_for_several(self, project_id: str, parameter: str, values: Sequence[str], **filters: Any) -> list[IcaData]:
        """What ICA shows for these values of a parameter; nothing for some where it does not take several.

        A URL that is too long for ICA, or for a proxy on the way, is known by that a short one is answered. What was
        answered is remembered.
        """

        def ask(portion: Sequence[str], **tries: int) -> list[IcaData]:
            rows = str(min(int(FEW_ROWS) + len(portion), int(PAGE_SIZE)))
            return list(self._list_data(project_id, **{parameter: portion}, **filters, **tries, page_size=rows))

        found: list[IcaData] = []
        left = list(values)
        while left:
            if len(left) > 1 and not self._query_bytes:
                return found
            portion = next(_portions(left, self._query_bytes))
            size = _bytes_of(portion)
            was_answered = len(portion) == 1 or size <= self._answered_bytes
            try:
                found += ask(portion) if was_answered else ask(portion, tries=TRIES_OF_A_LONG_URL)
                self._answered_bytes = max(size, self._answered_bytes)
            except IcaError as error:
                is_trouble = was_answered and not isinstance(error, IcaRefused)
                if len(portion) == 1 or is_trouble or not _may_be_the_url(error):
                    raise
                self._query_bytes, self._answered_bytes = size // 2 if len(portion) > 2 else 0, 0
                logger.info("less is asked for in one call", extra={"bytes": self._query_bytes, "reason": str(error)})
                portion = portion[:1]
                found += ask(portion)
            left = left[len(portion) :]
        return found

    def list_folder(self, project_id: str, folder: str) -> list[IcaData]:
        """What lies directly in a folder; nothing when there is no such folder."""
        listed = self._list_data(project_id, parent_folder_path=folder)
        return [data for data in listed if nfc(parent_path(data.path)) == nfc(folder)]

    def list_tree(self, project_id: str, folder: str) -> list[IcaData]:
        """All files below a folder."""
        return [data for page in self.tree_pages(project_id, folder) for data in page]

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        """All files below a folder, a page at a time: each page is one call, made when it is asked for.

        A page may be empty, and others follow. Paths are spelled like the folder's, and in NFC below it.
        """
        for spelling in _spellings(folder):
            empty = True
            for page in self._data_pages(project_id, **_below(spelling), type="FILE"):
                inside = [data for each in page if (data := _respelled(each, folder))]
                empty = empty and not inside
                yield inside
            if not empty:
                return

    def file_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        """The files directly in a folder, as ``tree_pages``."""
        for spelling in _spellings(folder):
            for page in self._data_pages(project_id, parent_folder_path=spelling, type="FILE"):
                files = [data for each in page if (data := _respelled(each, folder))]
                yield [data for data in files if parent_path(data.path) == folder]

    def folders_in(self, project_id: str, folder: str) -> list[str]:
        """The paths of the folders directly in a folder, spelled like the folder's, and in NFC below it."""
        found: set[str] = set()
        for spelling in _spellings(folder):
            for each in self._list_data(project_id, parent_folder_path=spelling, type="FOLDER"):
                if (data := _respelled(each, folder)) and data.path.endswith("/"):
                    found.add(data.path)
        return sorted(path for path in found if parent_path(path) == folder)

    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]:
        """The files in a folder that are PARTIAL or DELETING; with ``recursive``, those in the folders below too.

        Paths are spelled like the folder's, and in NFC below it.
        """
        found: dict[str, IcaData] = {}
        for spelling in _spellings(folder):
            where: dict[str, Any] = _below(spelling) if recursive else {"parent_folder_path": spelling}
            for each in self._list_data(project_id, **where, type="FILE", status=list(INCOMPLETE)):
                if each.status in INCOMPLETE and (data := _respelled(each, folder)):
                    found[data.data_id] = data
        return [data for data in found.values() if recursive or parent_path(data.path) == folder]

    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        """The data of a project that have these ids, whatever their paths are now; an id that is gone is left out.

        Many are asked for in one call. Where that finds one of several at most, each other is read by itself.
        """
        wanted = list(dict.fromkeys(data_ids))
        found = self._shown_by_ids(project_id, wanted)
        # Either the others are gone, or ICA has looked at one of the ids alone.
        return found if len(found) > 1 else found | self._read_each(project_id, wanted, found)

    def _shown_by_ids(self, project_id: str, data_ids: Sequence[str]) -> dict[str, IcaData]:
        wanted = set(data_ids)
        listed = self._ask_for_several(project_id, "id", data_ids)
        return {data.data_id: data for data in listed if data.data_id in wanted}

    def _read_each(self, project_id: str, data_ids: Iterable[str], but: Iterable[str]) -> dict[str, IcaData]:
        """The data with these ids but for some, each read by itself."""
        left = [data_id for data_id in data_ids if data_id not in but]
        read = self._spread(lambda data_id: self.read_data(project_id, data_id), left)
        return {data.data_id: data for data in read if data}

    def read_data(self, project_id: str, data_id: str) -> IcaData | None:
        """A file or folder by its id, as it is now: lists may lag behind. None where ICA has none of that id."""
        operation = self._data.get_project_data_without_preload_content
        try:
            answer = self._call(operation, project_id=project_id, data_id=data_id)
        except IcaRefused as error:
            if error.http_status != 404:
                raise
            return None
        if not (data := _data(answer, self._ica_clock)):
            raise IcaUnavailable(f"ICA's answer about {data_id} has no id or no path")
        return data

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | IcaError | None]:
        """The ids of these folders, creating them and their parents; None for the project's root.

        In place of a folder that is not to be had stands why: ``IcaRefused`` where it cannot be made,
        ``IcaUnavailable`` where it may be had later.

        Two launches that create the same folder at the same moment end with one: parents first, each folder under an
        idempotency key that is made of its path, and what counts is what is there afterwards. For a conflict (409) can
        mean that the folder exists, is being created or is being changed, and the reply to a key that was used before
        may be days old, for a folder that has been deleted since.
        """
        wanted = list(dict.fromkeys(folders))
        remembered = self._from_memory(project_id, wanted)
        lineage = dict.fromkeys(path for folder in wanted if folder not in remembered for path in _lineage(folder))
        known: dict[str, IcaData | IcaError] = {**self._folders_there(project_id, lineage)}
        missing = sorted((path for path in lineage if path not in known), key=_depth)
        for _, level in groupby(missing, key=_depth):
            parents = {path: known.get(parent_path(path)) for path in level}
            known |= {path: parent for path, parent in parents.items() if isinstance(parent, IcaError)}
            known |= self._make_folders(
                project_id,
                {
                    path: parent.path if parent else "/"
                    for path, parent in parents.items()
                    if not isinstance(parent, IcaError)
                },
            )
        self._remember(project_id, {path: folder for path, folder in known.items() if isinstance(folder, IcaData)})
        known |= remembered
        ids: dict[str, str | IcaError | None] = {"/": None}
        ids |= {path: found if isinstance(found, IcaError) else found.data_id for path, found in known.items()}
        return {folder: ids[folder] for folder in wanted}

    def _folders_there(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The folders at these paths. Below one of them that is not there, nothing is looked for."""
        wanted = sorted(paths, key=_depth)
        lineage = set(wanted)
        asked = self._asked(project_id, wanted)
        found = _matched(wanted, [data for data in asked if data.status != "DELETING"])
        missing = [path for path in wanted if path not in found]
        for _, level in groupby(missing, key=_depth):
            below_some = [path for path in level if (above := parent_path(path)) in found or above not in lineage]
            listed = self._listed(project_id, below_some)
            found |= _matched(below_some, [data for data in listed if data.status != "DELETING"])
        return found

    def _make_folders(self, project_id: str, places: Mapping[str, str]) -> dict[str, IcaData | IcaError]:
        """Create folders of one depth, each with the path of its parent as ICA has it; or why that cannot be done.

        A folder that ICA does not make, nor show, is tried ``len(FOLDER_PAUSES) + 1`` times.
        """
        made: dict[str, IcaData | IcaError] = {}
        replaced: dict[str, list[str]] = {path: [] for path in places}
        pauses = iter(FOLDER_PAUSES)
        while left := [path for path in places if path not in made]:
            outcomes = self._create_folders(project_id, {path: places[path] for path in left}, replaced)
            made |= {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, IcaError)}
            ids = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, str)}
            there = self._read_back(project_id, ids.values())
            made |= {path: there[data_id] for path, data_id in ids.items() if data_id in there}
            stale = {path: data_id for path, data_id in ids.items() if data_id not in there}
            for path, data_id in stale.items():
                replaced[path].append(data_id)
            made |= self._folders_there(project_id, [path for path in left if path not in made and path not in stale])
            left = [path for path in left if path not in made]
            if all(len(replaced[path]) < MOST_REPLACED for path in stale) and stale.keys() >= set(left):
                continue
            pause = next(pauses, None)
            if pause is None or self._seconds_left() < pause + READ_SECONDS:
                return made | {path: self._trouble_with_folder(project_id, path) for path in left}
            self._sleep(pause)
            made |= self._folders_there(project_id, left)  # else what has come meanwhile is made again
        return made

    def _create_folders(
        self, project_id: str, places: Mapping[str, str], replaced: Mapping[str, Sequence[str]]
    ) -> dict[str, str | IcaError | None]:
        """The id of each, None where there was a conflict, or the trouble there was with it."""
        outage: list[IcaError] = []

        def create(path: str) -> str | IcaError | None:
            if outage:  # another has tried long enough
                return outage[0]
            try:
                return self._create_folder(project_id, path, places[path], replaced[path])
            except IcaUnavailable as error:
                if error.http_status == 409:
                    return None
                outage.append(error)
                return error
            except IcaRefused as error:
                return error

        return dict(zip(places, self._spread(create, list(places)), strict=True))

    def _create_folder(self, project_id: str, path: str, parent: str, replaced: Sequence[str]) -> str:
        """Create one folder in its parent; its id. ``replaced`` are its earlier ids, which make for another key."""
        name, earlier = nfc(_name(path)), replaced[-1] if replaced else ""
        key = str(uuid5(NAMESPACE_URL, f"icav2-copy-batch/{project_id}{parent}{name}/#{earlier}"))
        answer = self._call(
            self._data.create_folder_without_preload_content,
            project_id=project_id,
            create_folder=CreateFolder(name=name, folderPath=parent),
            idempotency_key=key,
            conflict_is_answer=True,
        )
        return _text(answer, "data", "id")

    def _read_back(self, project_id: str, folder_ids: Iterable[str]) -> dict[str, IcaData]:
        """Folders that ICA says it has just created, by their ids; those are left out that it has no more.

        Lists may lag behind, so that what they do not show is read by itself, and once more after a while.
        """
        wanted = list(folder_ids)
        found = self._shown_by_ids(project_id, wanted)
        found |= self._read_each(project_id, wanted, found)
        if found.keys() < set(wanted):
            self._wait(REREAD_SECONDS, IcaUnavailable("a folder was created, but cannot be read"))
            found |= self._read_each(project_id, wanted, found)
        return {data_id: data for data_id, data in found.items() if data.status != "DELETING"}

    def _trouble_with_folder(self, project_id: str, path: str) -> IcaError:
        """Why a folder is not to be had: for good where something else of its name is there."""
        try:
            rows = self._named(project_id, path)
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

    def delete_data(self, project_id: str, data_ids: Iterable[str]) -> None:
        """Have these PARTIAL files deleted, which takes ICA a while; one that is gone already is as good as deleted.

        Lists may be behind: each is read by its id first, and one that is whole by now is let be.
        """
        self._spread(lambda data_id: self._delete(project_id, data_id), list(data_ids))

    def _delete(self, project_id: str, data_id: str) -> None:
        now = self.read_data(project_id, data_id)
        if now is None or now.status != "PARTIAL":
            return
        try:
            self._call(
                self._data.delete_data_without_preload_content,
                project_id=project_id,
                data_id=data_id,
                _headers={"Content-Type": MEDIA_TYPE},
            )
        except IcaRefused as error:
            if error.http_status != 404:  # 404: gone already
                raise

    def _list_data(self, project_id: str, **filters: Any) -> Iterator[IcaData]:
        return (data for page in self._data_pages(project_id, **filters) for data in page)

    def _data_pages(self, project_id: str, **filters: Any) -> Iterator[list[IcaData]]:
        """The pages of a listing. That a folder is not there, which ICA may say by a 404, is an empty one."""
        pages = self._pages(self._data.get_project_data_list_without_preload_content, project_id=project_id, **filters)
        try:
            page: list[dict[str, Any]] | None = next(pages)
        except IcaRefused as error:
            if error.http_status != 404 or not self._is_project(project_id):
                raise
            return
        while page is not None:
            yield [data for item in page if (data := _data(item, self._ica_clock))]
            page = next(pages, None)

    # --- copying -----------------------------------------------------------------------------------------------------

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch:
        """Start to copy data into a folder of a project. Not to be repeated after ``IcaAnswerLost``.

        Raises ``IcaRefusedBatch`` where fewer data may be taken.
        """
        batch = CreateProjectDataCopyBatch(
            items=[CreateProjectDataCopyBatchItem(dataId=data_id) for data_id in data_ids],
            destinationFolderId=folder_id,
            actionOnExist=options.action_on_exist,
            copyUserTags=options.copy_user_tags,
            copyTechnicalTags=options.copy_technical_tags,
            copyInstrumentInfo=options.copy_instrument_info,
        )
        try:
            answer = self._call(
                self._batches.create_project_data_copy_batch_without_preload_content,
                project_id=project_id,
                create_project_data_copy_batch=batch,
                repeatable=False,
            )
        except IcaRefused as error:
            if not self._told_from_memory.isdisjoint([folder_id, *data_ids]):
                self._remembered.clear()
                raise IcaUnavailable(f"{error}; what was looked up some minutes ago is looked up anew") from None
            if error.http_status in (400, 413, 422) and len(data_ids) > 1:
                hint = f"it was to copy {len(data_ids)} sources; if these are too many, set MaxSourcesPerJob lower"
                raise IcaRefusedBatch(f"{error} ({hint})", http_status=error.http_status) from None
            raise
        try:
            return StartedCopyBatch(batch_id=_text(answer, "id"), job_id=_text(answer, "job", "id"))
        except IcaUnavailable as error:
            raise IcaAnswerLost(f"the copy batch was started, but the answer cannot be read: {error}") from None

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]:
        """These jobs, by id; one that ICA does not have, or that cannot be read, is left out.

        One is asked for by its id. More are looked for in the list of all jobs, newest first, for as long as that
        promises fewer calls. Those that are not seen there are asked for by their ids, ``MOST_ASKED_SINGLY`` at a
        time: of more, the others at the next time.
        """
        found: dict[str, IcaJob] = {}
        wanted, rows = set(ica_job_ids), 0
        while len(wanted) > 1 and rows < max(len(wanted) // JOBS_WORTH_A_PAGE, 1) * int(PAGE_SIZE):
            try:
                page = self._jobs_from(rows, tries=TRIES_OF_THE_JOB_LIST)
            except IcaError as error:
                if error.is_throttling:
                    raise
                break  # a single job may be read nevertheless
            found |= {job.job_id: job for job in page.jobs if job.job_id in wanted}
            rows += page.rows
            if len(found) == len(wanted) or page.is_last:
                break
        left = sorted(wanted - found.keys())
        if len(left) > MOST_ASKED_SINGLY:
            turn = self._jobs_asked_singly % len(left)
            left = [*left[turn:], *left[:turn]][:MOST_ASKED_SINGLY]
            self._jobs_asked_singly += MOST_ASKED_SINGLY
        troubles: list[IcaUnavailable] = []

        def ask(job_id: str) -> None:
            if troubles and (troubles[0].is_throttling or (len(troubles) > 1 and not found)):
                return  # it is ICA, and not one job that cannot be read
            try:
                answer = self._call(self._jobs.get_job_without_preload_content, job_id=job_id)
                found[job_id] = _job(answer, self._ica_clock)
            except IcaRefused:
                pass
            except IcaUnavailable as error:
                troubles.insert(0 if error.is_throttling else len(troubles), error)

        self._spread(ask, left)
        if troubles and (not found or troubles[0].is_throttling):
            raise troubles[0]
        return found

    def recent_jobs(self, since: str) -> list[IcaJob]:
        """All jobs that ICA has created since a moment (by our clock), and all of which it cannot be told when.

        The list is asked for newest first. That it is sorted so is seen from each page before it is believed.
        """
        found: dict[str, IcaJob] = {}
        rows = 0
        while True:
            page = self._jobs_from(rows)
            # A job that comes into being meanwhile moves the others on: some are then listed twice.
            found |= {job.job_id: job for job in page.jobs if job.created_at is None or job.created_at >= since}
            rows += page.rows
            if page.is_last or page.ends_before(since):
                return list(found.values())

    def copy_batch_folder(self, project_id: str, batch_id: str) -> str | None:
        """The id of the folder that a copy batch of a project copies into; None where ICA does not say.

        Raises ``IcaRefused`` where the project has no such copy batch.
        """
        answer = self._call(
            self._batches.get_project_data_copy_batch_without_preload_content, project_id=project_id, batch_id=batch_id
        )
        folder_id = answer.get("destinationFolderId")
        return folder_id if isinstance(folder_id, str) else None

    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]:
        """The sources of a copy batch, each with what has become of it."""
        items = self._rows(
            self._batches.get_project_data_copy_batch_items_without_preload_content,
            project_id=project_id,
            batch_id=batch_id,
        )
        return [
            CopyBatchItem(
                data_id=_text(item, "request", "dataId"),
                status=_text(item, "processing", "status"),
                reason=item["processing"].get("additionalStatusInformation"),
                created=_data(item.get("createdProjectData") or {}, self._ica_clock),
            )
            for item in items
        ]

    def _jobs_from(self, offset: int, tries: int = MAX_TRIES) -> JobsPage:
        """A page of the list of all jobs, newest first. It can be sorted only with offset paging."""
        answer = self._call(
            self._jobs.get_jobs_without_preload_content,
            sort="timeCreated desc",
            page_size=PAGE_SIZE,
            page_offset=str(offset),
            tries=tries,
        )
        rows, total = answer.get("items"), answer.get("totalItemCount")
        if not isinstance(rows, list):
            raise IcaUnavailable("ICA answered with a page that has no items")
        following = offset + len(rows)
        return JobsPage(
            jobs=[_job(row, self._ica_clock) for row in rows if row.get("id") and row.get("status")],
            rows=len(rows),
            # A page may be shorter than asked for without being the last.
            is_last=not rows or following == total or following + int(PAGE_SIZE) > MAX_OFFSET_ROWS,
        )

    # --- calling -----------------------------------------------------------------------------------------------------

    def _rows(self, operation: Callable[..., Any], **parameters: Any) -> Iterator[dict[str, Any]]:
        return (row for page in self._pages(operation, **parameters) for row in page)

    def _pages(
        self, operation: Callable[..., Any], page_size: str = "", **parameters: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list, which may be shorter than asked for, or empty, and are not the last for that."""
        page_token = ""
        seen = {page_token}
        while True:
            page = self._call(operation, page_size=page_size or PAGE_SIZE, page_token=page_token, **parameters)
            if not isinstance(page.get("items"), list):
                raise IcaUnavailable("ICA answered with a page that has no items")
            yield page["items"]
            page_token = page.get("nextPageToken") or ""
            if not page_token:
                return
            if page_token in seen:
                raise IcaUnavailable("ICA's list leads back to a page that was read")
            seen.add(page_token)
            if self._seconds_left() < MAX_WAIT_SECONDS + READ_SECONDS:
                raise IcaUnavailable("too little time was left to read a list to its end")

    def _call(
        self,
        operation: Callable[..., Any],
        *,
        repeatable: bool = True,
        conflict_is_answer: bool = False,
        tries: int = MAX_TRIES,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Call, and call again with jittered backoff what may be repeated, inside the time that is left.

        What a failure is taken for stands in ``CONSEQUENCES``. With ``conflict_is_answer`` a 409 is not tried again.
        """

        def fault(failure: CallFailure, message: str, **details: Any) -> IcaError:
            consequence = CONSEQUENCES[failure][0 if repeatable else 1]
            return consequence(message, **details)

        def worth_another_try(error: BaseException) -> bool:
            answered = conflict_is_answer and isinstance(error, IcaError) and error.http_status == 409
            return isinstance(error, IcaUnavailable) and not answered

        seconds_needed = READ_SECONDS if repeatable else SECONDS_TO_START

        def in_turn() -> dict[str, Any]:
            with self._pacing.turn(seconds_needed) if self._pacing else nullcontext():
                return self._call_once(operation, fault, **parameters)

        retrying = Retrying(
            retry=retry_if_exception(worth_another_try),
            wait=lambda state: 0.0 if self._is_paced(state) else _wait_as_told(state),
            stop=lambda state: (
                state.attempt_number >= (MAX_PACED_TRIES if self._is_paced(state) else min(tries, self._tries))
                or self._seconds_left() < MAX_WAIT_SECONDS + seconds_needed
            ),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(in_turn)

    def _call_once(self, operation: Callable[..., Any], fault: Fault, **parameters: Any) -> dict[str, Any]:
        status, headers, body = self._send(operation, fault, self._token(), **parameters)
        if status == 401:  # the token may have been rotated since it was cached
            status, headers, body = self._send(operation, fault, self._token(fresh=True), **parameters)
        if 200 <= status < 300:
            return _object(body, fault)
        problem = _problem(body)
        message = _message(status, problem)
        if status == 401:
            logger.error(TOKEN_REFUSED, extra={"reason": message})
        raise fault(
            failure_of(status, is_problem=problem is not None),
            message,
            http_status=status,
            retry_after=_retry_after(headers),
        )

    def _token(self, *, fresh: bool = False) -> str:
        try:
            return bare_token(self._tokens.token(fresh=fresh))  # http.client quotes a header that it does not take
        except Exception as error:
            logger.exception(TOKEN_REFUSED)
            raise IcaUnavailable(f"the token for ICA cannot be read: {error}") from error

    def _send(
        self, operation: Callable[..., Any], fault: Fault, token: str, **parameters: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": MEDIA_TYPE, "Accept-Encoding": "gzip", **parameters.pop("_headers", {})}
        bearer = {"type": "bearer", "in": "header", "key": "Authorization", "value": f"Bearer {token}"}
        connecting = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
        try:
            sent_at = self._clock()
            until = self._monotonic() + CONNECT_SECONDS + READ_SECONDS
            response = operation(
                **parameters, _headers=headers, _request_auth=bearer, _request_timeout=(CONNECT_SECONDS, READ_SECONDS)
            )
            self._ica_clock.measure(response.getheaders(), sent_at)
            # Errors quote ICA's answer; should that, or a proxy's, quote what was sent, it does not get any further.
            body = self._body(response, until).replace(token.encode(), b"(the token)")
            return response.status, response.getheaders(), body
        except connecting as error:
            raise fault(CallFailure.NOT_REACHED, f"ICA cannot be reached: {error}") from None
        except urllib3.exceptions.MaxRetryError as error:
            failure = CallFailure.NOT_REACHED if isinstance(error.reason, connecting) else CallFailure.NO_ANSWER
            raise fault(failure, f"ICA did not answer: {error.reason}") from None
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:  # libica has its own for TLS
            raise fault(CallFailure.NO_ANSWER, f"ICA's answer did not arrive: {error}") from None
        except ValidationError as error:  # libica's, before anything is sent: an id that is none, say
            raise fault(CallFailure.REFUSED, f"not a request to ICA: {error.errors()[0]['msg']}") from None
        except ValueError as error:  # http.client's, whose message can quote a whole header, and so the token
            raise fault(CallFailure.NO_ANSWER, f"ICA's answer did not arrive: {type(error).__name__}") from None

    def _body(self, response: urllib3.HTTPResponse, until: float) -> bytes:
        """The body of an answer. The time-outs are of each wait for some bytes: all of them together have theirs."""
        parts = []
        is_late = False
        while part := response.read1(BYTES_AT_ONCE):
            parts.append(part)
            if is_late:
                response.close()
                raise urllib3.exceptions.ProtocolError("it came too slowly")
            is_late = self._monotonic() > until  # if this was the last part, it has come nevertheless
        return b"".join(parts)

    def _is_paced(self, state: RetryCallState) -> bool:
        """Whether a call that ICA refused with 429 waits for its turn before it is made again."""
        error = state.outcome.exception() if state.outcome else None
        return bool(self._pacing) and isinstance(error, IcaError) and error.is_throttling

    def _wait(self, seconds: float, otherwise: IcaUnavailable) -> None:
        """Let ICA finish something it is doing, or raise when there is no time left for that."""
        if self._seconds_left() < seconds + READ_SECONDS:
            raise otherwise
        self._sleep(seconds)


def _wait_as_told(state: RetryCallState) -> float:
    """Full jitter between 0 and an exponentially growing limit; longer where ICA says how long."""
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after if isinstance(error, IcaUnavailable) else None
    jittered = wait_random_exponential(multiplier=0.5, max=MAX_WAIT_SECONDS)(state)
    return max(jittered, min(told or 0.0, MAX_WAIT_SECONDS))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers.get("Retry-After", ""))
    except ValueError:
        return None


def _object(body: bytes, fault: Fault) -> dict[str, Any]:
    if not body:
        return {}
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise fault(CallFailure.UNREADABLE, f"ICA answered with something that is not JSON: {body[:80]!r}")
    return answer


def _text(answer: Mapping[str, Any], *keys: str) -> str:
    value: Any = answer
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise IcaUnavailable(f"ICA's answer has no {'.'.join(keys)}")
    return value


def _data(answer: Mapping[str, Any], clock: IcaClock) -> IcaData | None:
    """A file or folder as ICA shows it; None where its id or its path is missing."""
    data = answer.get("data") or {}
    details = data.get("details") or {}
    if not data.get("id") or not details.get("path"):
        return None
    return IcaData(
        data_id=data["id"],
        path=details["path"],
        status=details.get("status", ""),
        size=details.get("fileSizeInBytes"),
        etag=details.get("objectETag"),
        created_at=clock.ours(details.get("timeCreated")),
    )


def _job(answer: Mapping[str, Any], clock: IcaClock) -> IcaJob:
    return IcaJob(
        job_id=_text(answer, "id"),
        status=_text(answer, "status"),
        reason=answer.get("additionalStatusInformation"),
        created_at=clock.ours(answer.get("timeCreated")),
        subject_id=answer.get("subjectId"),
        subject_type=answer.get("subjectType"),
        project_id=(answer.get("project") or {}).get("id"),
    )


def _problem(body: bytes) -> Mapping[str, Any] | None:
    """The Problem document, of which each failure that ICA itself tells of consists; None for anything else."""
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and problem.get("title") else None


def _message(status: int, problem: Mapping[str, Any] | None) -> str:
    if problem is None:
        return f"ICA answered {status} (not a Problem document)"
    return " ".join([f"ICA answered {status}", *(str(problem[key]) for key in ("title", "detail") if problem.get(key))])


def _may_be_the_url(error: IcaError) -> bool:
    """Whether a call may have failed because its URL was too long; proxies say that in many ways."""
    if isinstance(error, IcaRefused):
        return error.http_status in (400, 413, 414, 431)
    return error.http_status not in (401, 409, 425, 429)


def _below(folder: str) -> dict[str, Any]:
    """The filter of a listing for all that lies below a folder, however deep. ICA's prefix has no regard to case."""
    return {"file_path": [folder], "file_path_match_mode": "STARTS_WITH_CASE_INSENSITIVE"}


def _respelled(data: IcaData, folder: str) -> IcaData | None:
    """Data with its path spelled like that of a folder it is in, and in NFC below; None if it is not in it."""
    path, above = nfc(data.path), nfc(folder)
    if not path.startswith(above):
        return None
    path = folder + path[len(above) :]
    return data if path == data.path else replace(data, path=path)


def _spellings(path: str) -> list[str]:
    """A path in each Unicode form that ICA may have stored it in."""
    if path.isascii():
        return [path]
    return list(dict.fromkeys([path, nfc(path), unicodedata.normalize("NFD", path)]))


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _bytes_of(values: Iterable[str]) -> int:
    """How much of a URL these values of a repeated parameter take."""
    return sum(len("&filePath=") + len(quote(value)) for value in values)


def _portions(values: Iterable[str], most: int) -> Iterator[list[str]]:
    """Values in portions of at most so many bytes of a URL, or of one value."""
    portion: list[str] = []
    size = 0
    for value in values:
        value_size = _bytes_of([value])
        if portion and size + value_size > most:
            yield portion
            portion, size = [], 0
        portion.append(value)
        size += value_size
    if portion:
        yield portion


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Folder → the paths in it, in order."""
    inside: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        inside[parent_path(path)].append(path)
    return inside


def _lineage(folder: str) -> list[str]:
    """A folder and the folders it lies in, the root left out: ``/a/``, ``/a/b/`` for ``/a/b/``."""
    lineage = []
    while folder != "/":
        lineage.append(folder)
        folder = parent_path(folder)
    return lineage[::-1]


def _depth(path: str) -> int:
    return path.count("/")


def _matched(paths: Iterable[str], found: Iterable[IcaData]) -> dict[str, IcaData]:
    """What was found at each of these paths, first of all in its very spelling, else in another Unicode form.

    Where several data have one path (one of them being deleted, say), an AVAILABLE one, and always the same.
    """
    ordered = sorted(found, key=lambda data: (data.status == "AVAILABLE", data.data_id))
    exactly = {data.path: data for data in ordered}
    alike = {nfc(data.path): data for data in ordered}
    return {path: data for path in paths if (data := exactly.get(path) or alike.get(nfc(path)))}
