"""The simulated ICA, served over HTTP from a thread, and our client of it."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from icav2_copy_batch.adapters.ica.client import IcaClient
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.memory import MAX_QUERY_BYTES, Memory, UrlLimit
from local.simulator.app import application, server
from local.simulator.gate import Fault, Simulator
from local.simulator.model import (
    Datum,
    JobStatus,
    Outcome,
    PendingFolder,
    Script,
)
from local.simulator.switches import Switches, build
from local.simulator.world import World
from tests.doubles.clock import Clock

TOKEN = "a-token-that-nobody-may-read"
DATA = "/api/projects/{project_id}/data"
ONE_DATUM = "/api/projects/{project_id}/data/{data_id}"
CREATE_FOLDER = "/api/projects/{project_id}/data:createFolder"
DELETE = "/api/projects/{project_id}/data/{data_id}:delete"
COPY_BATCH = "/api/projects/{project_id}/dataCopyBatch"
BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
FaultKind = Literal["status", "html", "delay", "drop_before", "drop_after", "unknown_status"]


class Stage:
    """One server for all tests, which serves the application of the test that is running."""

    base: str
    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@contextmanager
def serving() -> Iterator[Stage]:
    """A stage, served from a thread."""
    stage = Stage()
    with served(stage, "off") as stage.base:
        yield stage


@contextmanager
def served(app: ASGIApp, lifespan: Literal["on", "off"]) -> Iterator[str]:
    """The base URL of an application, served at a free port from a thread."""
    listener, running = socket.create_server(("127.0.0.1", 0)), server(app)
    running.config.lifespan = lifespan
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: running.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/ica/rest"
    running.should_exit = True
    thread.join()


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread is about to do."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


@dataclass
class Tokens:
    """A source of tokens: one that is cached, and the one that is stored by now."""

    cached: str = TOKEN
    fresh: str = TOKEN
    fetched: int = 0

    def token(self, *, fresh: bool = False) -> str:
        if fresh:
            self.fetched += 1
            self.cached = self.fresh
        return self.cached


@dataclass
class SimulatedIca:
    """A fresh simulator with two projects, in which nothing fails unless a test asks for it, and our client of it.

    Time stands still but for what the client sleeps, which is noted and takes no time.
    """

    stage: Stage
    clock: Clock = field(default_factory=lambda: Clock(BEGINS))
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        switches = build(Switches, {"job_seconds": 10, "failure_rate": 0})
        self.world = World(self.clock, random.Random(1), switches)
        self.sim = Simulator(self.world, TOKEN)
        self.stage.app = application(self.sim)
        self.source = self.world.add_project("source").id
        self.destination = self.world.add_project("destination").id

    def client(self, seconds: float = 900, most_query_bytes: int = MAX_QUERY_BYTES, **other: Any) -> IcaClient:
        """Our client; by default with a good token and a sleep that moves the clock. ``other`` goes to ``Http``."""
        start = self.clock()
        arguments = {
            "base_url": self.stage.base,
            "tokens": Tokens(),
            "seconds_left": lambda: seconds - (self.clock() - start).total_seconds(),
            "sleep": self.sleep,
            "monotonic": lambda: self.clock.now.timestamp(),
            "clock": self.clock,
        }
        http = Http(**{**arguments, **other})
        memory = Memory(monotonic=http.monotonic, url_limit=UrlLimit(most_query_bytes))
        return IcaClient(http=http, memory=memory)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds)

    def set(self, **switches: Any) -> None:
        self.world.switches = build(Switches, switches, self.world.switches)

    def fault(self, kind: FaultKind, method: str = "", path: str = "", **details: Any) -> None:
        self.sim.add_fault(Fault(kind, method, path, **details))

    def calls(self, method: str, template: str) -> int:
        """How often an endpoint was called."""
        return self.sim.calls[f"{method} {template}"]

    def file(self, path: str, project_id: str = "", **details: Any) -> Datum:
        return self.world.add_file(project_id or self.source, path, **details)

    def folder(self, path: str) -> Datum:
        folder = self.world.add_folder(self.destination, path)
        assert folder
        return folder

    def begin_folder(self, name: str) -> Callable[[], Datum]:
        """Begin to create a folder in the destination's root; what is handed back ends it."""
        begun = self.world.begin_folder(self.destination, name, None, "/")
        assert isinstance(begun, PendingFolder)
        return lambda: self.world.finish_folder(begun)

    def made_folder(self, name: str) -> Datum:
        return self.begin_folder(name)()

    def arrived(self) -> dict[str, str]:
        """Status of each file in the destination project."""
        contents = self.world.contents[self.destination].values()
        return {datum.path: datum.status.value for datum in contents if not datum.is_folder}

    def folders(self) -> list[str]:
        """Path of each folder in the destination project, as often as it is there."""
        contents = self.world.contents[self.destination].values()
        return sorted(datum.path for datum in contents if datum.is_folder)

    def script(self, folder: str, *ends: str) -> None:
        """How the next copy batches into a folder end."""
        self.world.scripts[self.destination, folder] = Script([Outcome(JobStatus(end)) for end in ends])
