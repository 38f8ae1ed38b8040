"""Poll: each thing that is due is seen to, in its turn, and what breaks with one holds up no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from icav2_copy_batch.domain.commands import CopyOptions
from icav2_copy_batch.domain.ica import CopyBatchItem, IcaJob, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import (
    ALL_THERE,
    Claim,
    Copy,
    CopyStatus,
    Job,
    JobStatus,
    LaunchRequest,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob, pack_sources
from icav2_copy_batch.domain.outage import OUTAGE, Outcomes, wait_in_outage
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE, Dispatch
from icav2_copy_batch.stages.poll import (
    FIRST_LOOK_SECONDS,
    FIRST_PUT_OFF_SECONDS,
    LEASE_NAME,
    LEAST_SECONDS_TO_LOOK,
    LONGEST_AWAITED_SECONDS,
    LONGEST_NAP_SECONDS,
    NOT_TRIED,
    NOTIFIED_LEASE_NAME,
    TREES_SECONDS,
    UNPUBLISHED_AGE,
    WAITED_FOR,
    JobKey,
    Poll,
)
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH
from icav2_copy_batch.stages.verify import MISMATCH, OLDER, PATIENCE, Compared, TreesCompared
from tests import doubles
from tests.doubles import SmallIca

SOURCES = ["icav2://from/a", "icav2://from/b"]


@dataclass
class Publisher:
    """Says of each copy that it is completed, but for those that break."""

    breaks: set[str] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    looked_after_waiting: int = 0

    def look_after_waiting(self) -> None:
        self.looked_after_waiting += 1

    def publish(self, copy_id: str) -> CopyStatus | None:
        if copy_id in self.breaks:
            raise RuntimeError("made by the test")
        self.published.append(copy_id)
        return CopyStatus.COMPLETED


@dataclass
class Reports:
    """The reconciler, the verifier, the reader of items and the reporter of delays: what each is to find."""

    settled: Counter[str] = field(default_factory=Counter)
    wrong: dict[JobKey, list[SourceOutcome]] = field(default_factory=dict)
    unverifiable: set[JobKey] = field(default_factory=set)
    not_copied: dict[JobKey, list[SourceOutcome]] = field(default_factory=dict)
    trees: dict[JobKey, Callable[[Callable[[], bool]], TreesCompared]] = field(default_factory=dict)
    """What comes of comparing the trees of a job that has such."""
    delayed: int = 0
    asked: dict[str, list[JobKey]] = field(default_factory=dict)
    """What was given to whom at the last look."""

    def settle_unknown_launches(self) -> Counter[str]:
        return self.settled

    def report(self) -> int:
        return self.delayed

    def faults(self, jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        keys = self.asked["faults"] = [(job.copy_id, job.job_id) for job in jobs]
        assert all(job.sources for job in jobs), "whole jobs are verified"
        return {key: self.wrong.get(key, []) for key in keys if key not in self.unverifiable}

    def missing(self, jobs: Sequence[Job]) -> Compared:
        """By default all files."""
        keys = self.asked["missing"] = [(job.copy_id, job.job_id) for job in jobs]
        everything = {
            (job.copy_id, job.job_id): [SourceOutcome(source, MISMATCH, "is not there") for source in job.sources]
            for job in jobs
        }
        wrong = {key: self.wrong.get(key, everything[key]) for key in keys if key not in self.unverifiable}
        return Compared(wrong, {source: f"id of {source}" for job in jobs for source in job.sources})

    def has_trees(self, job: Job, succeeded: bool) -> bool:
        return (job.copy_id, job.job_id) in self.trees

    def pages_listed(self, job: Job) -> int:
        return self.asked["trees"].count((job.copy_id, job.job_id)) if "trees" in self.asked else 0

    def compare_trees(self, job: Job, has_time: Callable[[], bool]) -> TreesCompared:
        self.asked.setdefault("trees", []).append((job.copy_id, job.job_id))
        return self.trees[job.copy_id, job.job_id](has_time)

    def read(self, jobs: Sequence[Job]) -> dict[JobKey, list[CopyBatchItem]]:
        keys = self.asked["items"] = [(job.copy_id, job.job_id) for job in jobs]
        return {key: [] for key in keys if key in self.not_copied}

    def uncopied(
        self, jobs: Sequence[Job], items: Mapping[JobKey, Sequence[CopyBatchItem]], data_ids: Mapping[str, str]
    ) -> dict[JobKey, list[SourceOutcome]]:
        self.asked["uncopied"] = [(job.copy_id, job.job_id) for job in jobs]
        assert all(job.sources for job in jobs), "of whole jobs the items are read"
        assert data_ids == {source: f"id of {source}" for job in jobs for source in job.sources}, "as just compared"
        return {key: self.not_copied[key] for key in items}


@dataclass
class World:
    """The poller has time for one look, unless it is given more."""

    clock: doubles.Clock = field(default_factory=doubles.Clock)
    table: doubles.Table = field(default_factory=doubles.Table)
    ica: SmallIca = field(default_factory=SmallIca)
    queue: doubles.Queue = field(default_factory=doubles.Queue)
    publish: Publisher = field(default_factory=Publisher)
    reports: Reports = field(default_factory=Reports)
    seconds_left: float = LEAST_SECONDS_TO_LOOK
    max_attempts: int = 3
    slots: Slots = field(default_factory=Slots)
    slept: list[float] = field(default_factory=list)

    def create(
        self,
        copy_id: str = "run",
        jobs: int = 1,
        due_in: timedelta = LOST_MESSAGE_AGE,
        options: CopyOptions | None = None,
        sources: Sequence[str] = SOURCES,
    ) -> list[Job]:
        self.table.create_copy(Copy(copy_id, "digest", timestamp(self.clock()), jobs, jobs, "s3://our-bucket/m"))
        packed = pack_sources(list(sources))
        planned = [PlannedJob(f"icav2://to/{copy_id}/{number}/", packed) for number in range(jobs)]
        due_at = self.clock() + due_in
        doubles.create_due_jobs(self.table, copy_id, planned, options or CopyOptions(), self.clock(), due_at)
        return list(self.table.jobs(copy_id))

    def run(self, job: Job, ica_status: str | None = "RUNNING", reason: str | None = None) -> Job:
        """From QUEUED to RUNNING; ICA says of its job what the test says."""
        running = doubles.run(self.table, self.now(job), self.clock(), f"ica-{job.copy_id}-{job.job_id}-{job.attempt}")
        if ica_status:
            self.say(running, ica_status, reason)
        return running

    def claim(self, job: Job, due_in: float) -> None:
        """From QUEUED to LAUNCHING; it is to be looked for after so many seconds."""
        lease_until = self.clock() + timedelta(seconds=due_in)
        claim = self.table.claim_for_launch(self.now(job), "project", self.clock(), lease_until, Slots())
        assert claim is Claim.CLAIMED

    def say(self, running: Job, ica_status: str, reason: str | None = None) -> None:
        job_id = str(running.ica_job_id)
        self.ica.jobs_there[job_id] = IcaJob(job_id, ica_status, reason)

    def settle(self, copy_id: str) -> None:
        """A copy of one job that has passed."""
        job = self.run(self.create(copy_id)[0])
        self.table.mark_passed(job, job.ended_attempt("SUCCEEDED", None, self.clock()), self.clock())

    def poll(self, triggered: bool = False) -> Counter[str]:
        return self.poller().poll("this one", triggered)

    def poller(self) -> Poll:
        """A new container's, which remembers nothing."""
        return Poll(
            table=self.table,
            ica=self.ica,
            queue=self.queue,
            dispatch=Dispatch(
                table=self.table,
                queue=self.queue,
                pacing=doubles.pacing(self.table, self.clock),
                clock=self.clock,
                slots=self.slots,
                spread=doubles.in_turn,
            ),
            publish=self.publish,
            reconciler=self.reports,
            verifier=self.reports,
            items=self.reports,
            delay=self.reports,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            sleep=self.sleep,
            max_attempts=self.max_attempts,
            spread=doubles.in_turn,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds=seconds)
        self.seconds_left -= seconds

    def now(self, job: Job) -> Job:
        return self.table.job_items[job.copy_id, job.job_id]

    def sent(self) -> list[tuple[str, str]]:
        return [(request.copy_id, request.job_id) for request, _ in self.queue.sent]


