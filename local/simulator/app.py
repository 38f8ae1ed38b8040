"""ICA's REST API over a World: its paths, its filters, its two styles of paging.

What the simulator does not know (a path, a query parameter, a key) it refuses instead of ignoring, so that
a client cannot come to depend on something that was never simulated.
"""

import asyncio
import base64
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.simulator import bodies
from local.simulator.bodies import Json
from local.simulator.gate import BASE, V3, Answer, Handler, Reply, Simulator
from local.simulator.model import (
    BatchRequest,
    ChannelRequest,
    ChannelUpdate,
    DataStatus,
    Datum,
    IcaError,
    ItemStatus,
    Job,
    JobStatus,
    PendingFolder,
    SubscriptionRequest,
    SubscriptionUpdate,
)
from local.simulator.switches import build, json_object
from local.simulator.world import ROOT

MOST_ROWS_BY_OFFSET = 200_000
IDEMPOTENCY_MEMORY = timedelta(days=7)

T = TypeVar("T")


# Reading requests


class Row(Protocol):
    @property
    def serial(self) -> int: ...


R = TypeVar("R", bound=Row)
SortKeys = Mapping[str, Callable[[R], Any]]
Wanted = Callable[[Datum], bool]
"""Whether a file or folder is to be listed."""


def know(request: Request, *names: str) -> None:
    """Refuse query parameters which have no effect here."""
    if unknown := request.query_params.keys() - {*names, "pageSize", "pageToken", "pageOffset"}:
        raise IcaError(400, f"unknown or not simulated: {', '.join(sorted(unknown))}")


def many(request: Request, name: str, choices: Sequence[str] = ()) -> list[str]:
    values = request.query_params.getlist(name)
    for value in values:
        if choices and value not in choices:
            raise IcaError(400, f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return values


def one(request: Request, name: str, choices: Sequence[str] = ()) -> str | None:
    values = many(request, name, choices)
    return values[-1] if values else None


def whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name) or str(default)
    if not text.isdecimal():
        raise IcaError(400, f"{name} must be a whole number, not {text!r}")
    return int(text)


def paged(
    sim: Simulator, request: Request, rows: Iterable[R], render: Callable[[R], Json], keys: SortKeys[R]
) -> Answer:
    """One page of rows, which come oldest first, in whichever of ICA's two styles was asked for."""
    switches, params = sim.world.switches, request.query_params
    size = whole(request, "pageSize", switches.default_page_size)
    if not 1 <= size <= switches.max_page_size:
        raise IcaError(400, f"pageSize must be from 1 to {switches.max_page_size}, not {size}")
    size = min(size, switches.page_cap or size)
    token, sort, left = params.get("pageToken"), params.get("sort"), list(rows)
    if token is not None and (sort or "pageOffset" in params):
        raise IcaError(400, "pageToken goes with neither pageOffset nor sort")
    if sort or "pageOffset" in params:
        for word in reversed(sort.split(",") if sort else []):
            name, _, direction = word.strip().partition(" ")
            if name not in keys or direction not in ("", "asc", "desc"):
                raise IcaError(400, f"cannot sort by {word.strip()!r}")
            left.sort(key=partial(_rank, keys[name]), reverse=direction == "desc")
        start = whole(request, "pageOffset", 0)
        if start + size > MOST_ROWS_BY_OFFSET:
            raise IcaError(400, f"offset paging ends at {MOST_ROWS_BY_OFFSET} rows")
        items = [render(row) for row in left[start : start + size]]
        return Answer({"items": items, "nextPageToken": "", "totalItemCount": len(left)})
    after = _serial(token)
    left = [row for row in left if row.serial > after]
    page, remaining = left[:size], max(0, len(left) - size)
    following = base64.urlsafe_b64encode(f"after {page[-1].serial}".encode()).decode() if remaining else ""
    return Answer(
        {
            "items": [render(row) for row in page],
            "nextPageToken": following or ("" if switches.end_of_pages == "empty" else None),
            "remainingRecords": remaining,
        }
    )


def _rank(key: Callable[[R], Any], row: R) -> tuple[bool, Any, int]:
    value = key(row)
    return value is None, value, row.serial


