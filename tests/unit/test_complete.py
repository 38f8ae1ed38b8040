"""Complete: a settled copy is announced once, whatever is repeated, comes late or dies in between."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.complete import CLAIM, Complete
from icav2_copy_batch.domain.documents import Detail, failure_cause
from icav2_copy_batch.domain.job import Copy, CopyStatus, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import CopyOptions, Limits, flip
from tests import fakes
from tests.event_files import sample, schema_faults

PASSED, FAILED = JobStatus.PASSED, JobStatus.FAILED
MANIFEST = {"icav2://from/a.txt": ["icav2://to/1/", "icav2://to/2/"], "icav2://from/b.txt": ["icav2://to/1/"]}


@dataclass
class World:
    """A copy of two jobs in the table, and the use case with everything around it."""

    task_tokens: frozenset[str] = frozenset()
    manifest: dict[str, list[str]] = field(default_factory=lambda: MANIFEST)
    line: fakes.Line = field(default_factory=fakes.Line)
    clock: fakes.Clock = field(default_factory=fakes.Clock)

    def __post_init__(self) -> None:
        self.table = fakes.Table()  # over no line, until the copy is there
        self.bucket = fakes.Bucket(self.line)
        self.bus: fakes.Bus = fakes.Bus(self.line)
        self.tasks = fakes.Tasks(self.line)
        planned = flip(self.manifest, Limits())
        self.table.create_copy(
            Copy(
                "run",
                "digest",
                timestamp(self.clock()),
                len(planned),
                len(planned),
                "s3://our-bucket/manifests/run.json",
                task_tokens=self.task_tokens,
            )
        )
        fakes.create_due_jobs(self.table, "run", planned, CopyOptions(), self.clock(), self.clock())
        self.table.mark_ingested("run", self.clock())

    def end(self, number: int, status: JobStatus, reason: str = "disk full") -> None:
        job = self.table.job_items["run", f"{number:06d}"]
        running = fakes.run(self.table, job, self.clock(), f"ica-{number}")
        ended = running.ended_attempt("ENDED", None if status is PASSED else reason, self.clock())
        assert (self.table.mark_passed if status is PASSED else self.table.give_up)(running, ended, self.clock())

    def settle(self, *statuses: JobStatus) -> World:
        """Have the jobs end so; from here on the table hangs on the line too."""
        for number, status in enumerate(statuses, start=1):
            self.end(number, status)
        self.clock.forward(seconds=1)
        self.table.line = self.line
        return self

    @property
    def complete(self) -> Complete:
        return Complete(self.table, self.bucket, self.bus, self.tasks, self.clock)

    def announce(self) -> CopyStatus | None:
        return self.complete.announce("run")

    def copy(self) -> Copy:
        return self.table.copies["run"].copy

    def everything(self) -> dict[str, Any]:
        """The state of the world, less when it was announced, and events of one id as one."""
        row = self.table.copies["run"]
        return deepcopy(
            {
                "copy": row.copy,
                "claimed until": row.announcing_until,
                "due": row.due_at,
                "jobs": self.table.job_items,
                "objects": self.bucket.objects,
                "events": {detail["event_id"]: (detail_type, detail) for detail_type, detail in self.bus.events},
                "answers": self.tasks.answers,
            }
        )


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "status", "detail_type"),
    [
        ((PASSED, PASSED), CopyStatus.COMPLETED, "CopyCompleted"),
        ((PASSED, FAILED), CopyStatus.FAILED, "CopyFailed"),
        ((FAILED, FAILED), CopyStatus.FAILED, "CopyFailed"),
    ],
)
def test_a_settled_copy_is_announced(ends: tuple[JobStatus, ...], status: CopyStatus, detail_type: str) -> None:
    world = World().settle(*ends)
    assert world.announce() is status
    ((sent_type, detail),) = world.bus.events
    assert sent_type == detail_type
    assert schema_faults("copy-settled", detail) == []
    assert (detail["copy_id"], detail["status"]) == ("run", status)
    assert world.copy().status is status
    assert world.table.copies["run"].announced_at == timestamp(world.clock())
    assert world.table.copies["run"].due_at is None


def test_the_result_is_stored_where_the_event_says() -> None:
    world = World().settle(PASSED, FAILED)
    world.announce()
    detail = world.bus.events[0].detail
    assert detail["result_uri"] == "s3://our-bucket/results/run.json"
    assert json.loads(world.bucket["results/run.json"]) == detail


def test_the_event_lists_the_jobs_in_order_with_their_sources() -> None:
    world = World().settle(PASSED, PASSED)
    world.announce()
    assert [
        (job["dest_uri"], job["source_uris"]) for job in world.bus.events[0].detail["job_list_with_attempt_counter"]
    ] == [
        ("icav2://to/1/", ["icav2://from/a.txt", "icav2://from/b.txt"]),
        ("icav2://to/2/", ["icav2://from/a.txt"]),
    ]


def test_a_second_call_does_nothing() -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    world.announce()
    before = world.everything()
    world.clock.forward(hours=1)
    assert world.announce() is None
    assert world.everything() == before
    assert len(world.bus.events) == 1


@pytest.mark.parametrize("ends", [(), (PASSED,), (FAILED,)])
def test_nothing_is_announced_while_a_job_is_open(ends: tuple[JobStatus, ...]) -> None:
    world = World(frozenset({"token"})).settle(*ends)
    before = world.everything()
    assert world.announce() is None
    assert world.everything() == before


def test_a_copy_that_is_not_there_is_not_announced() -> None:
    world = World().settle(PASSED, PASSED)
    assert world.complete.announce("another") is None
    assert world.bus.events == []


def test_the_write_in_the_sample_of_the_stream_is_of_the_kind_that_is_announced() -> None:
    (record,) = sample("stream-settled-event")["Records"]
    assert record["dynamodb"]["NewImage"]["open_jobs"] == {"N": str(World().settle(PASSED, PASSED).copy().open_jobs)}


# --- those who wait --------------------------------------------------------------------------------------------------


def test_every_task_that_waits_for_a_completed_copy_succeeds_with_the_detail_of_the_event() -> None:
    world = World(frozenset({"one", "two"})).settle(PASSED, PASSED)
    world.announce()
    detail = world.bus.events[0].detail
    assert world.tasks.answers == {token: fakes.Succeeded(token, detail) for token in ("one", "two")}


def test_every_task_that_waits_for_a_failed_copy_fails_with_the_reasons() -> None:
    world = World(frozenset({"one", "two"})).settle(PASSED, FAILED)
    world.announce()
    assert set(world.tasks.answers) == {"one", "two"}
    for token in ("one", "two"):
        answer = world.tasks.answers[token]
        assert isinstance(answer, fakes.Failed)
        assert answer.error == "CopyFailed"
        assert answer.cause == failure_cause(world.bus.events[0].detail)
        assert answer.cause["failed_jobs"] == [
            {
                "dest_uri": "icav2://to/2/",
                "attempts": 1,
                "failed_jobs_list": ["ica-2"],
                "reason": "disk full",
                "failed_sources": [],
            }
        ]
        assert answer.cause["result_uri"] == "s3://our-bucket/results/run.json"


def test_what_is_too_large_to_be_sent_is_sent_without_its_jobs_and_stored_whole() -> None:
    manifest = {f"icav2://from/{number}-{'x' * 2000}": ["icav2://to/1/"] for number in range(150)}
    world = World(frozenset({"token"}), manifest).settle(PASSED)
    world.announce()
    detail = world.bus.events[0].detail
    assert detail["truncated"] is True
    assert "job_list_with_attempt_counter" not in detail
    assert world.tasks.answers == {"token": fakes.Succeeded("token", detail)}
    stored = json.loads(world.bucket["results/run.json"])
    assert stored["truncated"] is False
    assert stored["job_list_with_attempt_counter"][0]["source_uris"] == sorted(manifest)
    assert schema_faults("copy-settled", stored) == []


class OvertakenBus(fakes.Bus):
    """A bus that lets something else happen when the event has been put: before that is noted."""

    def __init__(self, world: World, *happenings: Any) -> None:
        super().__init__(world.line)
        self.happenings = list(happenings)

    def put(self, detail_type: str, detail: Detail) -> None:
        super().put(detail_type, detail)
        if self.happenings:
            self.happenings.pop()()


class OvertakenTasks(fakes.Tasks):
    """Tasks that, while they are answered, have another one come to wait."""

    def __init__(self, world: World, *arriving: str) -> None:
        super().__init__(world.line)
        self.world, self.arriving = world, list(arriving)

    def succeed(self, task_token: str, output: Detail) -> None:
        super().succeed(task_token, output)
        if self.arriving:
            assert self.world.table.add_task_token("run", self.arriving.pop())


def test_tasks_that_come_to_wait_while_a_copy_is_being_announced_are_answered_too() -> None:
    world = World(frozenset({"first"})).settle(PASSED, PASSED)
    world.tasks = OvertakenTasks(world, "third", "second")
    assert world.announce() is CopyStatus.COMPLETED
    assert world.tasks.answered == ["first", "second", "third"]
    assert len(world.bus.events) == 1
    assert world.copy().status is CopyStatus.COMPLETED


def test_a_first_task_that_comes_to_wait_while_a_copy_is_being_announced_is_answered_too() -> None:
    world = World().settle(PASSED, FAILED)
    world.bus = OvertakenBus(world, lambda: world.table.add_task_token("run", "late"))
    world.announce()
    assert isinstance(world.tasks.answers["late"], fakes.Failed)
    assert world.copy().status is CopyStatus.FAILED


@pytest.mark.parametrize(("ends", "answer"), [((PASSED, PASSED), fakes.Succeeded), ((PASSED, FAILED), fakes.Failed)])
def test_a_task_that_comes_too_late_gets_the_same_answer(ends: tuple[JobStatus, ...], answer: type) -> None:
    world = World(frozenset({"first"})).settle(*ends)
    world.announce()
    assert not world.table.add_task_token("run", "late")
    world.complete.answer_announced("run", "late")
    assert isinstance(world.tasks.answers["late"], answer)
    assert world.tasks.answers["late"][1:] == world.tasks.answers["first"][1:]
    assert len(world.bus.events) == 1


def test_a_task_cannot_wait_for_a_copy_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="another"):
        World().complete.answer_announced("another", "token")


# --- at the same moment, and cut off ---------------------------------------------------------------------------------


def test_of_two_that_announce_at_the_same_moment_one_does() -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    answers: list[CopyStatus | None] = []
    world.bus = OvertakenBus(world, lambda: answers.append(world.announce()))
    assert world.announce() is CopyStatus.COMPLETED
    assert answers == [None]
    assert len(world.bus.events) == 1


def test_who_was_overtaken_after_the_claim_ran_out_leaves_the_rest_to_the_other() -> None:
    world = World(frozenset({"first"})).settle(PASSED, PASSED)

    def another_takes_over() -> None:
        assert world.table.add_task_token("run", "second")
        world.clock.now += CLAIM + timedelta(seconds=1)
        assert world.announce() is CopyStatus.COMPLETED

    world.bus = OvertakenBus(world, another_takes_over)
    assert world.announce() is CopyStatus.COMPLETED
    assert set(world.tasks.answers) == {"first", "second"}
    assert world.tasks.answered.count("second") == 1
    first, second = world.bus.events
    assert first.detail["event_id"] == second.detail["event_id"]
    assert world.copy().status is CopyStatus.COMPLETED


@pytest.mark.parametrize("ends", [(PASSED, PASSED), (PASSED, FAILED)])
def test_killed_after_any_request_it_is_announced_in_the_end_under_the_same_event_id(
    ends: tuple[JobStatus, ...],
) -> None:
    def fresh(cut_after: int | None = None) -> World:
        return World(frozenset({"token"}), line=fakes.Line(cut_after=cut_after)).settle(*ends)

    undisturbed = fresh()
    undisturbed.announce()
    requests = undisturbed.line.requests
    assert requests >= 6  # claim, jobs, result, event, answer, note
    for cut_after in range(1, requests + 1):
        world = fresh(cut_after)
        with pytest.raises(fakes.LineCut):
            world.announce()
        world.line.cut_after = None
        announced_before = world.copy().is_announced
        assert announced_before == (cut_after == requests)
        world.clock.now += CLAIM
        assert world.announce() is None, "its maker is dead, but its claim has not run out"
        world.clock.now += timedelta(milliseconds=1)
        assert (world.announce() is None) == announced_before
        assert world.everything() == undisturbed.everything(), f"killed after request {cut_after} of {requests}"


@pytest.mark.parametrize("failing", ["bucket", "bus", "tasks"])
def test_an_announcement_that_failed_may_be_tried_again_at_once(failing: str) -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    dead = fakes.Line(cut_after=0)
    requested: dict[str, fakes.Bucket | fakes.Bus | fakes.Tasks]
    requested = {"bucket": world.bucket, "bus": world.bus, "tasks": world.tasks}
    requested[failing].line = dead
    with pytest.raises(fakes.LineCut):
        world.announce()
    assert not world.copy().is_announced
    dead.cut_after = None
    assert world.announce() is CopyStatus.COMPLETED
    assert set(world.tasks.answers) == {"token"}


def test_the_result_is_there_before_the_event_and_the_event_before_the_note() -> None:
    world = World().settle(PASSED, PASSED)
    seen: list[tuple[bool, bool]] = []
    world.bus = OvertakenBus(
        world,
        lambda: seen.append((("our-bucket", "results/run.json") in world.bucket.objects, world.copy().is_announced)),
    )
    world.announce()
    assert seen == [(True, False)]