@pytest.fixture
def world() -> World:
    return World()


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_job_that_was_not_sent_is_sent_once_there_is_a_slot(world: World) -> None:
    world.slots = Slots(total=1)
    first, second = world.create(jobs=2, due_in=timedelta())
    running = world.run(first)
    world.clock.forward(seconds=1)
    assert world.poll()["sent_again"] == 0
    assert world.now(second) == second
    world.say(running, "SUCCEEDED")
    world.poll()
    world.poll()
    assert world.sent() == [("run", "000002")]


def test_the_poller_stays_for_what_will_be_due_soon(world: World) -> None:
    world.seconds_left = 900
    world.create(due_in=timedelta(seconds=30))
    assert world.poll()["sent_again"] == 1
    assert 30 <= sum(world.slept) <= 30 + 20 + 2


def test_the_poller_does_not_stay_for_what_will_be_due_much_later(world: World) -> None:
    world.seconds_left = 900
    world.create(due_in=WAITED_FOR)
    world.poll()
    assert world.slept == []


# --- publishing ------------------------------------------------------------------------------------------------------


def test_a_copy_that_was_not_published_is_published(world: World) -> None:
    world.settle("run")
    world.clock.now += UNPUBLISHED_AGE
    assert world.poll()["copies_completed"] == 0
    world.clock.forward(seconds=0.001)
    assert world.poll()["copies_completed"] == 1
    assert world.publish.published == ["run"]


def test_a_copy_that_cannot_be_published_holds_up_neither_the_others_nor_the_poller(world: World) -> None:
    for copy_id in ("a", "b", "c"):
        world.settle(copy_id)
    world.clock.forward(minutes=2)
    world.publish.breaks = {"b"}
    world.seconds_left = 900
    world.run(world.create()[0], "SUCCEEDED")
    happened = world.poll()
    assert (happened["copies_completed"], happened["unpublished"], happened["passed"]) == (2, 1, 1)
    assert world.publish.published == ["a", "c"]


def test_no_publication_is_begun_after_another_with_too_little_time_left(world: World) -> None:
    for copy_id in ("a", "b"):
        world.settle(copy_id)
    world.clock.forward(minutes=2)
    world.seconds_left = SECONDS_TO_PUBLISH - 1
    assert world.poll()["copies_completed"] == 1
    world.publish.published.clear()
    world.seconds_left = SECONDS_TO_PUBLISH
    assert world.poll()["copies_completed"] == 2


def test_the_schedule_sees_to_the_tasks_that_wait_and_a_launch_does_not(world: World) -> None:
    world.poll(triggered=True)
    assert world.publish.looked_after_waiting == 0
    world.poll()
    assert world.publish.looked_after_waiting == 1


# --- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ica_status", ["INITIALIZED", "WAITING_FOR_RESOURCES", "RUNNING"])
def test_a_job_that_ica_works_on_is_let_be(world: World, ica_status: str) -> None:
    running = world.run(world.create()[0], ica_status)
    assert world.poll() == Counter(running=1, delayed=0, sent_again=0)
    assert world.now(running) == running


@pytest.mark.parametrize("ica_status", ["ABORTED", "succeeded", "FROBNICATED"])
def test_a_job_of_a_status_that_nobody_knows_is_counted_and_let_be(world: World, ica_status: str) -> None:
    first, second = world.create(jobs=2)
    running = world.run(first, ica_status)
    world.run(second, "SUCCEEDED")
    happened = world.poll()
    assert (happened["unknown_status"], happened["passed"]) == (1, 1)
    assert world.now(first) == running


def test_a_job_that_ica_does_not_show_is_counted_and_let_be(world: World) -> None:
    running = world.run(world.create()[0], None)
    assert world.poll()["unreadable"] == 1
    assert world.now(running) == running