def _serial(token: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("after ")) if token else 0
    except ValueError as error:
        raise IcaError(400, f"not a pageToken: {token!r}") from error


async def read(request: Request, cls: type[T]) -> T:
    """The body as one of the dataclasses for them."""
    if request.headers.get("content-type", "").partition(";")[0] not in (V3, "application/json"):
        raise IcaError(415, f"the Content-Type must be {V3} or application/json")
    try:
        return build(cls, _snake(json_object(await request.body())))
    except ValueError as error:
        raise IcaError(400, str(error)) from error


def _snake(value: Any) -> Any:
    """ICA's camelCase keys as Python spells them."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", k): _snake(v) for k, v in value.items()}
    return [_snake(each) for each in value] if isinstance(value, list) else value


# Projects and data


async def list_projects(sim: Simulator, request: Request) -> Answer:
    know(request, "search", "includeHiddenProjects", "sort")
    search = (one(request, "search") or "").lower()
    rows = [project for project in sim.world.projects.values() if search in project.name.lower()]
    if search and sim.world.switches.project_search == "nothing":
        rows = []
    return paged(sim, request, rows, bodies.project, {"name": lambda project: project.name})


async def get_project(sim: Simulator, request: Request) -> Answer:
    return Answer(bodies.project(sim.world.project(request.path_params["project_id"])))


async def list_permissions(sim: Simulator, request: Request) -> Answer:
    project = sim.world.project(request.path_params["project_id"])
    if sim.world.switches.read_permissions == "refused":
        raise IcaError(403, "the user may not read the permissions")
    return Answer({"items": [bodies.permission(project, sim.world.switches)]})


DATA_SORT_KEYS: SortKeys[Datum] = {
    "timeCreated": lambda datum: datum.created,
    "timeModified": lambda datum: datum.modified,
    "name": lambda datum: datum.name,
    "path": lambda datum: datum.path,
    "fileSizeInBytes": lambda datum: None if datum.is_folder else datum.size,
    "status": lambda datum: datum.status,
    "dataType": lambda datum: datum.is_folder,
}


async def list_data(sim: Simulator, request: Request) -> Answer:
    project = sim.world.project(request.path_params["project_id"])
    rows: Iterable[Datum] = sim.world.listed(project.id)
    for wanted in _data_filters(sim, request, project.id):
        rows = filter(wanted, rows)
    render = partial(bodies.project_data, owning=project, switches=sim.world.switches)
    return paged(sim, request, rows, render, DATA_SORT_KEYS)


def _data_filters(sim: Simulator, request: Request, project_id: str) -> list[Wanted]:
    """ICA's filters of a listing; paths and names are compared whatever their case."""
    know(
        request,
        *("id", "filePath", "filePathMatchMode", "filename", "filenameMatchMode", "parentFolderId"),
        *("parentFolderPath", "type", "status", "sort", *DATE_FILTERS),
    )
    return [
        *_id_filter(sim, request),
        *_path_filter(sim, request),
        *_name_filter(sim, request),
        *_parent_filters(sim, request, project_id),
        *_kind_filters(request),
        *(_date_filter(request, name) for name in DATE_FILTERS if name in request.query_params),
    ]


def _id_filter(sim: Simulator, request: Request) -> Iterator[Wanted]:
    if asked := many(request, "id"):
        ids = set(asked[:1] if sim.world.switches.several_ids == "first_only" else asked)
        yield lambda datum: datum.id in ids


def _path_filter(sim: Simulator, request: Request) -> Iterator[Wanted]:
    path_mode = one(request, "filePathMatchMode", PATH_MODES)
    paths = [sim.world.normal(path).lower() for path in many(request, "filePath")]
    several = sim.world.switches.several_file_paths
    if len(paths) > 1 and several == "refused":
        raise IcaError(400, "only one filePath is allowed")
    sought = tuple(paths[:1] if several == "first_only" else paths[-1:] if several == "last_only" else paths)
    if sought and path_mode == "FULL_CASE_INSENSITIVE":
        folders = sim.world.switches.full_matches_folders
        yield lambda datum: datum.path.lower() in sought and (folders or not datum.is_folder)
    elif sought:
        yield lambda datum: datum.path.lower().startswith(sought)


