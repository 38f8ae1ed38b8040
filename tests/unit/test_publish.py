"""Publish: a settled copy is published once, whatever is repeated, comes late or dies in between."""

from __future__ import annotations

import csv
import json
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest

from icav2_copy_batch.domain.events import CAUSE_KEYS, Detail
from icav2_copy_batch.domain.job import Copy, CopyStatus, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.report import table
from icav2_copy_batch.domain.stops import Paused, Stops, copy_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages.publish import (
    ANSWERED_WITHIN,
    CLAIM_MARGIN,
    HEARTBEATS_APART,
    MOST_COPIES_AT_ONCE,
    SECONDS_TO_FINISH,
)
from icav2_copy_batch.stages.report import SECONDS_TO_REPORT
from tests import doubles
from tests.event_files import invocation, schema_faults
from tests.outgoing_events import as_sent

PASSED, FAILED = JobStatus.PASSED, JobStatus.FAILED
SECONDS_LEFT = 900.0
CLAIM = timedelta(seconds=SECONDS_LEFT) + CLAIM_MARGIN
MANIFEST = {"icav2://from/a.txt": ["icav2://to/1/", "icav2://to/2/"], "icav2://from/b.txt": ["icav2://to/1/"]}


@dataclass
class World(doubles.World):
    """A copy of two jobs in the table, which hangs on no line until they have ended."""

    task_tokens: frozenset[str] = frozenset()
    manifest: dict[str, list[str]] = field(default_factory=lambda: MANIFEST)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.table.line = doubles.Line()
        planned = flip(self.manifest, Limits())
        self.create_copy(planned, task_tokens=self.task_tokens)
        doubles.create_due_jobs(self.table, "run", planned, CopyOptions(), self.clock(), self.clock())
        self.table.mark_ingested("run", self.clock())

    def end(self, number: int, status: JobStatus, reason: str = "disk full") -> None:
        job = self.table.job_items["run", f"{number:06d}"]
        running = doubles.run(self.table, job, self.clock(), f"ica-{number}")
        ended = running.ended_attempt("ENDED", None if status is PASSED else reason, self.clock())
        assert (self.table.mark_passed if status is PASSED else self.table.give_up)(running, ended, self.clock())

    def settle(self, *statuses: JobStatus) -> World:
        """Have the jobs end so; from here on the table hangs on the line too."""
        for number, status in enumerate(statuses, start=1):
            self.end(number, status)
        self.clock.forward(seconds=1)
        self.table.line = self.line
        return self

    def settle_cancelled(self) -> World:
        """The same of a copy that was paused, and cancelled when its first job had passed."""
        self.end(1, PASSED)
        assert self.table.pause(Paused(copy_subject("run"), timestamp(self.clock())), "run")
        assert self.table.mark_cancelled("run", self.clock())
        assert self.table.cancel(self.table.job_items["run", "000002"], self.clock())
        return self.settle()

    def publish_run(self) -> CopyStatus | None:
        return self.publish.publish("run")

    def copy(self) -> Copy:
        return self.table.copies["run"].copy

    def everything(self) -> dict[str, Any]:
        """The state of the world, less when it was published, and events of one id as one."""
        row = self.table.copies["run"]
        return deepcopy(
            {
                "copy": replace(row.copy, published_at=None),
                "claimed until": row.publishing_until,
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
def test_a_settled_copy_is_published(ends: tuple[JobStatus, ...], status: CopyStatus, detail_type: str) -> None:
    world = World().settle(*ends)
    assert world.publish_run() is status
    ((sent_type, detail),) = world.bus.events
    assert sent_type == detail_type
    assert schema_faults("copy-settled", detail) == []
    assert (detail["copy_id"], detail["status"]) == ("run", status)
    assert world.copy().status is status
    assert world.table.copies["run"].copy.published_at == timestamp(world.clock())
    assert world.table.copies["run"].due_at is None


def test_the_result_is_stored_where_the_event_says() -> None:
    world = World().settle(PASSED, FAILED)
    world.publish_run()
    detail = world.bus.events[0].detail
    assert detail["result_uri"] == "s3://our-bucket/results/run.json"
    assert detail["report_uri"] == "s3://our-bucket/results/run.html"
    assert as_sent(json.loads(world.bucket["results/run.json"])) == detail


def test_a_report_is_stored_beside_the_result() -> None:
    world = World().settle(PASSED, FAILED)
    world.publish_run()
    rows = list(csv.DictReader(StringIO(world.bucket["results/run.csv"].decode(), newline="")))
    assert [(row["source"], row["destination"], row["outcome"], row["reason"]) for row in rows] == [
        ("icav2://from/a.txt", "icav2://to/1/", "COPIED", ""),
        ("icav2://from/b.txt", "icav2://to/1/", "COPIED", ""),
        ("icav2://from/a.txt", "icav2://to/2/", "ENDED", "disk full"),
    ]
    page = world.bucket["results/run.html"].decode()
    assert data_of(page)["totals"]["outcomes"] == {"COPIED": 2, "ENDED": 1}
    assert data_of(page)["copy"]["table"] == "s3://our-bucket/results/run.csv"


@pytest.mark.parametrize("ends", [(PASSED, PASSED), (PASSED, FAILED)])
def test_a_copys_jobs_are_read_once(ends: tuple[JobStatus, ...]) -> None:
    """For its result, its table and its page: each reading of them costs."""
    world = World().settle(*ends)
    jobs, reads = world.table.jobs, list[str]()

    def counted(copy_id: str, after: str | None = None) -> Any:
        reads.append(copy_id)
        return jobs(copy_id)

    world.table.jobs = counted  # type: ignore[method-assign]
    world.publish_run()
    assert reads == ["run"]


def data_of(page: str) -> Any:
    """What a page holds."""
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


def test_the_event_lists_the_jobs_in_order_with_their_sources() -> None:
    world = World().settle(PASSED, PASSED)
    world.publish_run()
    assert [
        (job["dest_uri"], job["source_uris"]) for job in world.bus.events[0].detail["job_list_with_attempt_counter"]
    ] == [
        ("icav2://to/1/", ["icav2://from/a.txt", "icav2://from/b.txt"]),
        ("icav2://to/2/", ["icav2://from/a.txt"]),
    ]


def test_a_second_call_does_nothing() -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    world.publish_run()
    before = world.everything()
    world.clock.forward(hours=1)
    assert world.publish_run() is None
    assert world.everything() == before
    assert len(world.bus.events) == 1


@pytest.mark.parametrize("ends", [(), (PASSED,), (FAILED,)])
def test_nothing_is_published_while_a_job_is_open(ends: tuple[JobStatus, ...]) -> None:
    world = World(frozenset({"token"})).settle(*ends)
    before = world.everything()
    assert world.publish_run() is None
    assert world.everything() == before


def test_a_copy_that_is_not_there_is_not_published() -> None:
    world = World().settle(PASSED, PASSED)
    assert world.publish.publish("another") is None
    assert world.bus.events == []


def test_the_write_in_the_sample_of_the_stream_is_of_the_kind_that_is_published() -> None:
    (record,) = invocation("stream-settled-event")["Records"]
    assert record["dynamodb"]["NewImage"]["open_jobs"] == {"N": str(World().settle(PASSED, PASSED).copy().open_jobs)}


# --- those who wait --------------------------------------------------------------------------------------------------


def test_every_task_that_waits_for_a_completed_copy_succeeds_with_the_detail_of_the_event() -> None:
    world = World(frozenset({"one", "two"})).settle(PASSED, PASSED)
    world.publish_run()
    detail = world.bus.events[0].detail
    assert world.tasks.answers == {token: doubles.Succeeded(token, detail) for token in ("one", "two")}


def test_a_task_that_waits_for_a_cancelled_copy_fails() -> None:
    world = World(frozenset({"token"})).settle_cancelled()
    world.publish_run()
    (event,) = world.bus.events
    assert (event.detail_type, event.detail["cancelled_jobs"]) == ("CopyCancelled", 1)
    cause = {key: event.detail[key] for key in CAUSE_KEYS}
    assert world.tasks.answers == {"token": doubles.Failed("token", "CopyCancelled", cause)}


def test_every_task_that_waits_for_a_failed_copy_fails_with_the_reasons() -> None:
    world = World(frozenset({"one", "two"})).settle(PASSED, FAILED)
    world.publish_run()
    assert set(world.tasks.answers) == {"one", "two"}
    for token in ("one", "two"):
        answer = world.tasks.answers[token]
        assert isinstance(answer, doubles.Failed)
        assert answer.error == "CopyFailed"
        assert answer.cause == {key: world.bus.events[0].detail[key] for key in CAUSE_KEYS}
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
        assert answer.cause["report_uri"] == "s3://our-bucket/results/run.html"


def test_what_is_too_large_to_be_sent_is_sent_without_its_jobs_and_stored_whole() -> None:
    manifest = {f"icav2://from/{number}-{'x' * 2000}": ["icav2://to/1/"] for number in range(150)}
    world = World(frozenset({"token"}), manifest).settle(PASSED)
    world.publish_run()
    detail = world.bus.events[0].detail
    assert detail["truncated"] is True
    assert "job_list_with_attempt_counter" not in detail
    assert world.tasks.answers == {"token": doubles.Succeeded("token", detail)}
    stored = json.loads(world.bucket["results/run.json"])
    assert stored["truncated"] is False
    assert stored["job_list_with_attempt_counter"][0]["source_uris"] == sorted(manifest)
    assert schema_faults("copy-settled", stored) == []


class OvertakenBus(doubles.Bus):
    """A bus that lets something else happen when the event has been put: before that is noted."""

    def __init__(self, world: World, *happenings: Any) -> None:
        super().__init__(world.line)
        self.happenings = list(happenings)

    def put(self, detail_type: str, detail: Detail) -> None:
        super().put(detail_type, detail)
        if self.happenings:
            self.happenings.pop()()


class OvertakenTasks(doubles.Tasks):
    """Tasks that, while they are answered, have another one come to wait."""

    def __init__(self, world: World, *arriving: str) -> None:
        super().__init__(world.line)
        self.world, self.arriving = world, list(arriving)

    def succeed(self, task_token: str, output: Detail) -> None:
        super().succeed(task_token, output)
        if self.arriving:
            assert self.world.table.add_task_token("run", self.arriving.pop())


def test_tasks_that_come_to_wait_while_a_copy_is_being_published_are_answered_too() -> None:
    world = World(frozenset({"first"})).settle(PASSED, PASSED)
    world.tasks = OvertakenTasks(world, "third", "second")
    assert world.publish_run() is CopyStatus.COMPLETED
    assert world.tasks.answered == ["first", "second", "third"]
    assert len(world.bus.events) == 1
    assert world.copy().status is CopyStatus.COMPLETED


def test_a_first_task_that_comes_to_wait_while_a_copy_is_being_published_is_answered_too() -> None:
    world = World().settle(PASSED, FAILED)
    world.bus = OvertakenBus(world, lambda: world.table.add_task_token("run", "late"))
    world.publish_run()
    assert isinstance(world.tasks.answers["late"], doubles.Failed)
    assert world.copy().status is CopyStatus.FAILED


@pytest.mark.parametrize(
    ("ends", "answer"), [((PASSED, PASSED), doubles.Succeeded), ((PASSED, FAILED), doubles.Failed)]
)
def test_a_task_that_comes_too_late_gets_the_same_answer(ends: tuple[JobStatus, ...], answer: type) -> None:
    world = World(frozenset({"first"})).settle(*ends)
    world.publish_run()
    assert not world.table.add_task_token("run", "late")
    world.publish.answer_published("run", "late")
    assert isinstance(world.tasks.answers["late"], answer)
    assert world.tasks.answers["late"][1:] == world.tasks.answers["first"][1:]
    assert len(world.bus.events) == 1


def test_a_task_cannot_wait_for_a_copy_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="another"):
        World().publish.answer_published("another", "token")


# --- at the same moment, and cut off ---------------------------------------------------------------------------------


def test_of_two_that_publish_at_the_same_moment_one_does() -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    answers: list[CopyStatus | None] = []
    world.bus = OvertakenBus(world, lambda: answers.append(world.publish_run()))
    assert world.publish_run() is CopyStatus.COMPLETED
    assert answers == [None]
    assert len(world.bus.events) == 1


def test_who_was_overtaken_after_the_claim_ran_out_leaves_the_rest_to_the_other() -> None:
    world = World(frozenset({"first"})).settle(PASSED, PASSED)

    def another_takes_over() -> None:
        assert world.table.add_task_token("run", "second")
        world.clock.now += CLAIM + timedelta(seconds=1)
        assert world.publish_run() is CopyStatus.COMPLETED

    world.bus = OvertakenBus(world, another_takes_over)
    assert world.publish_run() is CopyStatus.COMPLETED
    assert set(world.tasks.answers) == {"first", "second"}
    assert world.tasks.answered.count("second") == 1
    first, second = world.bus.events
    assert first.detail["event_id"] == second.detail["event_id"]
    assert world.copy().status is CopyStatus.COMPLETED


def test_killed_after_any_request_nothing_is_left_of_the_stops_of_a_published_copy() -> None:
    undisturbed = World().settle_cancelled()
    assert undisturbed.table.stops() != Stops()
    before = undisturbed.line.requests
    undisturbed.publish_run()
    requests = undisturbed.line.requests - before
    assert undisturbed.table.stops() == Stops()
    for cut_after in range(1, requests + 1):
        world = World().settle_cancelled()
        world.line.cut_after = world.line.requests + cut_after
        with pytest.raises(doubles.LineCut):
            world.publish_run()
        world.line.cut_after = None
        world.clock.now += 2 * CLAIM
        assert (world.publish_run() is None) == (cut_after == requests), "it was published by the last"
        assert (world.table.stops(), world.table.pauses()) == (Stops(), [])


def test_what_cannot_be_forgotten_for_the_moment_is_forgotten_by_the_next_publication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World().settle_cancelled()

    def fails(copy_id: str) -> None:
        raise RuntimeError("made by the test")

    with monkeypatch.context() as patched:
        patched.setattr(world.table, "forget_cancelled", fails)
        with pytest.raises(RuntimeError):
            world.publish_run()
    assert world.publish_run() is CopyStatus.CANCELLED, "its end is counted once it is published"
    assert world.table.stops() == Stops()


@pytest.mark.parametrize("ends", [(PASSED, PASSED), (PASSED, FAILED)])
def test_killed_after_any_request_it_is_published_in_the_end_under_the_same_event_id(
    ends: tuple[JobStatus, ...],
) -> None:
    def fresh(cut_after: int | None = None) -> World:
        return World(frozenset({"token"}), line=doubles.Line(cut_after=cut_after)).settle(*ends)

    undisturbed = fresh()
    undisturbed.publish_run()
    requests = undisturbed.line.requests
    assert requests >= 8  # claim, jobs, result, table, page, event, answer, note
    for cut_after in range(1, requests + 1):
        world = fresh(cut_after)
        with pytest.raises(doubles.LineCut):
            world.publish_run()
        world.line.cut_after = None
        published_before = world.copy().is_published
        assert published_before == (cut_after == requests)
        world.clock.now += CLAIM
        assert world.publish_run() is None, "its maker is dead, but its claim has not run out"
        world.clock.now += timedelta(milliseconds=1)
        assert (world.publish_run() is None) == published_before
        assert world.everything() == undisturbed.everything(), f"killed after request {cut_after} of {requests}"


@pytest.mark.parametrize("failing", ["bucket", "bus"])
def test_a_publication_that_failed_may_be_tried_again_at_once(failing: str) -> None:
    world = World(frozenset({"token"})).settle(PASSED, PASSED)
    dead = doubles.Line(cut_after=0)
    requested: dict[str, doubles.Bucket | doubles.Bus] = {"bucket": world.bucket, "bus": world.bus}
    requested[failing].line = dead
    with pytest.raises(doubles.LineCut):
        world.publish_run()
    assert not world.copy().is_published
    dead.cut_after = None
    assert world.publish_run() is CopyStatus.COMPLETED
    assert set(world.tasks.answers) == {"token"}


def test_the_result_is_there_before_the_event_and_the_event_before_the_note() -> None:
    world = World().settle(PASSED, PASSED)
    seen: list[tuple[list[str], bool]] = []
    world.bus = OvertakenBus(
        world,
        lambda: seen.append((sorted(world.bucket.keys()), world.copy().is_published)),
    )
    world.publish_run()
    assert seen == [(["results/run.csv", "results/run.html", "results/run.json"], False)]


# --- of any size -----------------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_written_in_time_is_stored_as_it_is_sent() -> None:
    """Else its copy would never be published."""
    world = World().settle(PASSED, FAILED)
    read_slowly(world, (SECONDS_LEFT - SECONDS_TO_FINISH) / 2 + 1)
    assert world.publish_run() is CopyStatus.FAILED
    (event,) = world.bus.events
    assert json.loads(world.bucket["results/run.json"]) == event.detail
    assert event.detail["truncated"] is True
    assert event.detail["failed_jobs"][0]["dest_uri"] == "icav2://to/2/"
    assert schema_faults("copy-settled", event.detail) == []
    assert world.bucket.keys() == {"results/run.json", "results/run.html"}
    assert data_of(world.bucket["results/run.html"].decode())["copy"]["table"] == ""


def read_slowly(world: World, seconds: float) -> None:
    """Have each job take so long to be read."""
    jobs = world.table.jobs

    def slow(copy_id: str, after: str | None = None) -> Any:
        for job in jobs(copy_id):
            world.seconds_left -= seconds
            yield job

    world.table.jobs = slow  # type: ignore[method-assign]


def test_a_report_for_which_there_is_no_time_does_not_hold_up_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    world = World().settle(PASSED, FAILED)
    read_slowly(world, (SECONDS_LEFT - SECONDS_TO_REPORT) / 2 + 1)
    assert world.publish_run() is CopyStatus.FAILED
    (event,) = world.bus.events
    assert as_sent(json.loads(world.bucket["results/run.json"])) == event.detail
    assert world.bucket.keys() == {"results/run.json", "results/run.html"}
    page = data_of(world.bucket["results/run.html"].decode())
    assert (page["copy"]["table"], page["jobs"]) == ("", [])
    assert "report too large to be written" in caplog.text


def test_a_report_that_cannot_be_made_does_not_hold_up_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> str:
        raise ValueError("made by the test")

    undisturbed, world = World().settle(PASSED, FAILED), World().settle(PASSED, FAILED)
    undisturbed.publish_run()
    monkeypatch.setattr(table, "rows", breaks)
    assert world.publish_run() is CopyStatus.FAILED
    assert world.bus.events == undisturbed.bus.events
    assert world.bucket["results/run.json"] == undisturbed.bucket["results/run.json"]
    assert world.bucket.keys() == {"results/run.json", "results/run.html"}
    assert "report cannot be made" in caplog.text


def test_what_breaks_while_the_result_is_written_leaves_no_upload_of_the_report() -> None:
    world = World().settle(PASSED, PASSED)
    jobs = world.table.jobs

    def breaks(copy_id: str, after: str | None = None) -> Any:
        yield next(iter(jobs(copy_id)))
        raise RuntimeError("made by the test")

    world.table.jobs = breaks  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="made by the test"):
        world.publish_run()
    assert (world.bucket.keys(), world.bucket.uploads) == (set(), 0)