def test_a_job_that_succeeded_and_whose_files_are_there_has_passed(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    assert world.poll()["passed"] == 1
    passed = world.now(running)
    assert (passed.status, [attempt.outcome for attempt in passed.attempts]) == (JobStatus.PASSED, ["SUCCEEDED"])
    assert world.reports.asked == {"faults": [("run", "000001")]}


def test_a_job_that_succeeded_and_whose_files_cannot_be_looked_at_is_looked_at_again(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    world.reports.unverifiable = {("run", "000001")}
    assert world.poll()["unreadable"] == 1
    assert world.now(running) == running


@pytest.mark.parametrize("ica_status", ["FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_failed_is_launched_again_for_what_it_has_not_copied(world: World, ica_status: str) -> None:
    running = world.run(world.create()[0], ica_status, "1 of 2")
    wrong = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = wrong
    world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], MISMATCH, "is not there")]
    assert world.poll()["requeued"] == 1
    requeued = world.now(running)
    assert (requeued.status, requeued.attempt, requeued.uncopied) == (JobStatus.QUEUED, 2, SOURCES[1:])
    (attempt,) = requeued.attempts
    assert (attempt.outcome, attempt.reason) == (
        ica_status,
        f"ICA job ica-run-000001-1 ended {ica_status}: 1 of 2",
    )
    assert requeued.last_outcomes == wrong
    assert world.queue.sent == [(LaunchRequest("run", "000001", 2), 0)]
    assert requeued.due_at == timestamp(world.clock() + LOST_MESSAGE_AGE)
    assert world.reports.asked == {what: [("run", "000001")] for what in ("missing", "items", "uncopied")}


def test_when_ica_created_its_job_is_noted_with_the_attempt(world: World) -> None:
    running = world.run(world.create()[0], "FAILED")
    job_id = str(running.ica_job_id)
    world.ica.jobs_there[job_id] = IcaJob(job_id, "FAILED", created_at="2024-05-28T03:12:00Z")
    world.poll()
    assert world.now(running).ica_began_at == "2024-05-28T03:12:00Z"


def test_a_job_whose_items_cannot_be_read_is_launched_again_for_what_is_not_there(world: World) -> None:
    running = world.run(world.create()[0], "FAILED")
    wrong = [SourceOutcome(SOURCES[0], MISMATCH, "is not there")]
    world.reports.wrong["run", "000001"] = wrong
    assert world.poll()["requeued"] == 1
    requeued = world.now(running)
    assert (requeued.uncopied, requeued.last_outcomes) == (SOURCES[:1], [SourceOutcome(SOURCES[0], "MISSING")])


def test_what_an_earlier_attempt_was_said_to_have_copied_is_launched_again_where_it_is_not_there(world: World) -> None:
    running = world.run(world.create()[0], "FAILED")
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[0], "FAILED", "disk full")]
    assert world.poll()["requeued"] == 1
    requeued = world.now(running)
    assert requeued.uncopied == SOURCES
    assert requeued.last_outcomes == [
        SourceOutcome(SOURCES[0], "FAILED", "disk full"),
        SourceOutcome(SOURCES[1], MISMATCH, "is not there"),
    ]


