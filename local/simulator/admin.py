"""The simulator's own interface, under /_simulator: stock it, script it, break it, and look inside.

No token is asked for, and no key is ignored: whatever is not understood is a 400 which says why.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route

from local.simulator.bodies import Json, moment
from local.simulator.gate import Fault, Simulator
from local.simulator.model import DataStatus, Datum, IcaError, Job, JobStatus, Outcome, Project, Script
from local.simulator.switches import Switches, build, json_object

T = TypeVar("T")


@dataclass(frozen=True)
class Seed:
    manifest: dict[str, list[str]]
    file_size: int | None = None


@dataclass(frozen=True)
class NewScript:
    """How the next jobs into a folder end; a bare status is an outcome with nothing else said."""

    project: str
    folder: str
    outcomes: list[Outcome | JobStatus]
    repeat_last: bool = False


@dataclass(frozen=True)
class NewToken:
    token: str
    also_accept_old_for: float = 0.0


@dataclass(frozen=True)
class NewProject:
    name: str
    id: str | None = None


@dataclass(frozen=True)
class NewFile:
    project: str
    path: str
    status: DataStatus = DataStatus.AVAILABLE
    size: int | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Place:
    project: str
    path: str


@dataclass(frozen=True)
class Nothing:
    pass


def seed(sim: Simulator, body: Seed) -> Json:
    sim.world.seed(body.manifest, body.file_size)
    return totals(sim)


def script(sim: Simulator, body: NewScript) -> Json:
    project, folder = sim.world.add_project(body.project), body.folder.rstrip("/") + "/"
    outcomes = [it if isinstance(it, Outcome) else Outcome(it) for it in body.outcomes]
    sim.world.scripts[project.id, folder] = Script(outcomes, body.repeat_last)
    return {"project": project.id, "folder": folder, "outcomes": [outcome.status for outcome in outcomes]}


def add_fault(sim: Simulator, body: Fault) -> Json:
    sim.add_fault(body)
    return {"faults": faults(sim)}


def set_switches(sim: Simulator, body: Switches) -> Json:
    sim.world.switches = body
    return dataclasses.asdict(body)


def set_token(sim: Simulator, body: NewToken) -> Json:
    sim.replace_token(body.token, body.also_accept_old_for)
    return {"tokens": len(sim.tokens)}


def add_project(sim: Simulator, body: NewProject) -> Json:
    project = sim.world.add_project(body.name, body.id)
    return {"id": project.id, "name": project.name}


def add_file(sim: Simulator, body: NewFile) -> Json:
    """A file just as described, in place of one that may be there; a path that ends in / is a folder."""
    project = sim.world.add_project(body.project)
    if body.path.endswith("/"):
        folder = sim.world.add_folder(project.id, body.path)
        return datum_row(folder) if folder else {}
    if existing := sim.world.at(project.id, body.path):
        sim.world.discard(existing)
    new = sim.world.add_file(project.id, body.path, size=body.size, etag=body.etag, status=body.status)
    return datum_row(new)


def delete_file(sim: Simulator, body: Place) -> Json:
    """Gone at once, without ICA's DELETING."""
    project = known_project(sim, body.project)
    existing = sim.world.at(project.id, body.path)
    if existing is None:
        raise ValueError(f"nothing at {body.path} in {project.name}")
    sim.world.discard(existing)
    return datum_row(existing)


def reset_counts(sim: Simulator, _body: Nothing) -> Json:
    sim.calls.clear()
    sim.answers.clear()
    sim.world.most_live_jobs = sim.world.live_jobs
    return {}


def clear_faults(sim: Simulator) -> Json:
    sim.troubles.clear()
    return {"faults": []}


def state(sim: Simulator) -> Json:
    jobs = Counter(job.status.value for job in sim.world.jobs.values())
    return {
        "totals": totals(sim),
        "jobs_by_status": dict(jobs),
        "live_jobs": sim.world.live_jobs,
        "most_live_jobs": sim.world.most_live_jobs,
        "total_calls": sim.calls.total(),
        "calls": dict(sim.calls),
        "answers": dict(sim.answers),
        "violations": [dataclasses.asdict(it) | {"at": moment(it.at)} for it in sim.world.violations],
        "notifications": {
            "sent": sim.notices_sent,
            "failed": sim.notices_failed,
            "waiting": sim.world.notices_waiting,
        },
        "faults": faults(sim),
        "switches": dataclasses.asdict(sim.world.switches),
    }


