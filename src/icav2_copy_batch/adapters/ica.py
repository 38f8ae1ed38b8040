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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, Protocol
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import urllib3
from pydantic import ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from icav2_copy_batch.adapters.ica_clock import IcaClock
from icav2_copy_batch.adapters.libica_light import (
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
    IcaUnavailable,
    StartedCopyBatch,
    failure_of,
)
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.manifest import CopyOptions
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.token import bare_token
from icav2_copy_batch.domain.uri import is_project_id, parent_path

MEDIA_TYPE = "application/vnd.illumina.v3+json"
PAGE_SIZE = "1000"
"""The largest that any client is known to send."""
JOBS_WORTH_A_PAGE = 4
"""For each so many jobs another page of the list is looked through before they are asked for one by one."""
MAX_OFFSET_ROWS = 200_000
"""ICA gives no rows beyond this by offset."""
INCOMPLETE = ("PARTIAL", "DELETING")
"""Statuses of a file that is there and is none, which SKIP may take for one."""
MAX_QUERY_BYTES = 7000
"""Of the encoded paths in one URL; with the rest of it well below 8 KB."""
CONNECT_SECONDS, READ_SECONDS = 3.0, 20.0
MAX_TRIES = 6
MAX_WAIT_SECONDS = 10.0
REMEMBERED_SECONDS = 300.0
"""How long a container remembers projects by name, folders, and sources."""
MOST_REMEMBERED = 100_000


TOKEN_REFUSED = "ICA does not take the token"  # noqa: S105
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