def _name_filter(sim: Simulator, request: Request) -> Iterator[Wanted]:
    mode = one(request, "filenameMatchMode", ("EXACT", "EXCLUDE", "FUZZY"))
    names = [sim.world.normal(name).lower() for name in many(request, "filename")]
    if names and mode == "FUZZY":
        yield lambda datum: any(name in datum.name.lower() for name in names)
    elif names:
        yield lambda datum: (datum.name.lower() in names) == (mode != "EXCLUDE")


def _parent_filters(sim: Simulator, request: Request, project_id: str) -> Iterator[Wanted]:
    if parents := set(many(request, "parentFolderId")):
        yield lambda datum: datum.parent_id != ROOT and datum.parent_id in parents
    if (parent := one(request, "parentFolderPath")) is not None:
        if not (parent.startswith("/") and parent.endswith("/")):
            raise IcaError(400, f"parentFolderPath must start and end with '/': {parent!r}")
        above = sim.world.normal(parent).lower()
        is_404 = sim.world.switches.absent_folder == "404" and above != "/"
        if is_404 and not sim.world.has_folder(project_id, above):
            raise IcaError(404, f"no folder {parent}")
        yield lambda datum: datum.path.rstrip("/").rpartition("/")[0].lower() + "/" == above


def _kind_filters(request: Request) -> Iterator[Wanted]:
    if kind := one(request, "type", ("FILE", "FOLDER")):
        yield lambda datum: datum.is_folder == (kind == "FOLDER")
    if statuses := many(request, "status", tuple(DataStatus)):
        yield lambda datum: datum.status in statuses


PATH_MODES = ("STARTS_WITH_CASE_INSENSITIVE", "FULL_CASE_INSENSITIVE")
DATE_FILTERS = ("creationDateAfter", "creationDateBefore", "statusDateAfter", "statusDateBefore")


def _date_filter(request: Request, name: str) -> Callable[[Datum], bool]:
    try:
        limit = datetime.fromisoformat(request.query_params[name])
    except ValueError as error:
        raise IcaError(400, f"{name} is not a time: {request.query_params[name]!r}") from error
    limit, sign = limit.replace(tzinfo=limit.tzinfo or UTC), 1 if name.endswith("After") else -1

    def wanted(datum: Datum) -> bool:
        time = datum.created if name.startswith("creation") else datum.modified
        return (time - limit) * sign > timedelta(0)

    return wanted


def _answer_data(sim: Simulator, datum: Datum, status: int = 200) -> Answer:
    return Answer(bodies.project_data(datum, sim.world.projects[datum.project_id], sim.world.switches), status)


async def get_data(sim: Simulator, request: Request) -> Answer:
    return _answer_data(sim, sim.world.datum(**request.path_params))


async def delete_data(sim: Simulator, request: Request) -> Answer:
    sim.world.delete(**request.path_params)
    return Answer(None, 204)


@dataclass(frozen=True)
class CreateFolder:
    name: str
    folder_id: str | None = None
    folder_path: str | None = None


async def create_folder(sim: Simulator, request: Request) -> Answer:
    project_id, it = request.path_params["project_id"], await read(request, CreateFolder)
    begun = sim.world.begin_folder(project_id, it.name, it.folder_id, it.folder_path)
    if not isinstance(begun, PendingFolder):
        return _answer_data(sim, begun, 201)
    if sim.world.switches.create_folder_seconds:
        await sim.sleep(sim.world.switches.create_folder_seconds)
        sim.world.settle()
    return _answer_data(sim, sim.world.finish_folder(begun), 201)


