"""How a copy is shown: why each of its queued jobs waits, by what is in the table now; and only the jobs asked for."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from icav2_copy_batch.domain.job import Hold, HoldReason, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.pace import first_pace
from icav2_copy_batch.domain.requests import ShowCopy
from icav2_copy_batch.domain.schedule import Slots, backlogs_of
from icav2_copy_batch.domain.stops import ALL, Paused, copy_subject, project_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.operators.show import Show
from tests import doubles

PAUSES = (ALL, project_subject("to"), copy_subject("run"))


class World(doubles.World):
    def in_backlog(self, *destinations: str, copy_id: str = "run") -> None:
        """A copy none of whose jobs has had a message."""
        planned = [PlannedJob(destination, tuple(self.sources)) for destination in destinations]
        now = self.clock()
        self.create_copy(planned, copy_id)
        self.table.create_jobs(copy_id, planned, CopyOptions(), now)
        self.table.create_backlogs(backlogs_of(copy_id, planned, timestamp(now)))
        self.table.mark_ingested(copy_id, now)

    def show(self, copy_id: str = "run", **asked: Any) -> dict[str, Any]:
        """What is answered; nothing is written for it."""
        before = deepcopy(self.table)
        show = Show(table=self.table, bucket_name="our-bucket", clock=self.clock, slots=self.slots)
        copy = self.table.get_copy(copy_id)
        assert copy
        answer = show.answer(copy, ShowCopy(copy_id=copy_id, **asked))
        assert self.table == before
        return answer

    def holds(self) -> list[tuple[str, str] | None]:
        """What holds each job, and the same in all."""
        found = [job["hold"] and tuple(job["hold"].values()) for job in self.show(jobs=True)["jobs"]]
        counted = {(each["reason"], each["jobs"]) for each in self.show(holds=True)["copy"]["holds"]}
        reasons = [hold[0] for hold in found if hold]
        if HoldReason.FOLDER_BUSY not in reasons:  # of a backlog the folders are not known
            assert counted == {(reason, reasons.count(reason)) for reason in reasons}
        return found

    def pause(self, subject: str, reason: str | None = "the disk is full") -> None:
        pause = Paused(subject, timestamp(self.clock()), "ann", reason)
        assert self.table.pause(pause, "run" if subject.startswith("copy") else None)

    def run(self, job: Job) -> Job:
        return doubles.run(self.table, self.now(job), self.clock(), f"ica-{job.job_id}", job.project)

    def end(self, job: Job) -> None:
        running = self.run(job)
        assert self.table.mark_passed(running, running.ended_attempt("SUCCEEDED", None, self.clock()), self.clock())


@pytest.fixture
def world() -> World:
    return World()


# --- what holds a queued job -----------------------------------------------------------------------------------------


def test_a_job_in_a_backlog_that_nothing_holds_waits_for_its_message(world: World) -> None:
    world.in_backlog("icav2://to/1/", "icav2://to/2/")
    said = "nothing holds it: its launch message is sent with the next poll"
    assert world.holds() == [("LAUNCH_MESSAGE", said)] * 2


def test_a_message_is_on_its_way_or_may_be_lost(world: World) -> None:
    world.create("icav2://to/1/", due_in=timedelta(seconds=300))
    assert world.holds() == [("LAUNCH_MESSAGE", "its launch message is on its way")]
    world.clock.forward(seconds=300)
    assert world.holds() == [
        ("LAUNCH_MESSAGE", "its launch message may be lost: another is sent with the next poll"),
    ]


@pytest.mark.parametrize("subject", PAUSES)
def test_a_pause_is_named_with_who_and_why_before_any_job_has_met_it(world: World, subject: str) -> None:
    world.in_backlog("icav2://to/1/", "icav2://to/2/")
    world.pause(subject)
    said = f"{subject} has been paused since 2024-05-28 03:12:00 UTC by ann: the disk is full"
    assert world.holds() == [("PAUSED", said)] * 2


def test_a_pause_of_another_project_or_copy_holds_nothing(world: World) -> None:
    world.in_backlog("icav2://to/1/", "icav2://elsewhere/1/")
    world.pause(project_subject("elsewhere"), reason=None)
    world.pause(project_subject("third"))
    assert world.table.pause(Paused(ALL, ""), None)
    assert world.table.resume(ALL, world.clock())
    free, held = world.holds()
    assert free
    assert free[0] == "LAUNCH_MESSAGE"
    assert held == ("PAUSED", "project elsewhere has been paused since 2024-05-28 03:12:00 UTC by ann")
    pauses = world.show(holds=True)["copy"]["pauses"]
    assert [each["subject"] for each in pauses] == ["project elsewhere"]


def test_several_pauses_are_all_named(world: World) -> None:
    world.in_backlog("icav2://to/1/")
    for subject in PAUSES:
        world.pause(subject)
    ((_, said),) = filter(None, world.holds())
    assert [each.partition(" has been")[0] for each in said.split("; ")] == ["all", "copy run", "project to"]
    assert len(world.show(holds=True)["copy"]["pauses"]) == 3


@pytest.mark.parametrize("reason", [HoldReason.NO_SLOT, HoldReason.NEXT_ATTEMPT, HoldReason.PAUSED])
def test_a_job_that_waits_for_its_turn_is_held_by_a_pause_and_then_not_any_more(
    world: World, reason: HoldReason
) -> None:
    world.create("icav2://to/1/")
    assert world.table.wait(LaunchRequest("run", "000001", 1), world.clock(), Hold(reason, "as stored"))
    world.pause(ALL)
    ((held, said),) = filter(None, world.holds())
    assert (held, said.partition(" since")[0]) == ("PAUSED", "all has been paused")
    world.table.resume(ALL, world.clock())
    ((held, _),) = filter(None, world.holds())
    assert held == ("LAUNCH_MESSAGE" if reason is HoldReason.PAUSED else reason)


def test_the_jobs_of_a_cancelled_copy_end_with_the_next_poll_whatever_else_holds_them(world: World) -> None:
    world.in_backlog("icav2://to/1/", "icav2://to/2/", "icav2://elsewhere/2/")
    assert world.table.wait(LaunchRequest("run", "000001", 1), world.clock(), doubles.hold("ICA is down"))
    world.pause(ALL)
    world.table.mark_cancelled("run", world.clock())
    shown = world.show(jobs=True)["jobs"]
    assert [job["hold"]["reason"] for job in shown] == ["CANCELLED"] * 3


@pytest.mark.parametrize(
    ("slots", "said"),
    [(Slots(1, 100), "all 1 slots for ICA jobs are in use"), (Slots(10, 1), "all 1 slots of project to are in use")],
)
def test_without_a_free_slot_a_backlog_waits_for_one(world: World, slots: Slots, said: str) -> None:
    world.slots = slots
    (other,) = world.create("icav2://to/other/", copy_id="other")
    world.in_backlog("icav2://to/1/")
    assert world.holds() == [("LAUNCH_MESSAGE", "nothing holds it: its launch message is sent with the next poll")]
    world.run(other)
    assert world.holds() == [("NO_SLOT", said)]


def test_a_message_on_its_way_may_take_a_slot(world: World) -> None:
    world.slots = Slots(1, 1)
    world.create("icav2://to/other/", copy_id="other", due_in=timedelta(seconds=300))
    world.in_backlog("icav2://to/1/")
    assert [hold and hold[0] for hold in world.holds()] == ["NO_SLOT"]


def test_a_job_waits_for_the_folder_that_another_copy_writes_into(world: World) -> None:
    (other,) = world.create("icav2://to/1/", copy_id="other")
    world.run(other)
    world.in_backlog("icav2://to/1/", "icav2://to/2/")
    busy, free = world.holds()
    assert busy == ("FOLDER_BUSY", "copy other writes into icav2://to/1/")
    assert free
    assert free[0] == "LAUNCH_MESSAGE"


def test_a_folder_of_its_own_copy_is_not_busy(world: World) -> None:
    world.in_backlog("icav2://to/1/", "icav2://to/1/")
    (backlog,) = world.table.backlogs()
    assert world.table.mark_sent(next(backlog.first(1)), world.clock(), world.clock())
    world.table.shorten_backlog(backlog, 2)
    world.run(next(iter(world.table.jobs("run"))))
    assert [hold and hold[0] for hold in world.holds()] == [None, "LAUNCH_MESSAGE"]


@pytest.mark.parametrize("reason", [HoldReason.OUTAGE, HoldReason.FOLDER_BUSY, HoldReason.THROTTLED])
def test_what_was_tried_and_did_not_go_on_keeps_its_hold(world: World, reason: HoldReason) -> None:
    world.slots = Slots(0, 0)
    world.create("icav2://to/1/")
    world.table.wait(LaunchRequest("run", "000001", 1), world.clock(), Hold(reason, "what was seen"))
    assert [hold and hold[0] for hold in world.holds()] == [reason]


def test_a_backlog_waits_with_the_deferred_jobs_before_it(world: World) -> None:
    world.slots = Slots(10, 1)
    world.in_backlog("icav2://to/1/", "icav2://to/2/")
    first, _ = world.table.jobs("run")
    (backlog,) = world.table.backlogs()
    later = world.clock() + timedelta(minutes=5)
    assert world.table.mark_sent(next(backlog.first(1)), world.clock(), world.clock())
    world.table.shorten_backlog(backlog, 2)
    assert world.table.wait(LaunchRequest("run", first.job_id, 1), later, doubles.hold("ICA is down"))
    assert world.holds() == [("ICA_UNAVAILABLE", "ICA is down")] * 2
    world.clock.forward(seconds=300)
    assert [hold and hold[0] for hold in world.holds()] == ["ICA_UNAVAILABLE", "LAUNCH_MESSAGE"]


def test_nothing_is_launched_while_ica_wants_no_calls(world: World) -> None:
    world.in_backlog("icav2://to/1/")
    assert world.table.write_pace(first_pace(1, world.clock(), 60.0), None)
    assert world.holds() == [("THROTTLED", "ICA has asked for no calls until 03:13:00 UTC (429)")]
    world.clock.forward(seconds=50)
    assert [hold and hold[0] for hold in world.holds()] == ["LAUNCH_MESSAGE"]


def test_jobs_that_are_not_written_yet_are_counted(world: World) -> None:
    world.create_copy([PlannedJob(f"icav2://to/{number}/", ("icav2://from/a",)) for number in range(7)])
    shown = world.show(holds=True)["copy"]
    assert (shown["queued_jobs"], shown["holds"]) == (
        7, [{"reason": "LAUNCH_MESSAGE", "jobs": 7, "detail": "the jobs of its copy are still being written"}],
    )  # fmt: skip
    world.pause(ALL)
    assert [each["reason"] for each in world.show(holds=True)["copy"]["holds"]] == ["PAUSED"]


def test_a_job_that_moves_on_while_it_is_counted_is_counted_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is marked as sent, and its backlog not shortened yet; then it is claimed and runs between two reads."""
    world.in_backlog("icav2://to/1/", "icav2://to/2/", "icav2://to/3/")
    (backlog,) = world.table.backlogs()
    assert world.table.mark_sent(next(backlog.first(1)), world.clock(), world.clock())
    shown = world.show(holds=True)["copy"]
    assert (shown["queued_jobs"], sum(each["jobs"] for each in shown["holds"])) == (3, 3)
    index = world.table.jobs_in
    (queued,) = index(JobStatus.QUEUED)
    world.table.shorten_backlog(backlog, 2)
    world.run(world.now(queued))  # type: ignore[arg-type]
    monkeypatch.setattr(
        world.table, "jobs_in", lambda status: [queued] if status is JobStatus.QUEUED else index(status), raising=False
    )
    show = Show(table=world.table, bucket_name="our-bucket", clock=world.clock, slots=world.slots)
    copy = world.table.get_copy("run")
    assert copy
    again = show.answer(copy, ShowCopy(copy_id="run", holds=True))["copy"]
    assert [again[f"{status}_jobs"] for status in ("queued", "launching", "running")] == [2, 0, 1]


