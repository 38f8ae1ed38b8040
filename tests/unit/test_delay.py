"""Delay: of each copy that takes too long it is said once, and every time counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from icav2_copy_batch.domain.events import Detail
from icav2_copy_batch.domain.job import Copy, Hold, HoldReason, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.schedule import Backlog, Slots
from icav2_copy_batch.domain.stops import ALL, Paused, copy_subject, project_subject
from icav2_copy_batch.stages.delay import Delay
from tests import doubles
from tests.event_files import schema_faults

LIMIT = timedelta(hours=1)
SUBJECTS = {ALL: None, project_subject("to"): None, copy_subject("run"): "run"}
"""What is paused → the copy's id, where it is that copy."""
NO_SLOT = doubles.hold("all slots are taken", HoldReason.NO_SLOT)


class FailingBus(doubles.Bus):
    """A bus that does not take the event of one copy."""

    refuses = ""

    def put(self, detail_type: str, detail: Detail) -> None:
        if detail["copy_id"] == self.refuses:
            raise RuntimeError("made by the test")
        super().put(detail_type, detail)


class World(doubles.World):
    bus: FailingBus

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bus = FailingBus()
        self.jobs: list[Mapping[JobStatus, int]] = []

    def report(self) -> int:
        note = self.jobs.append
        return Delay(table=self.table, bus=self.bus, clock=self.clock, limit=LIMIT, note_jobs=note).report()

    def submit(self, copy_id: str = "run", jobs: int = 1, ingested: bool = True) -> list[Job]:
        created = self.create(*(f"icav2://to/{copy_id}/{number}/" for number in range(jobs)), copy_id=copy_id)
        if ingested:
            self.table.mark_ingested(copy_id, self.clock())
        return created

    def launch(self, job: Job) -> Job:
        self.table.claim_for_launch(job, "project", self.clock(), self.clock(), Slots())
        return self.table.job_items[job.copy_id, job.job_id]

    def run(self, job: Job) -> Job:
        return doubles.run(self.table, job, self.clock())

    def hold(self, job: Job, by: Hold) -> None:
        self.table.wait(LaunchRequest(job.copy_id, job.job_id, job.attempt), self.clock(), by)

    def wait_in_backlog(self) -> None:
        """A copy of which no job has had its turn."""
        since = timestamp(self.clock())
        self.table.create_copy(Copy("run", "digest", since, 9, 9, "s3://our-bucket/m"))
        self.table.mark_ingested("run", self.clock())
        self.table.create_backlogs([Backlog("run", "to", next=1, last=9, since=since)])

    def pause(self, subject: str) -> None:
        assert self.table.pause(Paused(subject, timestamp(self.clock())), SUBJECTS[subject])

    def resume(self, subject: str) -> None:
        assert self.table.resume(subject, self.clock(), SUBJECTS[subject])

    def told(self) -> list[tuple[str, list[str]]]:
        """Copy and delayed jobs of each event."""
        for detail_type, detail in self.bus.events:
            assert detail_type == "CopyDelayed"
            assert schema_faults("copy-delayed", detail) == []
        return [(detail["copy_id"], [job["job_id"] for job in detail["delayed_jobs"]]) for _, detail in self.bus.events]


@pytest.fixture
def world() -> World:
    return World()


def test_it_tells_how_many_jobs_are_in_each_status_since_it_reads_them_anyway(world: World) -> None:
    queued, launching, running = world.submit(jobs=3)
    world.launch(launching)
    world.run(running)
    world.table.create_backlogs([Backlog("run", "to", 1, 7, timestamp(world.clock()))])
    world.report()
    assert world.jobs == [{JobStatus.QUEUED: 5, JobStatus.LAUNCHING: 1, JobStatus.RUNNING: 1}]
    assert queued.job_id == "000001"


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING])
def test_a_job_that_is_in_one_status_for_too_long_is_told_of(world: World, status: JobStatus) -> None:
    (job,) = world.submit()
    if status is not JobStatus.QUEUED:
        world.clock.forward(minutes=50)
        (world.launch if status is JobStatus.LAUNCHING else world.run)(job)
    world.clock.now += LIMIT
    assert world.report() == 0
    world.clock.forward(seconds=0.001)
    assert world.report() == 1
    assert world.told() == [("run", ["000001"])]
    assert world.bus.events[0].detail["delayed_jobs"][0]["job_status"] == status