def test_the_claim_lasts_for_longer_than_its_maker_can_live() -> None:
    world = World().settle(PASSED, PASSED)
    began = world.clock()
    world.bus = OvertakenBus(world, lambda: claims.append(world.table.copies["run"].publishing_until))
    claims: list[str | None] = []
    world.publish_run()
    assert claims == [timestamp(began + timedelta(seconds=SECONDS_LEFT) + CLAIM_MARGIN)]


# --- tasks that cannot be answered, and those that wait --------------------------------------------------------------


class PoisonedTasks(doubles.Tasks):
    """Tasks of which some cannot be answered, nor told to wait on."""

    def __init__(self, *poisoned: str) -> None:
        super().__init__()
        self.poisoned = set(poisoned)

    def succeed(self, task_token: str, output: Detail) -> None:
        self._refuse(task_token)
        super().succeed(task_token, output)

    def fail(self, task_token: str, error: str, cause: Detail) -> None:
        self._refuse(task_token)
        super().fail(task_token, error, cause)

    def send_heartbeat(self, task_token: str) -> bool:
        self._refuse(task_token)
        return super().send_heartbeat(task_token)

    def _refuse(self, task_token: str) -> None:
        if task_token in self.poisoned:
            raise RuntimeError("made by the test")


@pytest.mark.parametrize("ends", [(PASSED, PASSED), (PASSED, FAILED)])
def test_a_task_that_cannot_be_answered_holds_up_neither_the_others_nor_the_publication(
    ends: tuple[JobStatus, ...],
) -> None:
    world = World(frozenset({"a", "poison", "z"})).settle(*ends)
    world.tasks = PoisonedTasks("poison")
    assert world.publish_run() is world.copy().status
    assert set(world.tasks.answers) == {"a", "z"}
    assert world.copy().task_tokens == {"poison"}
    assert world.publish_run() is None
    assert len(world.bus.events) == 1