def idempotent(handler: Handler) -> Handler:
    """ICA's Idempotency-Key: a success is answered again, the same call twice at once is a 409."""

    async def once(sim: Simulator, request: Request) -> Answer:
        key = request.headers.get("idempotency-key")
        if not key:
            return await handler(sim, request)
        if len(key) > 255:
            raise IcaError(400, "an Idempotency-Key has at most 255 characters")
        place, content = (request.scope["path"], key), await request.body()
        earlier = sim.replies.get(place)
        if earlier and sim.world.now - earlier.at < IDEMPOTENCY_MEMORY:
            if earlier.content != content:
                raise IcaError(422, "this Idempotency-Key was used with another body")
            if earlier.answer is None:
                raise IcaError(409, "the first call with this Idempotency-Key is still in progress")
            return earlier.answer
        reply = sim.replies[place] = Reply(content, sim.world.now)
        try:
            reply.answer = await handler(sim, request)
        except IcaError:
            del sim.replies[place]
            raise
        return reply.answer

    return once


# Copy batches and jobs


async def create_batch(sim: Simulator, request: Request) -> Answer:
    wanted = await read(request, BatchRequest)
    job = sim.world.create_batch(request.path_params["project_id"], wanted)
    return Answer(bodies.batch(job, sim.world.switches), 201)


def _batch(sim: Simulator, request: Request) -> Job:
    project = sim.world.project(request.path_params["project_id"])
    job = sim.world.batches.get(request.path_params["batch_id"])
    if job is None or job.project is not project or not sim.world.readable(job):
        raise IcaError(404, f"no copy batch {request.path_params['batch_id']} in project {project.id}")
    return job


async def get_batch(sim: Simulator, request: Request) -> Answer:
    return Answer(bodies.batch(_batch(sim, request), sim.world.switches))


async def list_items(sim: Simulator, request: Request) -> Answer:
    know(request, "status")
    job, statuses = _batch(sim, request), many(request, "status", tuple(ItemStatus))
    rows = [item for item in sim.world.listed_items(job) if not statuses or item.status in statuses]
    return paged(sim, request, rows, partial(bodies.item, destination=job.project, switches=sim.world.switches), {})


async def get_item(sim: Simulator, request: Request) -> Answer:
    job = _batch(sim, request)
    for item in sim.world.listed_items(job):
        if item.id == request.path_params["item_id"]:
            return Answer(bodies.item(item, job.project, sim.world.switches))
    raise IcaError(404, f"no item {request.path_params['item_id']} in copy batch {job.batch_id}")


JOB_SORT_KEYS: SortKeys[Job] = {
    "timeCreated": lambda job: job.created,
    "timeStarted": lambda job: job.started,
    "timeFinished": lambda job: job.finished,
}


async def list_jobs(sim: Simulator, request: Request) -> Answer:
    know(request, "status", "sort")
    if sim.world.switches.list_jobs == "fails":
        raise IcaError(500, "the jobs cannot be listed")
    statuses = many(request, "status", tuple(JobStatus))
    rows = [job for job in sim.world.listed_jobs() if not statuses or job.status in statuses]
    render = partial(bodies.job, switches=sim.world.switches)
    return paged(sim, request, rows, render, JOB_SORT_KEYS)


async def get_job(sim: Simulator, request: Request) -> Answer:
    job = sim.world.jobs.get(request.path_params["job_id"])
    if job is None or not sim.world.readable(job):
        raise IcaError(404, f"no job {request.path_params['job_id']}")
    return Answer(bodies.job(job, sim.world.switches))


# Notifications


async def create_channel(sim: Simulator, request: Request) -> Answer:
    return Answer(bodies.channel(sim.world.add_channel(await read(request, ChannelRequest))), 201)


async def list_channels(sim: Simulator, _request: Request) -> Answer:
    return Answer({"items": [bodies.channel(channel) for channel in sim.world.channels.values()]})


async def get_channel(sim: Simulator, request: Request) -> Answer:
    return Answer(bodies.channel(sim.world.channel(request.path_params["channel_id"])))


async def update_channel(sim: Simulator, request: Request) -> Answer:
    update = await read(request, ChannelUpdate)
    return Answer(bodies.channel(sim.world.update_channel(request.path_params["channel_id"], update)))


async def create_subscription(sim: Simulator, request: Request) -> Answer:
    wanted = await read(request, SubscriptionRequest)
    _check_event_code(wanted.event_code)
    return Answer(bodies.subscription(sim.world.subscribe(request.path_params["project_id"], wanted)))