# --- a large copy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(world: World) -> World:
    """A copy of 3,000 jobs. The first 1,000 have ended, two run, one is deferred; the others are in its backlog."""
    world.in_backlog(*(f"icav2://to/{number}/" for number in range(3000)))
    (backlog,) = world.table.backlogs()
    for key, job in list(world.table.job_items.items())[:1000]:
        world.table.job_items[key] = replace(job, status=JobStatus.PASSED, ended_at=timestamp(world.clock()))
    row = world.table.copies["run"]
    row.copy = replace(row.copy, open_jobs=2000, passed_jobs=1000)
    for waiting in list(replace(backlog, next=1001).first(3)):
        assert world.table.mark_sent(waiting, world.clock(), world.clock())
    world.table.shorten_backlog(backlog, 1004)
    for number in (1001, 1002):
        world.run(world.table.job_items["run", f"{number:06d}"])
    assert world.table.wait(LaunchRequest("run", "001003", 1), world.clock(), doubles.hold("ICA is down"))
    return world


def test_what_holds_a_large_copy_is_counted_without_reading_its_jobs(
    large: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Iterator[Job]:
        raise AssertionError("no job is read")

    large.slots = Slots(2, 2)
    monkeypatch.setattr(large.table, "jobs", never, raising=False)
    copy = large.table.get_copy("run")
    assert copy
    show = Show(table=large.table, bucket_name="our-bucket", clock=large.clock, slots=large.slots)
    shown = show.answer(copy, ShowCopy(copy_id="run", holds=True))["copy"]
    assert [shown[f"{status}_jobs"] for status in ("queued", "launching", "running", "open")] == [1998, 0, 2, 2000]
    assert [(each["reason"], each["jobs"]) for each in shown["holds"]] == [("NO_SLOT", 1997), ("ICA_UNAVAILABLE", 1)]


def test_the_open_jobs_of_a_large_copy_are_found_behind_those_that_have_ended(large: World) -> None:
    found: list[dict[str, Any]] = []
    after, pages = None, 0
    while pages == 0 or after:
        answer = large.show(open=True, after=after)
        found += answer["jobs"]
        after, pages = answer.get("next_after"), pages + 1
    assert pages == 3
    assert [job["job_id"] for job in found] == [f"{number:06d}" for number in range(1001, 3001)]
    assert [job["hold"] and job["hold"]["reason"] for job in found[:4]] == [
        None, None, "ICA_UNAVAILABLE", "LAUNCH_MESSAGE",
    ]  # fmt: skip


def test_a_job_says_how_many_of_its_sources_are_folders_and_when_it_was_first_launched(world: World) -> None:
    world.sources = ("icav2://from/a", "icav2://from/tree/")
    (job,) = world.create("icav2://to/1/")
    world.end(job)
    (shown,) = world.show(jobs=True)["jobs"]
    assert (shown["sources"], shown["folders"]) == (2, 1)
    assert shown["attempts"][0]["claimed_at"] == timestamp(world.clock())


def test_a_list_says_of_open_copies_by_what_they_are_paused(world: World) -> None:
    (job,) = world.create("icav2://to/1/", copy_id="settled")
    world.end(job)
    for copy_id in ("run", "other"):
        world.create("icav2://to/2/", copy_id=copy_id)
    for subject in PAUSES:
        world.pause(subject)
    show = Show(table=world.table, bucket_name="our-bucket", clock=world.clock)
    copies = world.table.get_copies(["run", "other", "settled"])
    listed = {each["copy_id"]: [pause["subject"] for pause in each["pauses"]] for each in show.listed(copies)}
    assert listed == {"settled": [], "run": ["all", "copy run"], "other": ["all"]}


def test_a_settled_copy_has_nothing_that_holds_it(world: World) -> None:
    (job,) = world.create("icav2://to/1/")
    world.end(job)
    world.pause(ALL)
    shown = world.show(holds=True)["copy"]
    assert (shown["holds"], shown["pauses"], shown["queued_jobs"]) == ([], [], 0)