@pytest.mark.parametrize("ica_status", ["FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_ica_calls_failed_and_whose_files_are_all_there_has_passed(world: World, ica_status: str) -> None:
    """It found them there, say, and skipped them all."""
    running = world.run(world.create()[0], ica_status, "nothing was copied")
    world.reports.not_copied["run", "000001"] = [SourceOutcome(source, "FAILED") for source in SOURCES]
    world.reports.wrong["run", "000001"] = []
    assert world.poll()["passed"] == 1
    passed = world.now(running)
    (attempt,) = passed.attempts
    assert (passed.status, attempt.outcome) == (JobStatus.PASSED, ALL_THERE)
    assert attempt.reason == f"ICA job ica-run-000001-1 ended {ica_status}: nothing was copied"


# --- part by part, where ICA finds a copy batch too large ------------------------------------------------------------


def launched_in_part(world: World, ica_status: str, batch_limit: int = 1, **changes: object) -> Job:
    """A running job whose copy batch has only so many of its sources."""
    (job,) = world.create(**changes)  # type: ignore[arg-type]
    world.claim(job, 60)
    claimed = world.now(job)
    assert world.table.release(claimed, world.clock(), world.clock(), doubles.hold("too large"), batch_limit)
    return world.run(job, ica_status)


def test_a_job_of_which_a_part_has_passed_goes_on_with_the_next_at_once(world: World) -> None:
    world.max_attempts = 1
    first = launched_in_part(world, "SUCCEEDED")
    assert world.poll()["part_passed"] == 1
    job = world.now(first)
    assert (job.status, job.attempt, job.uncopied) == (JobStatus.QUEUED, 2, SOURCES[1:])
    assert world.queue.sent == [(LaunchRequest("run", "000001", 2), 0)]
    world.run(job, "SUCCEEDED")
    assert world.poll()["passed"] == 1
    assert [each.outcome for each in world.now(job).attempts] == ["SUCCEEDED"] * 2


def test_a_part_that_is_all_there_though_ica_calls_it_failed_has_passed(world: World) -> None:
    first = launched_in_part(world, "FAILED")
    world.reports.wrong["run", "000001"] = []
    assert world.poll()["part_passed"] == 1
    assert world.now(first).uncopied == SOURCES[1:]


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE"])
def test_of_a_part_that_failed_what_is_left_comes_before_the_next_part(world: World, action: str) -> None:
    sources = [f"icav2://from/{name}" for name in "abcde"]
    first = launched_in_part(world, "FAILED", 2, sources=sources, options=CopyOptions(action))
    left = [SourceOutcome(sources[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = world.reports.wrong["run", "000001"] = left
    assert world.poll()["requeued"] == 1
    job = world.now(first)
    assert (job.attempt, job.uncopied, job.later) == (2, sources[1:3], sources[3:])


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE"])
def test_only_attempts_that_failed_are_limited_and_what_was_never_tried_is_told(world: World, action: str) -> None:
    world.max_attempts = 2
    first = launched_in_part(world, "SUCCEEDED", sources=[*SOURCES, "icav2://from/c"], options=CopyOptions(action))
    world.poll()
    outcome = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = world.reports.wrong["run", "000001"] = outcome
    for word in ("requeued", "given_up"):
        running = world.run(world.now(first), "FAILED")
        assert running.uncopied == SOURCES[1:]
        assert world.poll()[word] == 1
    assert world.now(first).last_outcomes == [*outcome, SourceOutcome("icav2://from/c", NOT_TRIED)]


@pytest.mark.parametrize("action", ["OVERWRITE", "RENAME"])
def test_without_skip_a_failed_job_is_launched_again_for_what_its_items_say(world: World, action: str) -> None:
    """What is there may be what was to be overwritten."""
    running = world.run(world.create(options=CopyOptions(action))[0], "FAILED")
    world.reports.unverifiable = {("run", "000001")}
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[1], "FAILED")]
    assert world.poll()["requeued"] == 1
    assert world.now(running).uncopied == SOURCES[1:]


def test_a_failed_job_whose_files_cannot_be_looked_at_is_looked_at_again(world: World) -> None:
    running = world.run(world.create()[0], "FAILED")
    world.reports.unverifiable = {("run", "000001")}
    assert world.poll()["unreadable"] == 1
    assert world.now(running) == running


def test_a_job_of_which_a_file_stays_as_it_should_not_be_is_launched_again_for_that(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    wrong = [SourceOutcome(SOURCES[0], MISMATCH, "icav2://to/run/0/a is PARTIAL")]
    world.reports.wrong["run", "000001"] = wrong
    assert world.poll()["awaited"] == 1
    world.clock.now += PATIENCE
    assert world.poll()["requeued"] == 1
    requeued = world.now(running)
    assert requeued.uncopied == SOURCES[:1]
    assert (requeued.attempts[0].outcome, requeued.attempts[0].reason) == (
        MISMATCH,
        "verification: icav2://to/run/0/a is PARTIAL",
    )
    assert requeued.last_outcomes == wrong


@pytest.mark.parametrize("ica_status", ["FAILED", "SUCCEEDED"])
def test_after_its_last_attempt_a_job_is_given_up_with_what_it_has_not_copied(world: World, ica_status: str) -> None:
    world.max_attempts = 1
    running = world.run(world.create()[0], ica_status)
    wrong = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.wrong["run", "000001"] = world.reports.not_copied["run", "000001"] = wrong
    if ica_status == "SUCCEEDED":
        assert world.poll()["awaited"] == 1
        world.clock.now += PATIENCE
    assert world.poll()["given_up"] == 1
    failed = world.now(running)
    assert (failed.status, failed.last_outcomes) == (JobStatus.FAILED, wrong)
    assert failed.reason
    assert world.queue.sent == []


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize("outcome", ["FAILED", "QUEUED", None])
def test_a_job_is_not_given_up_while_what_it_may_have_skipped_may_not_show_yet(
    world: World, outcome: str | None, shows: bool
) -> None:
    """Another copy may just have made it, and ICA call a job that skips all FAILED."""
    world.max_attempts = 1
    running = world.run(world.create()[0], "FAILED")
    world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], MISMATCH, "icav2://to/b is PARTIAL")]
    if outcome:
        world.reports.not_copied["run", "000001"] = [SourceOutcome(source, outcome) for source in SOURCES]
    assert world.poll()["awaited"] == 1
    if shows:
        world.clock.forward(seconds=100)
        world.reports.wrong["run", "000001"] = []
    else:
        world.clock.now += PATIENCE
    assert world.poll()["passed" if shows else "given_up"] == 1
    assert world.now(running).attempts[-1].outcome == (ALL_THERE if shows else "FAILED")


# --- in an outage of the copy engine ---------------------------------------------------------------------------------


def test_in_an_outage_a_job_that_has_failed_before_waits_for_its_next_attempt(world: World) -> None:
    world.max_attempts = 6
    (job,) = world.create()
    for attempt in (1, 2):
        world.run(job, "FAILED")
        world.poll()
        assert world.now(job).hold is None, f"{attempt} failures may be chance"
    assert len(world.queue.sent) == 2
    running = world.run(job, "FAILED")
    assert world.poll()["requeued"] == 1
    held = world.now(job)
    assert (held.status, held.attempt, held.hold) == (JobStatus.QUEUED, 4, OUTAGE)
    assert held.due_at == timestamp(world.clock() + wait_in_outage(running))
    assert len(world.queue.sent) == 2, "its message comes when it is due"


def test_in_an_outage_a_first_failure_is_launched_again_at_once(world: World) -> None:
    for job in world.create(jobs=5):
        world.run(job, "FAILED")
    world.poll()
    assert len(world.queue.sent) == 5
    assert {job.hold for job in world.table.jobs("run")} == {None}


def test_what_ica_does_in_one_project_holds_no_job_into_another(world: World) -> None:
    *others, job = world.create(jobs=4)
    for each in others:
        doubles.run(world.table, world.now(each), world.clock(), f"ica-{each.job_id}", "another")
        world.ica.jobs_there[f"ica-{each.job_id}"] = IcaJob(f"ica-{each.job_id}", "FAILED")
    world.run(job, "FAILED")
    world.poll()
    world.run(job, "FAILED")
    world.poll()
    assert world.table.outcomes_of["another"].is_outage(world.clock())
    assert world.now(job).hold is None
    assert world.now(job).attempt == 3


@pytest.mark.parametrize(
    ("ica_statuses", "recent"),
    [(["FAILED", "SUCCEEDED", "STOPPED"], "FFP"), (["SUCCEEDED"] * 3, ""), (["RUNNING", "FAILED"], "F")],
)
def test_how_the_jobs_of_a_look_ended_is_noted_once_and_only_if_one_has_failed(
    world: World, ica_statuses: list[str], recent: str
) -> None:
    for job, ica_status in zip(world.create(jobs=len(ica_statuses)), ica_statuses, strict=True):
        world.run(job, ica_status)
    world.poll()
    assert world.table.outcomes("project").recent == recent


def test_successes_are_noted_after_failures(world: World) -> None:
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    world.run(world.create()[0], "SUCCEEDED")
    world.poll()
    assert world.table.outcomes("project").recent == "FFFFFP"


def test_outcomes_that_another_look_has_noted_at_the_same_moment_are_not_lost(world: World) -> None:
    outcomes, replace_outcomes = world.table.outcomes, world.table.replace_outcomes

    def another_is_faster(project_id: str) -> Outcomes:
        seen = outcomes(project_id)
        world.table.outcomes = outcomes  # type: ignore[method-assign]
        assert replace_outcomes(project_id, seen, seen.plus(0, 2, world.clock()))
        return seen

    world.table.outcomes = another_is_faster  # type: ignore[method-assign]
    world.run(world.create()[0], "FAILED")
    world.poll()
    assert world.table.outcomes("project").recent == "FFF"


def test_where_outcomes_cannot_be_noted_jobs_move_on(world: World) -> None:
    def breaks(project_id: str) -> Outcomes:
        raise RuntimeError("made by the test")

    world.table.outcomes = breaks  # type: ignore[method-assign]
    world.run(world.create()[0], "FAILED")
    assert world.poll()["requeued"] == 1


def test_where_outcomes_cannot_be_noted_the_next_attempt_waits_until_it_is_known_that_it_need_not(world: World) -> None:
    (job,) = world.create()
    world.run(job, "FAILED")
    world.poll()
    outcomes = world.table.outcomes

    def breaks_once(project_id: str) -> Outcomes:
        world.table.outcomes = outcomes  # type: ignore[method-assign]
        raise RuntimeError("made by the test")

    world.table.outcomes = breaks_once  # type: ignore[method-assign]
    world.run(world.now(job), "FAILED")
    world.queue.sent.clear()
    poller = world.poller()
    assert poller._look_at(world.table.jobs_in(JobStatus.RUNNING))["requeued"] == 1
    assert (world.now(job).hold, world.queue.sent) == (OUTAGE, [])
    assert poller.dispatch.send().total() == 1


# --- awaited ---------------------------------------------------------------------------------------------------------


def succeeds_too_early(world: World, jobs: int = 1) -> list[Job]:
    """ICA calls them succeeded, and their files do not show yet."""
    running = [world.run(job, "SUCCEEDED") for job in world.create(jobs=jobs)]
    for job in running:
        wrong = [SourceOutcome(SOURCES[0], MISMATCH, "icav2://to/run/0/a is not there")]
        world.reports.wrong[job.copy_id, job.job_id] = wrong
    return running


def test_files_that_show_a_while_after_ica_has_ended_their_job_cost_no_attempt(world: World) -> None:
    (running,) = succeeds_too_early(world)
    assert world.poll()["awaited"] == 1
    waiting = world.now(running)
    assert (waiting.status, waiting.attempt) == (JobStatus.RUNNING, 1)
    world.clock.forward(seconds=100)
    world.reports.wrong.clear()
    assert world.poll()["passed"] == 1
    assert len(world.now(running).attempts) == 1


def test_a_file_that_is_listed_as_older_is_waited_for_until_that_says_nothing_any_more(world: World) -> None:
    """What was looked at before that time was over does not count, and what is wrong beside it neither."""
    (running,) = succeeds_too_early(world)
    older = SourceOutcome(SOURCES[0], OLDER, "icav2://to/run/0/a was there before")
    world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], MISMATCH, "icav2://to/b is not there"), older]
    assert world.poll()["awaited"] == 1
    world.clock.now += PATIENCE
    assert world.poll()["awaited"] == 1
    world.clock.now += PATIENCE
    world.reports.wrong["run", "000001"] = []
    assert world.poll()["passed"] == 1
    assert [attempt.outcome for attempt in world.now(running).attempts] == ["SUCCEEDED"]