def test_it_is_answered_once_that_is_possible() -> None:
    world = World(frozenset({"a", "poison"})).settle(PASSED, PASSED)
    world.tasks = tasks = PoisonedTasks("poison")
    world.publish_run()
    for _ in range(3):
        world.clock.now += HEARTBEATS_APART
        world.clock.forward(seconds=1)
        world.publish.keep_tasks()
    assert set(tasks.answers) == {"a"}
    tasks.poisoned.clear()
    world.clock.now += 2 * HEARTBEATS_APART
    world.publish.keep_tasks()
    assert tasks.answers["poison"] == doubles.Succeeded("poison", world.bus.events[0].detail)
    assert tasks.answered == ["a", "poison"]
    assert (world.copy().task_tokens, world.table.waited_for) == (frozenset(), {})
    assert len(world.bus.events) == 1


def test_it_is_given_up_a_day_after_the_copy_has_settled() -> None:
    world = World(frozenset({"poison"})).settle(PASSED, PASSED)
    world.tasks = PoisonedTasks("poison")
    world.publish_run()
    world.clock.now += ANSWERED_WITHIN
    world.publish.keep_tasks()
    assert (world.copy().task_tokens, world.table.waited_for) == (frozenset(), {})


def keep_tasks(world: World) -> list[str]:
    """Whose heartbeats were sent."""
    world.tasks.heartbeats.clear()
    world.publish.keep_tasks()
    return world.tasks.heartbeats


