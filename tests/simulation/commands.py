"""What operators ask while copies are under way: cancel, pause, resume, redrive, at any moment and more than once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from icav2_copy_batch.domain.control import redrive_id
from icav2_copy_batch.domain.job import Job, JobStatus, OpenJob
from icav2_copy_batch.domain.stops import ALL, copy_subject, project_subject
from tests.simulation.aws import AwsTrouble
from tests.simulation.engine import Killed
from tests.simulation.scenario import Scenario
from tests.simulation.world import World

COMMAND_SECONDS = 300.0
AGAIN_SECONDS = 60.0
"""After so long a person asks again, where the answer was an error that may pass."""
NOT_SETTLED_SECONDS = 900.0
MOST_TRIES = 100
TIDIES_UP_AFTER, TIDIES_UP_EVERY = 8000.0, 1200.0


@dataclass(frozen=True)
class Command:
    """What is asked, when, and whether by a message on the ingest queue."""

    at: float
    body: dict[str, Any]
    by_queue: bool = False

    @property
    def subject(self) -> str:
        """What a pause or resume is about."""
        if copy_id := self.body.get("copy_id"):
            return copy_subject(copy_id)
        project_id = self.body.get("project_id")
        return project_subject(project_id) if project_id else ALL


def commands_of(rng: Random, scenario: Scenario) -> list[Command]:
    """The commands of one world: none in most, and in others a few, some of them twice."""
    if rng.random() < 0.6:
        return []
    commands: list[Command] = []
    for _ in range(rng.randint(1, 4)):
        submission = rng.choice(scenario.submissions)
        copy_id, at = submission.body["copy_id"], submission.at + rng.expovariate(1 / rng.choice([5, 60, 600]))
        match rng.choice(["cancel", "cancel", "pause", "pause", "redrive"]):
            case "cancel":
                commands.append(Command(at, {"command": "cancel", "copy_id": copy_id}, rng.random() < 0.3))
                commands.append(Command(at + rng.uniform(0, 900), {"command": "redrive", "copy_id": copy_id}))
            case "redrive":
                job = {"job_id": f"{rng.randint(1, 4):06d}"} if rng.random() < 0.4 else {}
                commands.append(Command(at, {"command": "redrive", "copy_id": copy_id, **job}))
            case "pause":
                subject = rng.choice(
                    [{"all": True}, {"copy_id": copy_id}, {"project_id": rng.choice([*scenario.projects.values()])}]
                )
                commands.append(Command(at, {"command": "pause", "reason": "why not", **subject}))
                resumed_at = at + rng.choice([5.0, 120.0, 1800.0, 7200.0])
                commands.append(Command(resumed_at, {"command": "resume", **subject}))
    return [*commands, *(replace(each, at=each.at + rng.uniform(0, 60)) for each in commands if rng.random() < 0.3)]


class Commands:
    """Gives commands in a world, and remembers which were accepted."""

    def __init__(self, world: World, commands: Sequence[Command]) -> None:
        self.world = world
        self.commands = commands
        self.cancelled: set[str] = set()
        """Copies whose cancel was accepted."""
        self.paused: set[str] = set()
        """Subjects of pauses that were accepted, until somebody asks to resume them."""
        self.awaited: dict[str, Command] = {}
        """Id of a copy that has to be there in the end → the redrive that asks for it."""
        self.resuming: Counter[str] = Counter()
        """How often each subject is just being resumed."""
        self.open = 0
        """Commands that are still to be answered."""

    def plan(self) -> None:
        for command in self.commands:
            self._later(command.at, command)
        if self.commands:
            self.world.engine.later(TIDIES_UP_AFTER, self._tidy_up)

    @property
    def is_over(self) -> bool:
        return not self.open and all(self._is_there(copy_id, command) for copy_id, command in self.awaited.items())

    def _is_there(self, copy_id: str, command: Command) -> bool:
        """Whether a redrive has made its copy, or others have redriven all that it could."""
        table, job_id = self.world.table, command.body.get("job_id")
        return copy_id in table.copies or not any(
            job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and job.redriven_as in (None, copy_id)
            for job in table.job_items.values()
            if job.copy_id == command.body["copy_id"] and job_id in (None, job.job_id)
        )

    def check_claim(self, verb: str, job: Job) -> None:
        """No job of a cancelled copy, or of what is paused, is claimed."""
        if verb != "claim_for_launch":
            return
        subjects = {ALL, copy_subject(job.copy_id), project_subject(str(job.ica_project_id))}
        if job.copy_id in self.cancelled or subjects & self.paused:
            self.world.broken.append(f"claimed although cancelled or paused: {job.copy_id}/{job.job_id}")

    def check_intent(self, job: OpenJob) -> None:
        """Of a cancelled copy ICA is asked for nothing any more."""
        if job.copy_id in self.cancelled:
            self.world.broken.append(f"about to ask ICA although cancelled: {job.copy_id}/{job.job_id}")

    def _tidy_up(self) -> None:
        """Nothing stays paused for ever, also where a pause came after its end."""
        for pause in list(self.world.table.paused_items.values()):
            kind, _, name = pause.subject.partition(" ")
            subject = {"all": True} if kind == ALL else {f"{kind}_id": name}
            self._later(0, Command(0, {"command": "resume", **subject}))
        if not self.world.is_over():
            self.world.engine.later(TIDIES_UP_EVERY, self._tidy_up)

    def _later(self, seconds: float, command: Command) -> None:
        self.open += 1
        self.world.engine.later(seconds, partial(self._give, command, 1))

    def _give(self, command: Command, tries: int) -> None:
        resumed = command.subject if command.body["command"] == "resume" else None
        if resumed:
            self.paused.discard(resumed)
            self.resuming[resumed] += 1
        if command.by_queue:
            self.world.ingest_queue.add(json.dumps(command.body))
            self._done(command)
            return
        control = self.world.container("operator").control

        def ended(result: Any) -> None:
            if resumed:
                self.resuming[resumed] -= 1
            if isinstance(result, AwsTrouble | Killed) or _may_pass(result):
                self._again(command, tries, AGAIN_SECONDS)
            elif isinstance(result, Exception):
                self.world.broken.append(f"{command} ended with {result!r}")
            elif "ok" in result:
                self._accepted(command, result["ok"])
            elif self._is_too_early(command, result):
                self._again(command, tries, NOT_SETTLED_SECONDS)
            else:
                self.world.count(f"{command.body['command']} refused")
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

    def _accepted(self, command: Command, answer: dict[str, Any]) -> None:
        self.world.count(f"command {command.body['command']}")
        match command.body["command"]:
            case "cancel":
                self.cancelled.add(command.body["copy_id"])
                at_work = [job.status for job in self.world.table.job_items.values() if job.copy_id in self.cancelled]
                self.world.counts["cancelled while launching or running"] += sum(
                    status in (JobStatus.LAUNCHING, JobStatus.RUNNING) for status in at_work
                )
            case "pause":
                if command.subject in self.world.table.paused_items and not self.resuming[command.subject]:
                    self.paused.add(command.subject)
            case "redrive":
                new_id = redrive_id(command.body["copy_id"], command.body.get("job_id"))
                if new_id != answer["copy_id"]:
                    self.world.broken.append(f"{command} was answered with {answer}")
                self.awaited[new_id] = command
        self._done(command)

    def _done(self, command: Command) -> None:
        self.open -= 1


def _may_pass(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("error", {}).get("kind") == "unavailable"