async def list_subscriptions(sim: Simulator, request: Request) -> Answer:
    project = sim.world.project(request.path_params["project_id"])
    rows = [it for it in sim.world.subscriptions if it.project_id == project.id]
    return Answer({"items": [bodies.subscription(it) for it in rows]})


async def get_subscription(sim: Simulator, request: Request) -> Answer:
    return Answer(bodies.subscription(sim.world.subscription(**request.path_params)))


async def update_subscription(sim: Simulator, request: Request) -> Answer:
    update = await read(request, SubscriptionUpdate)
    _check_event_code(update.event_code)
    return Answer(bodies.subscription(sim.world.update_subscription(**request.path_params, update=update)))


def _check_event_code(code: str) -> None:
    if code not in bodies.EVENT_CODES:
        raise IcaError(400, f"no event code {code}")


async def list_event_codes(_sim: Simulator, _request: Request) -> Answer:
    codes = bodies.EVENT_CODES.items()
    return Answer({"items": [{"eventCode": code, "description": meaning} for code, meaning in codes]})


async def no_such_endpoint(_sim: Simulator, request: Request) -> Answer:
    raise IcaError(404, f"{request.method} {request.url.path} does not exist or is not simulated")


# The application

PROJECT = "/api/projects/{project_id}"
BATCH = PROJECT + "/dataCopyBatch/{batch_id}"
CHANNEL = "/api/notificationChannels/{channel_id}"
SUBSCRIPTION = PROJECT + "/notificationSubscriptions/{subscription_id}"
ENDPOINTS: list[tuple[str, str, Handler]] = [
    ("GET", "/api/projects", list_projects),
    ("GET", PROJECT, get_project),
    ("GET", PROJECT + "/permissions", list_permissions),
    ("GET", PROJECT + "/data", list_data),
    ("POST", PROJECT + "/data:createFolder", idempotent(create_folder)),
    ("POST", PROJECT + "/data/{data_id}:delete", delete_data),
    ("GET", PROJECT + "/data/{data_id}", get_data),
    ("POST", PROJECT + "/dataCopyBatch", create_batch),
    ("GET", BATCH, get_batch),
    ("GET", BATCH + "/items", list_items),
    ("GET", BATCH + "/items/{item_id}", get_item),
    ("GET", "/api/jobs", list_jobs),
    ("GET", "/api/jobs/{job_id}", get_job),
    ("GET", "/api/notificationChannels", list_channels),
    ("POST", "/api/notificationChannels", create_channel),
    ("GET", CHANNEL, get_channel),
    ("PUT", CHANNEL, update_channel),
    ("GET", PROJECT + "/notificationSubscriptions", list_subscriptions),
    ("POST", PROJECT + "/notificationSubscriptions", create_subscription),
    ("GET", SUBSCRIPTION, get_subscription),
    ("PUT", SUBSCRIPTION, update_subscription),
    ("GET", "/api/eventCodes", list_event_codes),
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def application(sim: Simulator, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """ICA's API at its usual base path, and whatever else is to be served beside it."""
    routes = [Route(path, _endpoint(sim, path, act), methods=[method]) for method, path, act in ENDPOINTS]
    unknown = _endpoint(sim, "unknown", no_such_endpoint)
    routes.append(Route("/api/{rest:path}", unknown, methods=METHODS))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        delivery = asyncio.create_task(sim.deliver_for_ever())
        yield
        delivery.cancel()

    return Starlette(
        routes=[Mount(BASE, routes=routes), *extra_routes],
        middleware=[Middleware(GZipMiddleware)],
        lifespan=lifespan,
    )


def _endpoint(sim: Simulator, template: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await sim.answer(handler, template, request)

    return endpoint


class Connection(H11Protocol):
    """A connection which a call finds as `request.state.transport`, so that it can really be cut off."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for sockets it has made itself; without it each answer waits for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}


def server(app: ASGIApp) -> uvicorn.Server:
    """A quiet server, patient with idle connections and with request lines of any length."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            log_level="warning",
            access_log=False,
            date_header=False,  # each answer has the one of ICA's clock
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=4 * 1024 * 1024,
        )
    )