def test_tasks_get_heartbeats_while_their_copy_is_open() -> None:
    world = World(frozenset({"one", "two"}))
    assert keep_tasks(world) == ["one", "two"]
    assert keep_tasks(world) == [], "now and then is enough"
    world.clock.now += HEARTBEATS_APART
    world.clock.forward(seconds=1)
    assert world.table.add_task_token("run", "three")
    assert keep_tasks(world) == ["one", "three", "two"]
    world.settle(PASSED, PASSED)
    world.publish_run()
    world.clock.now += HEARTBEATS_APART
    assert keep_tasks(world) == []
    assert world.table.waited_for == {}


def test_one_that_comes_to_wait_has_its_first_heartbeat_soon() -> None:
    world = World(frozenset({"one"}))
    keep_tasks(world)
    world.table.add_task_token("run", "two")
    assert keep_tasks(world) == ["one", "two"]


def test_a_copy_for_which_nobody_waits_costs_no_look() -> None:
    world = World()
    world.table.line = world.line
    assert keep_tasks(world) == []
    assert world.line.requests == 1


def test_a_task_that_does_not_wait_any_more_is_dropped() -> None:
    world = World(frozenset({"gone", "there"}))
    world.tasks.fail("gone", "States.Timeout", {})
    keep_tasks(world)
    assert world.copy().task_tokens == {"there"}