def test_a_job_that_has_ended_is_not_told_of(world: World) -> None:
    job = world.run(world.submit()[0])
    world.table.give_up(job, job.ended_attempt("FAILED", "disk full", world.clock()), world.clock())
    world.clock.forward(days=3)
    assert world.report() == 0
    assert world.told() == []


def test_the_time_counts_from_the_last_move(world: World) -> None:
    job = world.submit()[0]
    for _ in range(3):
        world.clock.forward(minutes=59)
        running = world.run(world.table.job_items["run", job.job_id])
        world.clock.forward(minutes=59)
        assert world.report() == 0
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        world.table.requeue(
            running, ended, frozenset(), world.clock(), world.clock(), doubles.hold("ICA failed it", HoldReason.OUTAGE)
        )


def test_launches_that_are_put_off_again_and_again_do_not_begin_the_time_anew(world: World) -> None:
    (job,) = world.submit()
    for _ in range(7):
        claimed = world.launch(world.table.job_items["run", job.job_id])
        world.clock.forward(minutes=10)
        world.table.release(claimed, world.clock(), world.clock(), doubles.hold("ICA answered 503"))
    assert world.report() == 1
    assert world.bus.events[0].detail["delayed_jobs"][0]["reason"] == "ICA answered 503"


def test_a_copy_is_told_of_once_with_all_its_delayed_jobs_and_they_are_counted_every_time(world: World) -> None:
    """The alarm rings for as long as it takes."""
    jobs = world.submit(jobs=3)
    world.run(jobs[0])
    world.clock.forward(hours=2)
    world.table.requeue(
        running := world.table.job_items["run", "000001"],
        running.ended_attempt("FAILED", "disk full", world.clock()),
        frozenset(),
        world.clock(),
        world.clock(),
        doubles.hold("ICA answered 503"),
    )
    assert world.report() == 2
    assert world.report() == 2
    world.clock.forward(hours=2)
    assert world.report() == 3
    assert world.told() == [("run", ["000002", "000003"])]
    assert world.table.copies["run"].copy.delayed_at == "2024-05-28T05:12:00.000Z"


def test_each_copy_has_an_event_of_its_own(world: World) -> None:
    world.submit("one", jobs=2)
    world.submit("two")
    world.clock.forward(hours=2)
    assert world.report() == 3
    assert sorted(world.told()) == [("one", ["000001", "000002"]), ("two", ["000001"])]


def test_a_copy_that_waits_for_a_slot_is_only_queueing(world: World) -> None:
    waiting, blocked = world.submit(jobs=2)
    world.hold(waiting, NO_SLOT)
    world.hold(blocked, doubles.hold("another copy writes into it", HoldReason.FOLDER_BUSY))
    world.clock.forward(hours=2)
    assert world.report() == 1
    assert world.told() == [("run", ["000002"])]


def test_a_copy_of_which_no_job_has_had_its_turn_for_too_long_is_told_of(world: World) -> None:
    """Each copy has its turn with the next slot that gets free: none did."""
    waiting = Backlog("waiting", "to", next=1, last=9, since=timestamp(world.clock()))
    in_turn = Backlog("in turn", "to", next=2, last=9, since=timestamp(world.clock()))
    world.table.create_copy(Copy("waiting", "digest", timestamp(world.clock()), 9, 9, "s3://our-bucket/m"))
    world.table.mark_ingested("waiting", world.clock())
    world.table.create_backlogs([waiting, in_turn])
    world.clock.now += LIMIT
    world.submit("in turn")
    assert world.report() == 0
    world.clock.forward(seconds=0.001)
    assert world.report() == 1
    assert world.told() == [("waiting", [])]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("in_backlog", [False, True])
def test_what_is_paused_is_not_told_of_nor_what_was_until_a_moment_ago(
    world: World, subject: str, in_backlog: bool
) -> None:
    if in_backlog:
        world.wait_in_backlog()
    else:
        world.hold(world.submit()[0], doubles.hold("ICA answered 503"))
    world.clock.forward(minutes=30)
    world.pause(subject)
    world.clock.forward(hours=9)
    assert world.report() == 0
    world.resume(subject)
    assert world.report() == 0, "the time of the pause is no delay"
    world.clock.now += LIMIT
    assert world.report() == 0
    world.clock.forward(seconds=0.001)
    assert world.report() == 1, "it has waited for as long since then"
    assert [copy_id for copy_id, _ in world.told()] == ["run"]