def totals(sim: Simulator) -> Json:
    everything = [datum for contents in sim.world.contents.values() for datum in contents.values()]
    folders = sum(datum.is_folder for datum in everything)
    return {
        "projects": len(sim.world.projects),
        "files": len(everything) - folders,
        "folders": folders,
        "jobs": len(sim.world.jobs),
    }


def faults(sim: Simulator) -> list[Json]:
    return [dataclasses.asdict(it.fault) | {"seen": it.seen, "hits": it.hits} for it in sim.troubles]


def files(sim: Simulator, project: str, prefix: str = "/", folders: str = "false") -> list[Json]:
    """What is in a project below a prefix, in which case matters; folders only if asked for."""
    contents = sim.world.contents[known_project(sim, project).id].values()
    wanted = [datum for datum in contents if datum.path.startswith(prefix)]
    shown = [datum for datum in wanted if folders == "true" or not datum.is_folder]
    return [datum_row(datum) for datum in sorted(shown, key=lambda datum: datum.path)]


def jobs(sim: Simulator) -> list[Json]:
    return [job_row(job) for job in sim.world.jobs.values()]


def known_project(sim: Simulator, id_or_name: str) -> Project:
    project = sim.world.named(id_or_name)
    if project is None:
        raise ValueError(f"no project {id_or_name}")
    return project


def datum_row(datum: Datum) -> Json:
    return {
        "path": datum.path,
        "status": datum.status,
        "size": None if datum.is_folder else datum.size,
        "etag": datum.etag,
        "id": datum.id,
        "timeCreated": moment(datum.created),
    }


def job_row(job: Job) -> Json:
    return {
        "job_id": job.id,
        "batch_id": job.batch_id,
        "project": job.project.id,
        "folder": job.folder_path,
        "sources": [item.source.path for item in job.items],
        "action_on_exist": job.request.action_on_exist,
        "status": job.status,
        "reason": job.reason,
        "history": [{"status": status, "at": moment(at)} for status, at in job.history],
        "outcome": dataclasses.asdict(job.outcome),
        "items": [{"source": it.source.path, "status": it.status, "reason": it.reason} for it in job.items],
    }


def routes(sim: Simulator) -> list[BaseRoute]:
    return [
        Mount(
            "/_simulator",
            routes=[
                _get("/state", sim, lambda: state(sim)),
                _get("/files", sim, lambda **query: files(sim, **query)),
                _get("/jobs", sim, lambda: jobs(sim)),
                _get("/faults", sim, lambda: clear_faults(sim), method="DELETE"),
                _post("/seed", sim, Seed, seed),
                _post("/script", sim, NewScript, script),
                _post("/faults", sim, Fault, add_fault),
                _post("/switches", sim, Switches, set_switches),
                _post("/token", sim, NewToken, set_token),
                _post("/projects", sim, NewProject, add_project),
                _post("/files", sim, NewFile, add_file),
                _post("/files:delete", sim, Place, delete_file),
                _post("/counts:reset", sim, Nothing, reset_counts),
            ],
        )
    ]


def _get(path: str, sim: Simulator, look: Callable[..., Json | list[Json]], method: str = "GET") -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        sim.world.settle()
        try:
            return JSONResponse(look(**dict(request.query_params)))
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return Route(path, endpoint, methods=[method])


def _post(path: str, sim: Simulator, body: type[T], act: Callable[[Simulator, T], Json]) -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        sim.world.settle()
        try:
            given = json_object(await request.body() or b"{}")
            base = sim.world.switches if body is Switches else None
            return JSONResponse(act(sim, build(body, given, base)))  # type: ignore[arg-type]
        except (ValueError, IcaError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return Route(path, endpoint, methods=["POST"])