class TokenSource(Protocol):
    def token(self, *, fresh: bool = False) -> str:
        """The JWT; ``fresh`` passes over any cache."""


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
    ) -> None:
        """``base_url`` ends in ``/ica/rest``; ``seconds_left`` says how long this invocation may still take.

        ``spread`` makes the calls that need not wait for each other. ``wire`` carries the requests in place of libica's
        ``RESTClientObject`` and its connection pool.
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
        self._ica_clock = IcaClock(clock)
        self._project_ids: dict[str, tuple[str, float]] = {}
        self._remembered: dict[tuple[str, str], tuple[IcaData, float]] = {}
        self._told_from_memory: set[str] = set()
        """Ids that may not be true any more, until they are found by a look."""
        self._several_paths_are_taken = False
        """Whether ICA has been seen to answer for several paths in one call."""

    # --- projects ----------------------------------------------------------------------------------------------------

    def project_id(self, project: str) -> str:
        """The id of a project given by id or by its exact name."""
        if is_project_id(project):
            return project.lower()
        known = self._project_ids.get(project)
        if known and known[1] > self._monotonic():
            return known[0]
        found = self._rows(self._projects.get_projects_without_preload_content, search=project)
        ids = {item["id"] for item in found if item.get("name") == project}
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

    # --- data --------------------------------------------------------------------------------------------------------

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The data at these exact paths; a path where nothing is, is left out. A folder's path ends in a slash."""
        wanted = list(dict.fromkeys(paths))
        listed, asked = _cheaper_way(wanted)
        found = _by_path(self._data_in_folders(project_id, listed) + self._data_at_paths(project_id, asked))
        # Many paths in one call is what the API's document allows and no client is known to do, and a linked folder
        # cannot be listed. So what was not found in one way is looked for in the other, before anybody is told that
        # it is not there.
        missing = set(wanted) - found.keys()
        again = self._data_at_paths(project_id, [path for path in listed if path in missing])
        return found | _by_path(again + self._data_in_folders(project_id, [path for path in asked if path in missing]))

    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """As ``find``, for what nobody changes while it is copied: what was AVAILABLE some minutes ago still is."""
        wanted = list(dict.fromkeys(paths))
        known = self._from_memory(project_id, wanted)
        fresh = self.find(project_id, [path for path in wanted if path not in known])
        self._remember(project_id, fresh.values())
        return known | fresh

    def _from_memory(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        now = self._monotonic()
        known = {path: self._remembered.get((project_id, path)) for path in paths}
        found = {path: entry[0] for path, entry in known.items() if entry and entry[1] > now}
        self._told_from_memory |= {data.data_id for data in found.values()}
        return found

    def _remember(self, project_id: str, fresh: Iterable[IcaData]) -> None:
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.clear()
        until = self._monotonic() + REMEMBERED_SECONDS
        for data in fresh:
            self._told_from_memory.discard(data.data_id)
            if data.status == "AVAILABLE":
                self._remembered[project_id, data.path] = (data, until)

    def _data_in_folders(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """All data at these paths, from listings of their folders."""
        found = []
        for folder, wanted in _by_folder(paths).items():
            # In a folder of very many files, a few are asked for by their paths.
            most = len(list(_portions(wanted))) * int(PAGE_SIZE) if self._several_paths_are_taken else None
            listed = list(islice(self._list_data(project_id, parent_folder_path=folder), most))
            missing = set(wanted)
            here = [data for data in listed if data.path in missing]
            if len(listed) == most:
                missing -= {data.path for data in here}
                here += self._data_at_paths(project_id, [path for path in wanted if path in missing])
            found += here
        return found

    def _data_at_paths(self, project_id: str, paths: Iterable[str]) -> list[IcaData]:
        """All data at these paths, from as few questions as take them all."""
        return [data for portion in _portions(paths) for data in self._data_at_once(project_id, portion)]

    def _data_at_once(self, project_id: str, paths: Sequence[str]) -> list[IcaData]:
        wanted = set(paths)
        try:
            pages = self._list_data(project_id, file_path=list(paths), file_path_match_mode="FULL_CASE_INSENSITIVE")
            found = [data for data in pages if data.path in wanted]
        except IcaRefused as error:
            if error.http_status not in (400, 414) or len(paths) == 1:
                raise
            middle = len(paths) // 2
            return self._data_at_once(project_id, paths[:middle]) + self._data_at_once(project_id, paths[middle:])
        if len({data.path for data in found}) > 1:
            self._several_paths_are_taken = True
        return found

    def list_folder(self, project_id: str, folder: str) -> list[IcaData]:
        """What lies directly in a folder; nothing when there is no such folder."""
        listed = self._list_data(project_id, parent_folder_path=folder)
        return [data for data in listed if parent_path(data.path) == folder]

    def list_tree(self, project_id: str, folder: str) -> list[IcaData]:
        """All files below a folder."""
        return [data for page in self.tree_pages(project_id, folder) for data in page]

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        """All files below a folder, a page at a time: each page is one call, made when it is asked for.

        A page may be empty, and others follow.
        """
        for page in self._data_pages(project_id, **_below(folder), type="FILE"):
            yield [data for data in page if data.path.startswith(folder)]

    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]:
        """The files in a folder that are PARTIAL or DELETING; with ``recursive``, those in the folders below too."""
        where: dict[str, Any] = _below(folder) if recursive else {"parent_folder_path": folder}
        return [
            data
            for data in self._list_data(project_id, **where, type="FILE", status=list(INCOMPLETE))
            if data.status in INCOMPLETE
            and (data.path.startswith(folder) if recursive else parent_path(data.path) == folder)
        ]

    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        """The data of a project that have these ids, whatever their paths are now; an id that is gone is left out.

        Many are asked for in one call. Where that finds one of several at most, each other is read by itself.
        """
        found: dict[str, IcaData] = {}
        wanted = list(dict.fromkeys(data_ids))
        for ids in _portions(wanted, "id"):
            here = {data.data_id: data for data in self._list_data(project_id, id=ids)}
            here = {data_id: here[data_id] for data_id in ids if data_id in here}
            missing = [data_id for data_id in ids if data_id not in here]
            if len(here) <= 1:
                # Either these are gone, or ICA has looked at one of the ids alone.
                read = self._spread(lambda data_id: self.read_data(project_id, data_id), missing)
                here |= {data.data_id: data for data in read if data}
            found |= here
        return found

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

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | None]:
        """The ids of these folders, creating them and their parents; None for the project's root.

        Two launches that create the same folder at the same moment end with one: parents first, each folder under an
        idempotency key that is made of its path, and what counts is what a look finds afterwards. The look is needed:
        a conflict (409) can mean that the folder exists, is being created or is being changed, and the reply to a
        key that was used before may be days old, for a folder that has been deleted since.
        """
        wanted = list(dict.fromkeys(folders))
        remembered = self._from_memory(project_id, wanted)
        lineage = dict.fromkeys(path for folder in wanted if folder not in remembered for path in _lineage(folder))
        known = self._folders_there(project_id, lineage)
        stale: dict[str, str] = {}
        while missing := sorted((path for path in lineage if path not in known), key=_depth):
            created: dict[str, str | None] = {}
            for _, level in groupby(missing, key=_depth):
                created |= self._create_folders(project_id, list(level), created, stale)
            known |= self._folders_there(project_id, missing)
            unseen = {path: folder_id for path, folder_id in created.items() if path not in known}
            if unseen:
                if unseen.items() <= stale.items() or None in unseen.values():
                    self._wait(1.0, IcaUnavailable(f"folder {next(iter(unseen))} is not there yet"))
                    known |= self._folders_there(project_id, missing)  # else what has come meanwhile is made again
                stale |= {path: folder_id for path, folder_id in unseen.items() if folder_id}
        self._remember(project_id, known.values())
        known |= remembered
        return {folder: known[folder].data_id if folder != "/" else None for folder in wanted}

    def _folders_there(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """As ``find``: to make a folder that is there could make a second one of its path."""
        wanted = set(paths)
        found = self._data_at_paths(project_id, sorted(wanted))
        if not self._several_paths_are_taken:
            there = {data.path for data in found}
            for parent in dict.fromkeys(map(parent_path, sorted(wanted, key=_depth))):
                if parent == "/" or parent in there:
                    listed = [data for data in self.list_folder(project_id, parent) if data.path in wanted]
                    there |= {data.path for data in listed}
                    found += listed
        return _by_path(data for data in found if data.status != "DELETING")

    def _create_folders(
        self, project_id: str, paths: Sequence[str], above: Mapping[str, str | None], stale: Mapping[str, str]
    ) -> dict[str, str | None]:
        """Create folders of one depth; their ids, None where there was a conflict."""

        def create(path: str) -> str | None:
            # Below a folder that somebody else is creating, nothing is created: ICA would make that folder too.
            held_up = above.get(parent_path(path), "") is None
            return None if held_up else self._create_folder(project_id, path, stale.get(path, ""))

        return dict(zip(paths, self._spread(create, paths), strict=True))

    def _create_folder(self, project_id: str, path: str, stale_id: str) -> str | None:
        """Create one folder in its parent; its id, or None after a conflict. ``stale_id`` makes for another key."""
        key = str(uuid5(NAMESPACE_URL, f"icav2-copy-batch/{project_id}{path}#{stale_id}"))
        body = CreateFolder(name=path.rstrip("/").rpartition("/")[2], folderPath=parent_path(path))
        try:
            answer = self._call(
                self._data.create_folder_without_preload_content,
                project_id=project_id,
                create_folder=body,
                idempotency_key=key,
                conflict_is_answer=True,
            )
        except IcaUnavailable as error:
            if error.http_status != 409:
                raise
            return None
        return _text(answer, "data", "id")

    def delete_data(self, project_id: str, data_ids: Iterable[str]) -> None:
        """Have these files deleted, which takes ICA a while; one that is gone already is as good as deleted."""
        self._spread(lambda data_id: self._delete(project_id, data_id), list(data_ids))

    def _delete(self, project_id: str, data_id: str) -> None:
        try:
            self._call(
                self._data.delete_data_without_preload_content,
                project_id=project_id,
                data_id=data_id,
                _headers={"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE},
            )
        except IcaRefused as error:
            if error.http_status != 404:  # 404: gone already
                raise

    def _list_data(self, project_id: str, **filters: Any) -> Iterator[IcaData]:
        return (data for page in self._data_pages(project_id, **filters) for data in page)

    def _data_pages(self, project_id: str, **filters: Any) -> Iterator[list[IcaData]]:
        operation = self._data.get_project_data_list_without_preload_content
        for page in self._pages(operation, project_id=project_id, **filters):
            yield [data for item in page if (data := _data(item, self._ica_clock))]

    # --- copying -----------------------------------------------------------------------------------------------------

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch:
        """Start to copy data into a folder of a project. Not to be repeated after ``IcaAnswerLost``."""
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
            if self._told_from_memory.isdisjoint([folder_id, *data_ids]):
                raise
            self._remembered.clear()
            raise IcaUnavailable(f"{error}; what was looked up some minutes ago is looked up anew") from None
        try:
            return StartedCopyBatch(batch_id=_text(answer, "id"), job_id=_text(answer, "job", "id"))
        except IcaUnavailable as error:
            raise IcaAnswerLost(f"the copy batch was started, but the answer cannot be read: {error}") from None

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]:
        """These jobs, by id; one that ICA does not have, or that cannot be read, is left out.

        One is asked for by its id. More are looked for in the list of all jobs, newest first, for as long as that
        promises fewer calls.
        """
        found: dict[str, IcaJob] = {}
        wanted, rows = set(ica_job_ids), 0
        while len(wanted) > 1 and rows < max(len(wanted) // JOBS_WORTH_A_PAGE, 1) * int(PAGE_SIZE):
            try:
                page = self._jobs_from(rows)
            except IcaRefused:
                break
            found |= {job.job_id: job for job in page.jobs if job.job_id in wanted}
            rows += page.rows
            if len(found) == len(wanted) or page.is_last:
                break
        for job_id in sorted(wanted - found.keys()):
            try:
                answer = self._call(self._jobs.get_job_without_preload_content, job_id=job_id)
                found[job_id] = _job(answer, self._ica_clock)
            except IcaRefused:
                continue
            except IcaUnavailable as error:
                if error.is_throttling or not found:
                    raise  # else it is this job alone that cannot be read
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

    def _jobs_from(self, offset: int) -> JobsPage:
        """A page of the list of all jobs, newest first. It can be sorted only with offset paging."""
        answer = self._call(
            self._jobs.get_jobs_without_preload_content,
            sort="timeCreated desc",
            page_size=PAGE_SIZE,
            page_offset=str(offset),
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

    def _pages(self, operation: Callable[..., Any], **parameters: Any) -> Iterator[list[dict[str, Any]]]:
        page_token = ""
        while True:
            page = self._call(operation, page_size=PAGE_SIZE, page_token=page_token, **parameters)
            if not isinstance(page.get("items"), list):
                raise IcaUnavailable("ICA answered with a page that has no items")
            yield page["items"]
            page_token = page.get("nextPageToken") or ""
            if not page_token:
                return

    def _call(
        self,
        operation: Callable[..., Any],
        *,
        repeatable: bool = True,
        conflict_is_answer: bool = False,
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

        retrying = Retrying(
            retry=retry_if_exception(worth_another_try),
            wait=_wait_as_told,
            stop=lambda state: self._no_time_or_tries_left(state, READ_SECONDS if repeatable else SECONDS_TO_START),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(lambda: self._call_once(operation, fault, **parameters))

    def _call_once(self, operation: Callable[..., Any], fault: Fault, **parameters: Any) -> dict[str, Any]:
        status, headers, body = self._send(operation, fault, self._token(), **parameters)
        if status == 401:  # the token may have been rotated since it was cached
            status, headers, body = self._send(operation, fault, self._token(fresh=True), **parameters)
        if 200 <= status < 300:
            return _object(body, fault)
        message = _problem_message(status, body)
        if status == 401:
            logger.error(TOKEN_REFUSED, extra={"reason": message})
        raise fault(failure_of(status), message, http_status=status, retry_after=_retry_after(headers))

    def _token(self, *, fresh: bool = False) -> str:
        try:
            return bare_token(self._tokens.token(fresh=fresh))  # http.client quotes a header that it does not take
        except Exception as error:
            logger.exception(TOKEN_REFUSED)
            raise IcaUnavailable(f"the token for ICA cannot be read: {error}") from error

    def _send(
        self, operation: Callable[..., Any], fault: Fault, token: str, **parameters: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept-Encoding": "gzip", **parameters.pop("_headers", {})}
        bearer = {"type": "bearer", "in": "header", "key": "Authorization", "value": f"Bearer {token}"}
        connecting = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
        try:
            sent_at = self._clock()
            response = operation(
                **parameters, _headers=headers, _request_auth=bearer, _request_timeout=(CONNECT_SECONDS, READ_SECONDS)
            )
            self._ica_clock.measure(response.getheaders(), sent_at)
            # Errors quote ICA's answer; should that, or a proxy's, quote what was sent, it does not get any further.
            return response.status, response.getheaders(), response.read().replace(token.encode(), b"(the token)")
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

    def _no_time_or_tries_left(self, state: RetryCallState, seconds_needed: float) -> bool:
        return state.attempt_number >= MAX_TRIES or self._seconds_left() < MAX_WAIT_SECONDS + seconds_needed

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


def _problem_message(status: int, body: bytes) -> str:
    """A sentence out of a Problem; 5xx bodies may be HTML."""
    try:
        problem = json.loads(body)
        said = " ".join(str(problem[key]) for key in ("title", "detail") if problem.get(key))
    except (ValueError, AttributeError, TypeError):
        said = "(not a Problem document)"
    return f"ICA answered {status} {said}".strip()


def _below(folder: str) -> dict[str, Any]:
    """The filter of a listing for all that lies below a folder, however deep. ICA's prefix has no regard to case."""
    return {"file_path": [folder], "file_path_match_mode": "STARTS_WITH_CASE_INSENSITIVE"}


def _portions(values: Iterable[str], parameter: str = "filePath") -> Iterator[list[str]]:
    """Values of a repeated parameter, paths unless said otherwise, in portions that fit into a URL."""
    portion: list[str] = []
    size = 0
    for value in values:
        value_size = len(f"&{parameter}=") + len(quote(value))
        if portion and size + value_size > MAX_QUERY_BYTES:
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


def _cheaper_way(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The paths for which it takes fewer calls to list their folders, and those to ask for by their paths."""
    crowded: list[str] = []
    sparse: list[str] = []
    for inside in _by_folder(paths).values():
        (crowded if len(list(_portions(inside))) > 1 else sparse).extend(inside)
    return crowded, sparse


def _lineage(folder: str) -> list[str]:
    """A folder and the folders it lies in, the root left out: ``/a/``, ``/a/b/`` for ``/a/b/``."""
    lineage = []
    while folder != "/":
        lineage.append(folder)
        folder = parent_path(folder)
    return lineage[::-1]


def _depth(path: str) -> int:
    return path.count("/")


def _by_path(found: Iterable[IcaData]) -> dict[str, IcaData]:
    """Where several data have one path (one of them being deleted, say), an AVAILABLE one, and always the same."""
    ordered = sorted(found, key=lambda data: (data.status == "AVAILABLE", data.data_id))
    return {data.path: data for data in ordered}