@pytest.mark.parametrize("subject", [project_subject("elsewhere"), copy_subject("another")])
@pytest.mark.parametrize("in_backlog", [False, True])
def test_a_pause_of_something_else_is_no_excuse(world: World, subject: str, in_backlog: bool) -> None:
    if in_backlog:
        world.wait_in_backlog()
    else:
        world.submit()
    world.clock.forward(hours=2)
    assert world.table.pause(Paused(subject, timestamp(world.clock())))
    assert world.report() == 1
    assert world.table.resume(subject, world.clock())
    assert world.report() == 1


@pytest.mark.parametrize("status", [JobStatus.LAUNCHING, JobStatus.RUNNING])
def test_what_was_launched_before_a_pause_is_told_of_as_ever(world: World, status: JobStatus) -> None:
    (world.launch if status is JobStatus.LAUNCHING else world.run)(world.submit()[0])
    world.pause(ALL)
    world.clock.forward(hours=2)
    assert world.report() == 1


def test_a_running_job_that_once_waited_for_a_slot_is_not_queueing(world: World) -> None:
    (job,) = world.submit()
    world.hold(job, NO_SLOT)
    world.run(world.table.job_items["run", job.job_id])
    world.clock.forward(hours=2)
    assert world.report() == 1


def test_a_launch_about_which_ica_cannot_tell_is_told_of_at_once(world: World) -> None:
    (job,) = world.submit()
    claimed = world.launch(job)
    world.table.postpone(claimed, world.clock(), doubles.hold("the answer was lost"))
    assert world.report() == 0
    world.table.mark_undecided(claimed, world.clock(), doubles.hold("ICA job 1 cannot be read", HoldReason.UNDECIDED))
    assert world.report() == 1
    assert world.bus.events[0].detail["delayed_jobs"][0]["reason"] == "ICA job 1 cannot be read"


def test_a_copy_whose_jobs_were_never_all_written_is_told_of(world: World) -> None:
    world.table.create_copy(Copy("run", "digest", timestamp(world.clock()), 9, 9, "s3://our-bucket/m"))
    world.clock.now += LIMIT
    assert world.report() == 0
    world.clock.forward(seconds=1)
    assert world.report() == 1
    assert world.told() == [("run", [])]
    assert world.bus.events[0].detail["all_jobs_written"] is False


def test_a_copy_that_is_not_all_written_counts_its_delayed_jobs_and_not_itself_too(world: World) -> None:
    world.submit(ingested=False, jobs=2)
    world.clock.forward(hours=2)
    assert world.report() == 2
    assert world.told() == [("run", ["000001", "000002"])]


def test_an_event_that_the_bus_does_not_take_is_put_at_the_next_time_and_holds_up_no_other(world: World) -> None:
    for copy_id in ("a", "b", "c"):
        world.submit(copy_id)
    world.clock.forward(hours=2)
    world.bus.refuses = "b"
    assert world.report() == 3
    assert [copy_id for copy_id, _ in world.told()] == ["a", "c"]
    world.bus.refuses = ""
    world.report()
    assert [copy_id for copy_id, _ in world.told()] == ["a", "c", "b"]


def test_a_job_without_its_copy_is_counted_and_no_event_is_put(world: World) -> None:
    world.submit()
    del world.table.copies["run"]
    world.clock.forward(hours=2)
    assert world.report() == 1
    assert world.told() == []


def test_a_copy_whose_last_job_has_just_ended_is_not_told_of(world: World) -> None:
    """What was taken from its backlog last is not noted yet."""
    world.wait_in_backlog()
    world.clock.forward(hours=2)
    row = world.table.copies["run"]
    row.copy = replace(row.copy, open_jobs=0)
    world.report()
    assert world.told() == []


def test_the_event_says_what_is_open_by_now(world: World) -> None:
    first, _ = world.submit(jobs=2)
    running = world.run(first)
    world.table.mark_passed(running, running.ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    world.clock.forward(hours=2)
    world.report()
    detail = world.bus.events[0].detail
    assert (detail["open_jobs"], detail["status"], detail["all_jobs_written"]) == (1, "OPEN", True)
