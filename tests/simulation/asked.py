"""Gives the commands of a world, by the control function or by the queue, and notes which were carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from icav2_copy_batch.domain.job import JobStatus
from icav2_copy_batch.domain.requests import Cancel, CannotDo, Pause, Redrive, Request, Resume
from icav2_copy_batch.domain.stops import ALL
from icav2_copy_batch.stages.ingest import Ingested
from tests.simulation.aws import AwsTrouble
from tests.simulation.commands import Command, Moment
from tests.simulation.engine import Killed
from tests.simulation.stopped import Stopped
from tests.simulation.world import World

COMMAND_SECONDS = 300.0
AGAIN_SECONDS = 60.0
"""After so long a person asks again, where the answer was an error that may pass."""
NOT_SETTLED_SECONDS = 900.0
MOST_TRIES = 100
TIDIES_UP_AFTER, TIDIES_UP_EVERY = 8000.0, 1200.0
KINDS: dict[type[Request], str] = {Cancel: "cancel", Pause: "pause", Resume: "resume", Redrive: "redrive"}
WAYS = ("function", "queue")
MOMENTS = (
    "none written",
    *(status.value.lower() for status in (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)),
    "all ended",
    "ingest writes",
    "publishing",
    "ICA is down",
)
"""When a command is carried out: the statuses of the jobs that it is about, and what is under way just then."""


def counted(kind: str, way: str, moment: str = "in all") -> str:
    """The name under which it is counted how often a command was carried out."""
    return f"> {kind} by {way}, {moment}"


class Commands:
    """Gives commands in a world, and remembers which were carried out."""

    def __init__(self, world: World, commands: Sequence[Command]) -> None:
        self.world = world
        self.stopped = Stopped(world)
        self.awaits_moment = [command for command in commands if command.after]
        self.at_once = [command for command in commands if not command.after]
        self.answered: dict[str, Command] = {}
        """Id of a copy that the control function has promised → the redrive that asks for it."""
        self.given: dict[str, Command] = {}
        """Who asks → what. Each command is asked by somebody else, so that its messages are told apart."""
        self.in_queue: set[str] = set()
        """Who waits for a message to be dealt with."""
        self.open = 0
        """Commands that are still to be answered, or to be dealt with."""
        self._serials = count(1)
        self._begun: dict[str, list[str]] = {}
        """Copy id → the moments at which its cancel was written."""

    def plan(self) -> None:
        for command in self.at_once:
            self._later(command.at, command)
        if self.at_once or self.awaits_moment:
            self.world.engine.later(TIDIES_UP_AFTER, self._tidy_up)

    @property
    def is_over(self) -> bool:
        return not self.open and all(self._is_there(copy_id, command) for copy_id, command in self.answered.items())

    def check(self) -> None:
        """At every moment: give what was waiting for it, and check what is promised of pauses and cancels."""
        if self.awaits_moment:
            for command in [each for each in self.awaits_moment if self._has_come(each)]:
                self.awaits_moment.remove(command)
                self._later(command.at, command)
        self.stopped.check()

    def _is_there(self, copy_id: str, command: Command) -> bool:
        """Whether a redrive has made its copy, or others have redriven all that it could."""
        table, job_id = self.world.table, command.body.get("job_id")
        return copy_id in table.copies or not any(
            job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and job.redriven_as in (None, copy_id)
            for job in table.job_items.values()
            if job.copy_id == command.body["copy_id"] and job_id in (None, job.job_id)
        )

    def _has_come(self, command: Command) -> bool:
        """Whether the moment for which a command waits has come."""
        assert command.after
        moment, copy_id = command.after
        row = self.world.table.copies.get(copy_id)
        match moment:
            case Moment.BEGUN:
                return row is not None
            case Moment.TOLD:
                return row is not None and copy_id in self.stopped.told
            case Moment.AT_WORK:
                return any(
                    job.copy_id == copy_id and job.status in (JobStatus.LAUNCHING, JobStatus.RUNNING)
                    for job in self.world.table.job_items.values()
                )
            case Moment.SETTLED:
                return row is not None and row.copy.is_settled

    def _tidy_up(self) -> None:
        """Nothing stays paused for ever; except a copy that has settled, of which no pause may be there any more."""
        for pause in list(self.world.table.paused_items.values()):
            kind, _, name = pause.subject.partition(" ")
            subject = {"all": True} if kind == ALL else {f"{kind}_id": name}
            row = self.world.table.copies.get(name)
            if row is None or not row.copy.is_published:
                self._later(0, Command(0, {"command": "resume", **subject}))
        if not self.world.is_over():
            self.world.engine.later(TIDIES_UP_EVERY, self._tidy_up)

    # --- given --------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, command: Command) -> None:
        self.open += 1
        by = f"person {next(self._serials)}"
        self.given[by] = asked = replace(command, body={**command.body, "by": by})
        self.world.engine.later(seconds, partial(self._give, asked, 1))

    def _give(self, command: Command, tries: int) -> None:
        if command.by_queue:
            self.in_queue.add(command.body["by"])
            self.world.ingest_queue.add(json.dumps(command.body))
            return
        control = self.world.container("operator").control

        def ended(result: Any) -> None:
            if isinstance(result, AwsTrouble | Killed) or _may_pass(result):
                self._again(command, tries, AGAIN_SECONDS)
            elif isinstance(result, Exception):
                self.world.broken.append(f"{command} ended with {result!r}")
            elif "ok" in result:
                self._answered(command, result["ok"])
            elif self._is_too_early(command, result):
                self._again(command, tries, NOT_SETTLED_SECONDS)
            else:
                self._refused(command.body["command"], "function")
                self._done(command)

        self.world.engine.start("operator", COMMAND_SECONDS, lambda: control.answer(command.body), ended)

    def _is_too_early(self, command: Command, answer: dict[str, Any]) -> bool:
        """Whether the copy is not there yet, or has not settled yet."""
        if command.body["command"] == "resume":
            return False
        error, rejected = answer["error"], command.body.get("copy_id") in self.world.rejected()
        return "not settled" in error["message"] or (error["kind"] == "no_such_copy" and not rejected)

    def _again(self, command: Command, tries: int, seconds: float) -> None:
        if tries >= MOST_TRIES:
            self._done(command)
            return
        self.world.engine.later(seconds, partial(self._give, command, tries + 1))

    def _answered(self, command: Command, answer: dict[str, Any]) -> None:
        if command.body["command"] == "redrive":
            origin, new_id = command.body["copy_id"], answer["copy_id"]
            row = self.world.table.copies.get(new_id)
            if row and row.copy.redrive_of != origin:
                self.world.broken.append(f"{origin} is said to be redriven as {new_id}, which is another copy")
            self.answered[new_id] = command
        self._done(command)

    def _refused(self, kind: str, way: str) -> None:
        self.world.count(f"{kind} by {way} refused")

    def _done(self, command: Command) -> None:
        self.open -= 1

    # --- carried out --------------------------------------------------------------------------------------------------

    @contextmanager
    def carrying_out(self, request: Request) -> Iterator[None]:
        """While a function carries out a cancel, a pause or a resume, whichever way it came."""
        assert self.world.engine.current
        way = "queue" if self.world.engine.current.name == "ingest" else "function"
        try:
            with self.stopped.carrying_out(request):
                yield
        except CannotDo:
            if way == "queue":
                self._refused(KINDS[type(request)], way)
            raise
        moments = self._begun.pop(request.copy_id, []) if isinstance(request, Cancel) else self._moments(request)
        self._count(KINDS[type(request)], way, moments)

    def cancelling(self, copy_id: str) -> None:
        """Called when a cancel was written; its jobs are ended next."""
        self._begun[copy_id] = self._moments(Cancel(copy_id=copy_id))

    def received(self, body: str, ingested: Ingested) -> None:
        """Called when ingest has dealt with a message."""
        by = json.loads(body).get("by")
        if by is None:
            return
        command = self.given[by]
        way = "queue" if command.by_queue else "function"
        if command.body["command"] == "redrive":
            if ingested.accepted:
                self._redriven(command)
                self._count("redrive", way, self._moments(Redrive(copy_id=command.body["copy_id"])))
            elif command.by_queue:
                self._refused("redrive", way)
        if by in self.in_queue:
            self.in_queue.remove(by)
            self._done(command)

    def _redriven(self, command: Command) -> None:
        """All that a copy has left to copy is another copy's now, and there is one that redrives it."""
        table, origin = self.world.table, command.body["copy_id"]
        if not any(row.copy.redrive_of == origin for row in table.copies.values()):
            self.world.broken.append(f"no copy redrives {origin}, though {command} was carried out")
        for job in table.job_items.values():
            is_asked = job.copy_id == origin and command.body.get("job_id") in (None, job.job_id)
            if is_asked and job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and not job.redriven_as:
                self.world.broken.append(f"{origin}/{job.job_id} is not redriven, though {command} was carried out")

    def _count(self, kind: str, way: str, moments: Sequence[str]) -> None:
        for moment in ("in all", *moments):
            self.world.count(counted(kind, way, moment))

    def _moments(self, request: Request) -> list[str]:
        """The moments that this is for what a command is about: its own copies and jobs, and no others."""
        assert isinstance(request, Cancel | Redrive | Pause)
        jobs, copies = self.stopped.concerned(request)
        statuses = {job.status for job in jobs}
        open_statuses = (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)
        there = {
            "none written": bool(copies) and not jobs,
            **{status.value.lower(): status in statuses for status in open_statuses},
            "all ended": bool(copies) and all(copy.is_settled for copy in copies),
            "ingest writes": any(not (copy.ingested_at or copy.is_settled) for copy in copies),
            "publishing": any(copy.is_settled and not copy.is_published for copy in copies),
            "ICA is down": self.world.engine.now < self.world.outage_until,
        }
        return [moment for moment, is_now in there.items() if is_now]


def _may_pass(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("error", {}).get("kind") == "unavailable"