def test_since_when_files_are_awaited_is_known_to_every_poller(world: World) -> None:
    (running,) = succeeds_too_early(world)
    first = world.clock()
    while world.poll()["awaited"]:
        assert world.now(running).mismatch_since == timestamp(first)
        world.clock.forward(seconds=37)
    assert world.clock() - first == PATIENCE
    assert (world.now(running).status, world.now(running).mismatch_since) == (JobStatus.QUEUED, None)


def test_awaited_files_are_looked_at_soon_then_less_and_less_often(world: World) -> None:
    world.seconds_left = 900
    succeeds_too_early(world)
    looked_at: list[float] = []
    world.ica.troubles["jobs"] = lambda _: looked_at.append(sum(world.slept))
    assert world.poll()["requeued"] == 1
    looks = [later - earlier for earlier, later in pairwise(looked_at)]
    assert looks[:-1] == pytest.approx(sorted(looks[:-1]))
    assert (1 <= looks[0] <= 2, max(looks) <= LONGEST_AWAITED_SECONDS + LONGEST_NAP_SECONDS) == (True, True)


def test_where_ica_notifies_awaited_files_are_looked_at_as_soon(world: World) -> None:
    """ICA tells of jobs, and not of files."""
    world.seconds_left = 900
    (running,) = succeeds_too_early(world)
    assert world.poller().look_now("another", {str(running.ica_job_id)}) == Counter(awaited=1)
    world.slept.clear()
    looked_at: list[float] = []
    world.ica.troubles["jobs"] = lambda _: looked_at.append(sum(world.slept))
    world.poll()
    assert looked_at[0] <= 2
    assert looked_at[1] - looked_at[0] <= 2


def test_that_icas_job_has_ended_is_noted_once_however_often_its_files_are_looked_at(world: World) -> None:
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    succeeds_too_early(world)
    for _ in range(3):
        assert world.poll()["awaited"] == 1
        world.clock.forward(seconds=20)
    assert world.table.outcomes("project").recent == "FFFFFP"


