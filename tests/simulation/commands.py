"""What operators ask while copies are under way: drawn from the seed, at any moment, more than once, by both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from icav2_copy_batch.domain.requests import redrive_id
from tests.simulation.scenario import Scenario, Submission

Body = dict[str, Any]


class Moment(StrEnum):
    """A moment of a copy, which nobody knows beforehand."""

    BEGUN = "begun"
    """Its item is there, and ingest is writing its jobs."""
    TOLD = "told"
    """``CopyStarted`` was put."""
    AT_WORK = "at work"
    """A job of it is being launched."""
    SETTLED = "settled"
    """No job is open, and it is to be published."""


@dataclass(frozen=True)
class Command:
    """What is asked, when, and whether by a message on the ingest queue."""

    at: float
    """Seconds after the start, or after a moment of a copy."""
    body: Body
    by_queue: bool = False
    after: tuple[Moment, str] | None = None
    """The moment, and the copy."""


def commanded(rng: Random, scenario: Scenario) -> tuple[Scenario, list[Command]]:
    """A world with the commands in it: none in most, and in others a few, some of them twice."""
    if rng.random() < 0.6:
        return scenario, []
    commands: list[Command] = []
    for _ in range(rng.randint(1, 4)):
        submission = rng.choice(scenario.submissions)
        kind = rng.choice([_cancel, _pause, _pause, _cancel_and_pause, _cancel_and_pause, _hold, _redrive])
        scenario, more = kind(rng, scenario, submission)
        commands += more
    twice = [replace(each, at=each.at + rng.uniform(0, 60)) for each in commands if rng.random() < 0.3]
    return scenario, [replace(each, by_queue=rng.random() < 0.5) for each in (*commands, *twice)]


def _cancel(rng: Random, scenario: Scenario, submission: Submission) -> tuple[Scenario, list[Command]]:
    cancel = {"command": "cancel", "copy_id": _id(submission)}
    return scenario, [_sometime(rng, scenario, submission, cancel), *_redrives(rng, submission)]


def _pause(rng: Random, scenario: Scenario, submission: Submission) -> tuple[Scenario, list[Command]]:
    spelled = _subject(rng, scenario, submission)
    pause = _sometime(rng, scenario, submission, {"command": "pause", "reason": "why not", **spelled()})
    at = pause.at + rng.choice([5.0, 120.0, 1800.0, 7200.0])
    return scenario, [pause, replace(pause, at=at, body={"command": "resume", **spelled()})]


def _cancel_and_pause(rng: Random, scenario: Scenario, submission: Submission) -> tuple[Scenario, list[Command]]:
    """One soon after the other, in either order; most of these pauses last until somebody tidies up."""
    spelled = _subject(rng, scenario, submission)
    first = _sometime(rng, scenario, submission, {"command": "pause", **spelled()})
    second = replace(
        first,
        at=first.at + rng.choice([1.0, 30.0, 600.0]) * rng.random(),
        body={"command": "cancel", "copy_id": _id(submission)},
    )
    if rng.random() < 0.5:
        first, second = replace(first, body=second.body), replace(second, body=first.body)
    commands = [first, second, *_redrives(rng, submission)]
    if rng.random() < 0.3:
        commands.append(replace(second, at=second.at + 3600, body={"command": "resume", **spelled()}))
    return scenario, commands


def _hold(rng: Random, scenario: Scenario, submission: Submission) -> tuple[Scenario, list[Command]]:
    """A copy that is held since it was submitted, and resumed: at once by systems, later by people; or cancelled."""
    copy_id = _id(submission)
    submissions = [
        replace(each, body={**each.body, "hold": True}) if _id(each) == copy_id else each
        for each in scenario.submissions
    ]
    resume = {"command": "resume", "copy_id": copy_id}
    first = rng.choice(
        [
            Command(rng.uniform(0, 1), resume, after=(Moment.BEGUN, copy_id)),
            Command(rng.uniform(0, 1), resume, after=(Moment.TOLD, copy_id)),
            Command(rng.choice([30.0, 600.0, 7200.0]), resume, after=(Moment.TOLD, copy_id)),
        ]
    )
    cancel = _sometime(rng, scenario, submission, {"command": "cancel", "copy_id": copy_id})
    commands = rng.choice([[first], [first], [first, cancel], [cancel]])
    return replace(scenario, submissions=submissions), [*commands, *_redrives(rng, submission)]


def _redrive(rng: Random, scenario: Scenario, submission: Submission) -> tuple[Scenario, list[Command]]:
    """Sometimes somebody has called a copy of their own as the redrive would be called."""
    commands = list(_redrives(rng, submission))
    if rng.random() < 0.3:
        alike = {**rng.choice(scenario.submissions).body, "copy_id": redrive_id(_id(submission))}
        for key in ("task_token", "hold"):
            alike.pop(key, None)
        at = submission.at + rng.choice([0.0, 600.0]) * rng.random()
        scenario = replace(scenario, submissions=[*scenario.submissions, Submission(at, alike)])
    return scenario, commands


def _redrives(rng: Random, submission: Submission) -> Iterator[Command]:
    """A redrive, or two that may want the same jobs."""
    copy_id = _id(submission)
    for _ in range(rng.choice([1, 1, 2])):
        job = {"job_id": f"{rng.randint(1, 4):06d}"} if rng.random() < 0.3 else {}
        at = rng.choice([1.0, 900.0]) * rng.random()
        yield Command(at, {"command": "redrive", "copy_id": copy_id, **job}, after=(Moment.SETTLED, copy_id))


def _sometime(rng: Random, scenario: Scenario, submission: Submission, body: Body) -> Command:
    """A moment for a command: any, or one at which something else is just under way."""
    copy_id = _id(submission)
    match rng.choice(["any", "any", "while ingest writes", "while jobs are launched", "during an outage", "published"]):
        case "while ingest writes":
            return Command(rng.choice([0.0, 0.5, 5.0]) * rng.random(), body, after=(Moment.BEGUN, copy_id))
        case "while jobs are launched":
            return Command(rng.choice([0.0, 3.0, 15.0]) * rng.random(), body, after=(Moment.AT_WORK, copy_id))
        case "during an outage" if scenario.outages:
            start, seconds = rng.choice(scenario.outages)
            return Command(start + seconds * rng.random(), body)
        case "published":
            return Command(rng.choice([0.0, 1.0]) * rng.random(), body, after=(Moment.SETTLED, copy_id))
    return Command(submission.at + rng.expovariate(1 / rng.choice([5, 60, 600])), body)


def _subject(rng: Random, scenario: Scenario, submission: Submission) -> Callable[[], Body]:
    """What is paused; each call writes it in one of the ways in which people do."""
    name, project_id = rng.choice([*scenario.projects.items()])
    of_project = [
        {"project_id": project_id},
        {"project_id": project_id.upper()},
        {"project_id": name.replace(" ", "-")},
        {"project": name},
        {"project": project_id},
    ]
    ways: list[Body] = rng.choice([[{"all": True}], [{"copy_id": _id(submission)}], of_project])
    return lambda: rng.choice(ways)


def _id(submission: Submission) -> str:
    return str(submission.body["copy_id"])