def test_a_task_that_is_dropped_while_its_copy_is_published_holds_nothing_up() -> None:
    world = World(frozenset({"gone", "there"})).settle(PASSED, PASSED)
    world.bus = OvertakenBus(world, lambda: world.table.drop_task_token("run", "gone"))
    assert world.publish_run() is CopyStatus.COMPLETED
    assert world.copy().is_published
    assert set(world.tasks.answers) == {"gone", "there"}


def test_of_very_many_copies_those_are_seen_to_first_that_have_waited_longest() -> None:
    world = World()
    for number in range(MOST_COPIES_AT_ONCE + 1):
        copy = Copy(f"copy-{number:03d}", "digest", timestamp(world.clock()), 1, 1, "s3://our-bucket/m")
        world.table.create_copy(replace(copy, task_tokens=frozenset({f"token-{number:03d}"})))
    first = keep_tasks(world)
    assert len(first) == MOST_COPIES_AT_ONCE
    assert keep_tasks(world) == [f"token-{MOST_COPIES_AT_ONCE:03d}"]


def test_trouble_with_one_copy_holds_up_the_others_for_one_look_at_most() -> None:
    world = World(frozenset({"poison"}))
    world.table.create_copy(
        Copy("z", "d", timestamp(world.clock()), 1, 1, "s3://b/m", task_tokens=frozenset({"there"}))
    )
    world.tasks = PoisonedTasks("poison")
    assert keep_tasks(world) == []
    assert keep_tasks(world) == ["there"]
    assert world.copy().task_tokens == {"poison"}, "what may be well later is kept"