def test_files_that_are_awaited_hold_up_no_other_job(world: World) -> None:
    _, other = succeeds_too_early(world, jobs=2)
    del world.reports.wrong[other.copy_id, other.job_id]
    assert world.poll() == Counter(awaited=1, passed=1)


# --- trees -----------------------------------------------------------------------------------------------------------


def test_a_job_with_trees_passes_once_they_and_its_files_are_compared(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared([], None)
    assert world.poll()["passed"] == 1
    assert world.reports.asked == {"trees": [("run", "000001")], "faults": [("run", "000001")]}
    assert world.now(running).status is JobStatus.PASSED


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
def test_what_is_wrong_with_a_tree_is_wrong_with_its_job(world: World, ica_status: str) -> None:
    running = world.run(world.create()[0], ica_status)
    world.reports.wrong["run", "000001"] = []
    wrong = [SourceOutcome(SOURCES[1], MISMATCH, "icav2://to/b is not there")]
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(wrong, None)
    if ica_status == "SUCCEEDED":
        assert world.poll()["awaited"] == 1
        world.clock.now += PATIENCE
    assert world.poll()["requeued"] == 1
    assert world.now(running).uncopied == SOURCES[1:]


def test_a_large_tree_is_gone_on_with_where_it_was_left_also_by_another_poller(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(None, "0:a/")
    assert world.poll()["comparing"] == 1
    left = world.now(running)
    assert (left.status, left.verified_up_to) == (JobStatus.RUNNING, "0:a/")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared([], "0:/")
    assert world.poll()["passed"] == 1


def test_the_time_of_what_is_older_runs_from_when_it_is_seen_in_a_tree_that_is_not_yet_compared(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    for has_older, since in ((False, None), (True, timestamp(world.clock()))):
        world.reports.trees["run", "000001"] = lambda has_time, has_older=has_older: TreesCompared(  # type: ignore[misc]
            None, None, has_older
        )
        assert world.poll()["comparing"] == 1
        assert world.now(running).mismatch_since == since


def test_a_tree_is_compared_for_so_long_only_and_after_all_else(world: World) -> None:
    world.seconds_left = 900
    large, other = (world.run(job, "SUCCEEDED") for job in world.create(jobs=2))
    others: list[JobStatus] = []

    def takes_ten_minutes(has_time: Callable[[], bool]) -> TreesCompared:
        others.append(world.now(other).status)
        began = world.clock()
        while has_time() and sum(world.slept) < 600:
            world.sleep(2)
        assert world.clock() - began <= timedelta(seconds=TREES_SECONDS)
        return TreesCompared(None if sum(world.slept) < 600 else [], None)

    world.reports.trees["run", large.job_id] = takes_ten_minutes
    assert world.poll()["passed"] == 2
    assert others[0] is JobStatus.PASSED
    assert len(others) > 1


def test_what_has_only_begun_is_compared_before_what_is_large(world: World) -> None:
    world.seconds_left = 900
    large, small = (world.run(job, "SUCCEEDED") for job in world.create(jobs=2))
    world.reports.trees["run", large.job_id] = lambda _: TreesCompared([] if len(order) > 2 else None, None)
    world.reports.trees["run", small.job_id] = lambda _: TreesCompared([], None)
    world.say(small, "RUNNING")
    order = world.reports.asked.setdefault("trees", [])
    world.ica.troubles["jobs"] = lambda _: world.say(small, "SUCCEEDED") if order else None
    assert world.poll()["passed"] == 2
    assert [job_id for _, job_id in order[:3]] == [large.job_id, small.job_id, large.job_id]


def test_a_tree_that_takes_long_is_left_to_the_poller_by_a_notification(world: World) -> None:
    running = world.run(world.create()[0], "SUCCEEDED")
    world.clock.forward(seconds=1)
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(None, None)
    assert world.poller().look_now("this one", {str(running.ica_job_id)}) == Counter(comparing=1)
    assert world.poller().look_now("this one", {str(running.ica_job_id)}) == Counter()
    assert world.poll()["comparing"] == 1


# --- projects that cannot be asked -----------------------------------------------------------------------------------


def test_a_project_that_hangs_is_let_be_for_longer_each_time_and_holds_up_no_other(world: World) -> None:
    world.seconds_left = 900
    stuck = world.run(world.create("stuck", sources=["icav2://hangs/a"])[0], "SUCCEEDED")
    world.reports.unverifiable = {("stuck", "000001")}
    later = world.create("later", jobs=3)
    asked: list[float] = []
    ask = world.reports.faults

    def hang(jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        if jobs[0].copy_id == "stuck":
            asked.append(sum(world.slept))
            world.sleep(40)
            if len(asked) == 5:
                world.reports.unverifiable.clear()
        return ask(jobs)

    world.reports.faults = hang  # type: ignore[method-assign]
    for job in later:
        world.run(job, "SUCCEEDED")
    happened = world.poll()
    assert happened["passed"] == 4
    pauses = [after - before - 40 for before, after in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert FIRST_PUT_OFF_SECONDS <= pauses[0] < pauses[-1]
    assert world.now(stuck).status is JobStatus.PASSED


def test_what_cannot_be_compared_in_one_project_does_not_keep_another_from_moving_on(world: World) -> None:
    odd = world.run(world.create("odd", sources=["icav2://odd/a"])[0], "SUCCEEDED")
    plain = world.run(world.create("plain")[0], "SUCCEEDED")
    ask = world.reports.faults

    def break_down(jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        if jobs[0].copy_id == "odd":
            raise RuntimeError("made by the test")
        return ask(jobs)

    world.reports.faults = break_down  # type: ignore[method-assign]
    assert world.poll() == Counter(passed=1, not_moved=1)
    assert (world.now(odd).status, world.now(plain).status) == (JobStatus.RUNNING, JobStatus.PASSED)


def test_what_is_to_be_launched_again_is_seen_to_first(world: World) -> None:
    """It waits for ICA; what has passed waits for nothing."""
    passed, failed = world.create(jobs=2)
    world.run(passed, "SUCCEEDED")
    world.run(failed, "FAILED")
    world.poll()
    assert list(world.reports.asked) == ["missing", "items", "uncopied", "faults"]


# --- moved on in between ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
@pytest.mark.parametrize("again", [False, True])
def test_a_job_that_moves_on_between_listing_and_reading_is_not_moved(
    world: World, ica_status: str, again: bool
) -> None:
    """Another has requeued it; and may have launched it again, so that it is RUNNING like before."""
    running = world.run(world.create()[0], ica_status)

    def another_is_faster(_: object) -> None:
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        assert world.table.requeue(running, ended, b"", world.clock(), world.clock() + LOST_MESSAGE_AGE)
        if again:
            world.run(world.now(running), "RUNNING")

    world.ica.troubles["jobs"] = another_is_faster
    happened = world.poll()
    moved_on = world.now(running)
    assert (moved_on.status, moved_on.attempt) == (JobStatus.RUNNING if again else JobStatus.QUEUED, 2)
    assert len(moved_on.attempts) == 1
    assert (happened["passed"], happened["requeued"], happened["given_up"]) == (0, 0, 0)
    assert world.queue.sent == []
    assert world.reports.asked == {}


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_job_that_moves_on_between_reading_and_writing_is_not_moved(
    world: World, ica_status: str, max_attempts: int
) -> None:
    world.max_attempts = max_attempts
    running = world.run(world.create()[0], ica_status)
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[0], "FAILED", "disk full")]
    asked = "faults" if ica_status == "SUCCEEDED" else "missing"
    ask_verifier = getattr(world.reports, asked)

    def another_is_faster(jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        assert world.table.requeue(running, ended, b"", world.clock(), world.clock() + LOST_MESSAGE_AGE)
        found: dict[JobKey, list[SourceOutcome]] = ask_verifier(jobs)
        return found

    setattr(world.reports, asked, another_is_faster)
    assert world.poll()["moved_on"] == 1
    assert (world.now(running).status, world.now(running).attempt) == (JobStatus.QUEUED, 2)
    assert world.queue.sent == []


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [IcaUnavailable("503", http_status=503), IcaRefused("403", http_status=403)], ids=str)
def test_jobs_that_cannot_be_asked_for_are_counted_and_let_be(world: World, error: IcaUnavailable | IcaRefused) -> None:
    jobs = [world.run(job) for job in world.create(jobs=2)]
    world.ica.trouble("jobs", error)
    assert world.poll()["unreadable"] == 2
    assert [world.now(job) for job in jobs] == jobs


def test_queued_jobs_are_sent_although_ica_cannot_be_asked(world: World) -> None:
    first, _ = world.create(jobs=2, due_in=timedelta())
    world.run(first)
    world.clock.forward(seconds=1)
    world.ica.trouble("jobs", IcaUnavailable("503"))
    happened = world.poll()
    assert (happened["unreadable"], happened["sent_again"]) == (1, 1)


def test_what_the_others_have_found_is_counted_too(world: World) -> None:
    (job,) = world.create()
    world.claim(job, due_in=-1)
    world.reports.settled = Counter(adopted=2, undecided=1)
    world.reports.delayed = 4
    assert world.poll() == Counter(adopted=2, undecided=1, delayed=4)


# --- one at a time ---------------------------------------------------------------------------------------------------


def test_while_another_polls_nothing_is_looked_at_or_sent(world: World) -> None:
    first, _ = world.create(jobs=2, due_in=timedelta())
    world.run(first)
    world.clock.forward(seconds=1)
    world.table.hold_lease(LEASE_NAME, "another", world.clock(), world.clock() + timedelta(seconds=60))
    assert not +world.poll()
    assert (world.ica.calls, world.queue.sent) == ([], [])
    assert world.table.leases[LEASE_NAME][0] == "another"


def test_the_lease_is_given_back_also_where_the_poller_breaks(world: World) -> None:
    world.run(world.create()[0])

    def break_down(_: object) -> None:
        raise RuntimeError("made by the test")

    world.ica.troubles["jobs"] = break_down
    with pytest.raises(RuntimeError):
        world.poll()
    assert world.table.leases == {}


def test_jobs_are_looked_at_until_none_runs_less_and_less_often(world: World) -> None:
    world.seconds_left = 900
    running = world.run(world.create()[0])

    looked_at: list[float] = []

    def succeeds_after_a_minute(_: object) -> None:
        looked_at.append(sum(world.slept))
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()["passed"] == 1
    looks = [later - earlier for earlier, later in pairwise(looked_at)]
    assert looks == pytest.approx(sorted(looks), abs=0.5)
    assert looks[0] == pytest.approx(FIRST_LOOK_SECONDS)
    assert max(looks) <= 20 + LONGEST_NAP_SECONDS
    assert world.table.leases == {}


def test_a_poller_that_waits_for_old_jobs_soon_sees_a_new_one(world: World) -> None:
    world.seconds_left = 900
    old, new = world.create(jobs=2)
    world.run(old)
    world.clock.forward(minutes=30)
    seen_at: list[float] = []
    sleep = world.sleep

    def start_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if world.now(new).status is JobStatus.QUEUED:
            world.run(new, "SUCCEEDED")
        elif world.now(new).status is JobStatus.PASSED and not seen_at:
            seen_at.append(sum(world.slept))
            world.say(world.now(old), "SUCCEEDED")

    world.sleep = start_meanwhile  # type: ignore[method-assign]
    assert world.poll()["passed"] == 2
    assert seen_at[0] <= 3 * LONGEST_NAP_SECONDS


def test_where_ica_notifies_of_another_project_the_poller_looks_as_often_as_ever(world: World) -> None:
    world.seconds_left = 900
    running = world.run(world.create()[0])
    now = world.clock()
    world.table.hold_lease(f"{NOTIFIED_LEASE_NAME} another-project", "notified", now, now + timedelta(minutes=5))

    def succeeds_after_a_minute(_: object) -> None:
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()["passed"] == 1
    assert len(world.ica.called("jobs")) > 6


# --- notifications ---------------------------------------------------------------------------------------------------


def test_a_notification_has_what_runs_looked_at_in_one_call(world: World) -> None:
    first, second = (world.run(job, "SUCCEEDED") for job in world.create(jobs=2))
    assert world.poller().look_now("this one", {str(first.ica_job_id)}) == Counter(passed=2)
    assert len(world.ica.called("jobs")) == 1
    assert world.now(second).status is JobStatus.PASSED


@pytest.mark.parametrize(("running", "gathered"), [(1, 0.025), (10, 0.25), (20, 0.5), (50, 0.5)])
def test_notifications_are_gathered_for_the_longer_the_more_jobs_run(
    world: World, running: int, gathered: float
) -> None:
    first, *_ = (world.run(job) for job in world.create(jobs=running))
    world.poller().look_now("this one", {str(first.ica_job_id)})
    (slept,) = world.slept
    assert slept == pytest.approx(gathered + 0.05)


def test_of_notifications_that_come_together_one_has_ica_asked(world: World) -> None:
    first, second = (world.run(job, "SUCCEEDED") for job in world.create(jobs=2))
    sleep, others = world.sleep, []

    def another_comes(seconds: float) -> None:
        others.append(world.poller().look_now("another", {str(second.ica_job_id)}))
        sleep(seconds)

    world.sleep = another_comes  # type: ignore[method-assign]
    assert world.poller().look_now("this one", {str(first.ica_job_id)}) == Counter(passed=2)
    assert others == [Counter()]
    assert len(world.ica.called("jobs")) == 1


def test_a_notification_of_somebody_elses_job_has_nobody_asked(world: World) -> None:
    world.run(world.create()[0], "SUCCEEDED")
    assert world.poller().look_now("this one", {"of another pipeline"}) == Counter()
    assert (world.ica.calls, world.slept) == ([], [])


def test_a_notification_that_is_ahead_of_icas_own_answer_moves_nothing(world: World) -> None:
    running = world.run(world.create()[0], "RUNNING")
    assert world.poller().look_now("this one", {str(running.ica_job_id)}) == Counter(running=1)
    assert world.now(running).status is JobStatus.RUNNING


def test_a_notification_that_is_ahead_of_our_own_note_is_kept_for_a_moment(world: World) -> None:
    (job,) = world.create()
    world.table.claim_for_launch(job, "project", world.clock(), world.clock(), world.slots)
    claimed = world.now(job)
    sleep = world.sleep

    def note_meanwhile(seconds: float) -> None:
        sleep(seconds)
        world.table.mark_running(claimed, "ica-job", "ica-batch", world.clock(), world.clock())
        world.ica.jobs_there["ica-job"] = IcaJob("ica-job", "SUCCEEDED")

    world.sleep = note_meanwhile  # type: ignore[method-assign]
    assert world.poller().look_now("this one", {"ica-job"}) == Counter(passed=1)


def test_a_slot_that_a_notification_frees_goes_to_who_waits_for_it(world: World) -> None:
    world.slots = Slots(1, 1)
    first, second = world.create(jobs=2, due_in=timedelta())
    running = world.run(first, "SUCCEEDED")
    world.clock.forward(seconds=1)
    assert world.poller().look_now("this one", {str(running.ica_job_id)})["sent_again"] == 1
    assert world.sent() == [("run", second.job_id)]


def test_while_ica_notifies_the_poller_looks_seldom(world: World) -> None:
    world.seconds_left = 900
    other, job = world.create(jobs=2)
    told = world.run(other, "SUCCEEDED")
    world.poller().look_now("this one", {str(told.ica_job_id)})
    running = world.run(job)
    world.ica.calls.clear()
    world.slept.clear()

    def succeeds_after_a_minute(_: object) -> None:
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()["passed"] == 1
    assert len(world.ica.called("jobs")) == 3, "after 20, 40 and 60 seconds"


def test_a_triggered_poller_leaves_to_the_schedule_what_is_overdue(world: World) -> None:
    """Else each launch would have it looked for again."""
    world.settle("run")
    world.clock.forward(minutes=2)
    world.reports.delayed = 1
    assert world.poll(triggered=True) == Counter()
    happened = world.poll()
    assert (happened["copies_completed"], happened["delayed"]) == (1, 1)


@pytest.mark.parametrize("triggered", [False, True])
def test_launches_whose_end_nobody_saw_are_settled_as_soon_as_they_are_due(world: World, triggered: bool) -> None:
    """The poller stays at work until then."""
    world.seconds_left = 900
    (job,) = world.create()
    world.claim(job, due_in=10)
    settled_at: list[datetime] = []

    def settle() -> Counter[str]:
        settled_at.append(world.clock())
        assert world.table.mark_running(world.now(job), "ica", "batch", world.clock(), world.clock())
        world.say(world.now(job), "SUCCEEDED")
        return Counter(adopted=1)

    world.reports.settle_unknown_launches = settle  # type: ignore[method-assign]
    start = world.clock()
    happened = world.poll(triggered)
    assert (happened["adopted"], happened["passed"]) == (1, 1)
    (moment,) = settled_at
    assert timedelta(seconds=10) < moment - start <= timedelta(seconds=10 + LONGEST_NAP_SECONDS)


def test_a_launch_that_is_at_work_does_not_keep_the_poller(world: World) -> None:
    world.seconds_left = 900
    (job,) = world.create()
    world.claim(job, due_in=300)
    assert world.poll() == Counter(delayed=0)
    assert world.slept == []


def test_a_triggered_poller_looks_once_more_where_there_is_nothing_yet(world: World) -> None:
    """What a launch has started may show in the index only after a moment."""
    world.seconds_left = 900
    (job,) = world.create()
    world.ica.troubles["jobs"] = lambda _: None
    started: list[Job] = []
    sleep = world.sleep

    def start_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if not started:
            started.append(world.run(job, "SUCCEEDED"))

    world.sleep = start_meanwhile  # type: ignore[method-assign]
    assert world.poll(triggered=True)["passed"] == 1
