"""Launch: what is started, what waits and for what, and what is given back when it was not to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Barrier, Event
from typing import Any

import pytest

from icav2_copy_batch.adapters.ica.pacing import CALLERS_AT_ONCE
from icav2_copy_batch.domain.ica import (
    SECONDS_TO_START,
    IcaAnswerLost,
    IcaData,
    IcaError,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
)
from icav2_copy_batch.domain.intent import Intent, digest_of
from icav2_copy_batch.domain.job import (
    NEXT_ATTEMPT,
    Claim,
    Hold,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    OpenJob,
    timestamp,
)
from icav2_copy_batch.domain.pace import FORGOTTEN_AFTER, LEAST_RATE, Pace, first_pace
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import parse_uri
from icav2_copy_batch.stages.dispatch import NO_SLOT
from icav2_copy_batch.stages.launch import (
    CALLS_A_LAUNCH,
    FEWER_CALLS_SECONDS,
    FIRST_DEFERRAL_SECONDS,
    FOLDER_BUSY_SECONDS,
    LEASE_MARGIN,
    LOOK_FOR_LOST,
    MAX_DEFERRAL_SECONDS,
    MOST_LOOKED_UP_ANEW,
    MOST_PARTS,
    NOT_STARTED,
    SECONDS_TO_LAUNCH,
    TRIGGERS_APART,
    End,
    Ended,
    Launch,
)
from icav2_copy_batch.stages.launch import (
    THROTTLED as NOBODY_CALLS,
)
from icav2_copy_batch.stages.prepare import CLEARING_PAUSES, LONGEST_CLEARING_SECONDS
from tests import doubles
from tests.doubles import SmallIca

SOURCES = ["icav2://from/run/a.txt", "icav2://from/run/b.txt"]
UNAVAILABLE = IcaUnavailable("ICA answered 503", http_status=503)
THROTTLED = IcaUnavailable("ICA answered 429", http_status=429)
REFUSED = IcaRefused("no such thing can be seen with this token")


@dataclass(kw_only=True)
class World(doubles.World):
    ica: SmallIca = field(default_factory=SmallIca)
    poller: doubles.Poller = field(default_factory=doubles.Poller)
    seconds_left: float = 300.0
    sources: Sequence[str] = tuple(SOURCES)
    jitter: Callable[[float, float], float] = max
    """Chance: by default the larger of the two."""
    spread: Spread = doubles.in_turn
    sleeping: Callable[[float], None] = lambda _: None
    """What happens while a launch waits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ica.add("/run/a.txt", "/run/b.txt")

    def launch(self, *jobs: Job) -> Counter[End]:
        """Launch these jobs; how many of their messages ended how."""
        return Counter(each.end for each in self.launched(*jobs))

    def launched(self, *jobs: Job) -> list[Ended]:
        launch = Launch(
            table=self.table,
            ica=self.ica,
            poller=self.poller,
            pacing=doubles.pacing(self.table, self.clock),
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            slots=self.slots,
            jitter=self.jitter,
            spread=self.spread,
            sleep=self.sleep,
        )
        return launch.launch(map(request, jobs))

    def sleep(self, seconds: float) -> None:
        self.sleeping(seconds)
        self.slept.append(seconds)

    def after(self, delay: timedelta | float) -> str:
        """The moment that is so much (or so many seconds) after now."""
        return timestamp(self.clock() + (delay if isinstance(delay, timedelta) else timedelta(seconds=delay)))

    def deferred(self, job: Job, deferrals: int) -> Job:
        """The job as it is once its launch has been deferred so often."""
        if deferrals:
            self.table.claim_for_launch(job, "to", self.clock(), self.clock(), self.slots)
            hold = doubles.hold("ICA answered 503")
            assert self.table.release(self.now(job), self.clock(), self.clock(), hold, deferrals=deferrals)
        return self.now(job)

    def nothing_taken(self) -> bool:
        return not +self.table.slots and not any(folder.jobs for folder in self.table.folders.values())

    def fail(self, job: Job, uncopied: Sequence[str] = ()) -> Job:
        """Have a running job's attempt fail; the job as it is queued for the next."""
        running = replace(self.now(job), ica_created_at=timestamp(self.clock()))
        copied = frozenset(running.sources) - set(uncopied) if uncopied else frozenset()
        ended = running.ended_attempt("FAILED", "disk full", self.clock())
        assert self.table.requeue(running, ended, copied, self.clock(), self.clock(), NEXT_ATTEMPT)
        return self.now(job)


def request(job: Job) -> LaunchRequest:
    return LaunchRequest(job.copy_id, job.job_id, job.attempt)


def ends(**counts: int) -> Counter[End]:
    return Counter({End[name.upper()]: count for name, count in counts.items()})


@pytest.fixture
def world() -> World:
    return World()


# --- started ---------------------------------------------------------------------------------------------------------


def test_a_queued_job_becomes_a_copy_batch_of_its_sources_into_its_folder(world: World) -> None:
    options = CopyOptions("OVERWRITE", copy_user_tags=False)
    (job,) = world.create("icav2://to/x/", options=options)
    assert world.launch(job) == ends(started=1)
    assert world.ica.called("start_copy_batch") == [["to", "folder /x/", ["/run/a.txt", "/run/b.txt"], options]]
    running = world.now(job)
    assert (running.status, running.ica_project_id) == (JobStatus.RUNNING, "to")
    assert (running.ica_job_id, running.ica_batch_id) == ("ica-1", "batch-1")
    assert running.due_at == timestamp(world.clock())


def test_a_job_that_is_launched_knows_how_many_bytes_its_files_have(world: World) -> None:
    world.ica.add("/run/tree/")
    job = world.create("icav2://to/out/", sources=[*SOURCES, "icav2://from/run/tree/"])[0]
    world.launch(job)
    assert world.now(job).total_bytes == 14


def test_jobs_are_looked_up_together_and_started_each(world: World) -> None:
    jobs = world.create("icav2://to/x/", "icav2://to/y/", "icav2://elsewhere/z/")
    assert world.launch(*jobs) == ends(started=3)
    assert len(world.ica.called("find")) == len(world.ica.called("ensure_folders")) == 2, (
        "one for each destination project"
    )
    assert {world.now(job).ica_job_id for job in jobs} == {"ica-1", "ica-2", "ica-3"}


def test_a_copy_into_the_root_has_no_folder(world: World) -> None:
    world.launch(*world.create("icav2://to/"))
    ((_, folder_id, _, _),) = world.ica.called("start_copy_batch")
    assert folder_id is None


def test_while_it_is_launched_a_job_is_due_when_its_claim_has_surely_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = world.create("icav2://to/x/")
    get_job = world.table.get_job

    def read_slowly(copy_id: str, job_id: str) -> Job | None:
        monkeypatch.undo()
        world.clock.forward(100)
        world.seconds_left -= 100
        return get_job(copy_id, job_id)

    monkeypatch.setattr(world.table, "get_job", read_slowly)
    world.ica.troubles["find"] = lambda _: assert_claimed()

    def assert_claimed() -> None:
        claimed = world.now(job)
        assert (claimed.status, claimed.claimed_at) == (JobStatus.LAUNCHING, timestamp(world.clock()))
        assert claimed.due_at == world.after(timedelta(seconds=200) + LEASE_MARGIN)

    assert world.launch(job) == ends(started=1)


def test_the_poller_is_triggered_by_what_was_started_and_once_by_launches_at_the_same_moment(world: World) -> None:
    first, second, third = world.create("icav2://to/x/", "icav2://to/y/", "icav2://to/z/")
    world.launch(first)
    world.launch(second)
    assert world.poller.triggers == 1
    world.clock.now += TRIGGERS_APART + timedelta(seconds=1)
    world.launch(third)
    assert world.poller.triggers == 2


@pytest.mark.parametrize(("trouble", "triggers"), [(UNAVAILABLE, 1), (REFUSED, 0)])
def test_the_poller_is_triggered_by_what_is_to_be_sent_again_and_not_where_all_is_said(
    world: World, trouble: IcaError, triggers: int
) -> None:
    world.ica.trouble("find", trouble)
    world.launch(*world.create("icav2://to/x/"))
    assert world.poller.triggers == triggers


# --- moved on --------------------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_starts_one_copy_batch(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    assert world.launch(job, job) == ends(started=1, moved_on=1)
    assert world.launch(job) == ends(moved_on=1)
    assert len(world.ica.called("start_copy_batch")) == 1


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_message_about_another_attempt_changes_nothing(world: World, attempt: int) -> None:
    (job,) = world.create("icav2://to/x/")
    assert world.launch(replace(job, attempt=attempt)) == ends(moved_on=1)
    assert world.now(job) == job
    assert world.ica.calls == []


def test_a_message_about_a_job_that_is_not_there_changes_nothing(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    assert world.launch(replace(job, job_id="000002")) == ends(moved_on=1)
    assert world.ica.calls == []


def test_a_job_that_moves_on_between_reading_and_claiming_is_not_launched(world: World) -> None:
    (job,) = world.create("icav2://to/x/")

    read = world.table.get_job

    def another_is_faster(copy_id: str, job_id: str) -> Job | None:
        seen = read(copy_id, job_id)
        doubles.run(world.table, job, world.clock())
        return seen

    world.table.get_job = another_is_faster  # type: ignore[method-assign]
    assert world.launch(job) == ends(moved_on=1)
    assert world.now(job).ica_job_id == "ica-job"
    assert world.ica.called("start_copy_batch") == []


def test_a_copy_batch_of_a_job_that_has_moved_on_meanwhile_is_told_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = world.create("icav2://to/x/")

    def taken_away(_: object) -> None:
        claimed = world.now(job)
        world.table.release(claimed, world.clock(), world.clock(), doubles.hold("its launch has died"))

    world.ica.troubles["start_copy_batch"] = taken_away
    world.launch(job)
    assert world.now(job).status is JobStatus.QUEUED
    assert "a copy batch was started for a job that has moved on" in caplog.text


# --- held back -------------------------------------------------------------------------------------------------------


def test_where_no_slot_is_free_no_claim_is_tried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused transaction costs as much as one that is carried out."""
    world.slots = Slots(total=10, per_project=2)
    jobs = world.create("icav2://to/x/", "icav2://to/y/", "icav2://to/z/", "icav2://other/z/")
    tried: list[str] = []
    claim = world.table.claim_for_launch

    def counted(job: Job, *arguments: Any) -> Claim:
        tried.append(job.job_id)
        return claim(job, *arguments)

    monkeypatch.setattr(world.table, "claim_for_launch", counted)
    assert world.launch(*jobs) == ends(started=3, held=1)
    assert world.launch(jobs[2]) == ends(held=1)
    assert tried == ["000001", "000002", "000004"]


def test_where_another_launch_was_faster_one_refused_claim_is_enough(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.slots = Slots(total=10, per_project=1)
    jobs = world.create(*(f"icav2://to/{number}/" for number in range(5)))
    world.launch(jobs[0])
    monkeypatch.setattr(world.table, "slots_in_use", Counter)
    requests = world.table.line.requests
    assert world.launch(*jobs[1:]) == ends(held=4)
    reads, pace, claims, waits = 4, 1, 1, 4
    assert world.table.line.requests - requests == reads + pace + claims + waits


@pytest.mark.parametrize("slots", [Slots(total=1), Slots(per_project=1)], ids=str)
def test_a_job_for_which_there_is_no_slot_waits_for_the_poller_to_have_its_turn(world: World, slots: Slots) -> None:
    world.slots = slots
    first, second = world.create("icav2://to/x/", "icav2://to/y/")
    assert world.launch(first, second) == ends(started=1, held=1)
    waiting = world.now(second)
    assert (waiting.status, waiting.attempt, waiting.queued_at) == (JobStatus.QUEUED, 1, second.queued_at)
    assert (waiting.due_at, waiting.hold) == (timestamp(world.clock()), NO_SLOT)
    assert len(world.ica.called("start_copy_batch")) == 1


def test_a_job_whose_folder_is_busy_waits_a_while(world: World) -> None:
    (first,) = world.create("icav2://to/x/")
    (second,) = world.create("icav2://to/x/", copy_id="another")
    assert world.launch(first, second) == ends(started=1, held=1)
    waiting = world.now(second)
    assert waiting.status is JobStatus.QUEUED
    assert waiting.hold == Hold(HoldReason.FOLDER_BUSY, "another copy writes into icav2://to/x/")
    assert waiting.due_at == world.after(2 * FOLDER_BUSY_SECONDS), "with jitter"


def test_nobody_launches_while_nobody_may_call_ica(world: World) -> None:
    jobs = world.create("icav2://to/x/", "icav2://to/y/")
    until = world.clock() + timedelta(seconds=40)
    doubles.nobody_calls_until(world.table, world.clock(), until)
    world.jitter = min
    assert world.launch(*jobs) == ends(held=2)
    assert world.ica.calls == []
    for job in map(world.now, jobs):
        assert (job.status, job.due_at, job.hold) == (JobStatus.QUEUED, timestamp(until), NOBODY_CALLS)
    world.clock.now = until
    assert world.launch(*jobs) == ends(started=2)


def test_jobs_that_were_held_back_meanwhile_do_not_all_come_back_at_once(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    until = world.clock() + timedelta(seconds=40)
    doubles.nobody_calls_until(world.table, world.clock(), until)
    world.launch(job)
    assert world.now(job).due_at == world.after(80)


def test_a_message_that_comes_late_holds_no_other_attempt_back(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    requeued = world.fail(job)
    doubles.nobody_calls_until(world.table, world.clock(), world.clock() + timedelta(seconds=40))
    world.launch(job)
    assert world.now(job) == requeued


# --- fewer calls -----------------------------------------------------------------------------------------------------


def test_no_more_is_claimed_than_can_be_launched_at_the_pace_that_ica_takes(world: World) -> None:
    jobs = world.create(*(f"icav2://to/{number}/" for number in range(6)))
    world.table.pace_item = first_pace(2, world.clock(), None)
    seconds = 3 * CALLS_A_LAUNCH * CALLERS_AT_ONCE / 2
    world.seconds_left, world.jitter = SECONDS_TO_START + seconds, min
    assert world.launch(*jobs) == ends(started=3, held=3)
    for job in map(world.now, jobs[3:]):
        assert (job.status, job.hold) == (JobStatus.QUEUED, NOBODY_CALLS)
        assert job.due_at == world.after(FEWER_CALLS_SECONDS)


def test_however_slow_ica_is_one_is_launched(world: World) -> None:
    jobs = world.create("icav2://to/x/", "icav2://to/y/")
    world.table.pace_item = Pace(LEAST_RATE, LEAST_RATE, 0, world.clock(), world.clock())
    world.seconds_left = SECONDS_TO_LAUNCH + 1
    assert world.launch(*jobs) == ends(started=1, held=1)


def test_a_429_that_is_over_holds_nobody_back(world: World) -> None:
    jobs = world.create("icav2://to/x/", "icav2://to/y/")
    world.table.pace_item = Pace(LEAST_RATE, LEAST_RATE, 0, world.clock(), world.clock())
    world.seconds_left = SECONDS_TO_LAUNCH + 1
    world.clock.now += FORGOTTEN_AFTER + timedelta(seconds=1)
    assert world.launch(*jobs) == ends(started=2)


# --- put off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "status"), [(UNAVAILABLE, JobStatus.QUEUED), (REFUSED, JobStatus.FAILED)])
def test_a_folder_that_is_not_to_be_had_holds_up_its_own_job_alone(trouble: IcaError, status: JobStatus) -> None:
    """They are asked for together."""
    world = World()
    poison, fine, root = world.create("icav2://to/out/", "icav2://to/fine/", "icav2://to/")
    world.ica.folder_troubles["/out/"] = trouble
    launched = world.launch(poison, fine, root)
    assert (launched[End.STARTED], launched[End.DEFERRED] + launched[End.REFUSED]) == (2, 1)
    assert world.now(poison).status is status
    assert {world.now(each).status for each in (fine, root)} == {JobStatus.RUNNING}
    assert str(trouble) in (world.now(poison).reason or str(world.now(poison).hold))
    assert len(world.ica.called("ensure_folders")) == 1


@pytest.mark.parametrize("method", ["find", "ensure_folders", "start_copy_batch"])
def test_a_job_that_ica_is_not_there_for_is_put_off_and_gives_back_what_it_took(world: World, method: str) -> None:
    (job,) = world.create("icav2://to/x/")
    world.ica.trouble(method, UNAVAILABLE)
    assert world.launch(job) == ends(deferred=1)
    put_off = world.now(job)
    assert (put_off.status, put_off.attempt, put_off.queued_at) == (JobStatus.QUEUED, 1, job.queued_at)
    assert put_off.hold == Hold(HoldReason.ICA_UNAVAILABLE, "ICA answered 503")
    assert (put_off.due_at, put_off.deferrals) == (world.after(FIRST_DEFERRAL_SECONDS), 1)
    assert world.nothing_taken()


@pytest.mark.parametrize(("deferrals", "longest"), [(0, 5), (1, 10), (3, 40), (7, 640), (8, 900), (5000, 900)])
@pytest.mark.parametrize("chance", [min, max])
def test_a_job_is_put_off_for_longer_each_time_within_sqs_limit(
    world: World, deferrals: int, longest: int, chance: Callable[[float, float], float]
) -> None:
    world.jitter = chance
    job = world.deferred(world.create("icav2://to/x/")[0], deferrals)
    world.ica.trouble("find", UNAVAILABLE)
    world.launch(job)
    again = world.now(job)
    assert again.deferrals == deferrals + 1
    assert again.due_at == world.after(chance(longest / 2, longest))


@pytest.mark.parametrize(("retry_after", "seconds"), [(1, 5), (90, 90), (100_000, MAX_DEFERRAL_SECONDS)])
def test_a_launch_is_not_tried_again_before_ica_has_asked_for_that(
    world: World, retry_after: float, seconds: float
) -> None:
    (job,) = world.create("icav2://to/x/")
    world.ica.trouble("find", IcaUnavailable("ICA answered 503", http_status=503, retry_after=retry_after))
    world.launch(job)
    assert world.now(job).due_at == world.after(seconds)


def test_a_job_that_was_taken_from_its_launch_meanwhile_is_not_deferred_by_it(world: World) -> None:
    (job,) = world.create("icav2://to/x/")

    def taken_meanwhile(_: object) -> IcaError:
        world.table.release(world.now(job), world.clock(), world.clock(), doubles.hold("taken for dead"))
        world.clock.forward(seconds=1)
        world.table.claim_for_launch(world.now(job), "to", world.clock(), world.clock(), world.slots)
        return UNAVAILABLE

    world.ica.troubles["find"] = taken_meanwhile
    assert world.launch(job) == ends(moved_on=1)
    assert world.now(job).status is JobStatus.LAUNCHING


def test_trouble_with_one_project_does_not_touch_the_jobs_of_another(world: World) -> None:
    world.ica.add("/c.txt")
    (first,) = world.create("icav2://to/x/")
    (second,) = world.create("icav2://to/y/", copy_id="another", sources=["icav2://other/c.txt"])
    third, fourth = world.create("icav2://unknown/z/", "icav2://to/w/", copy_id="third")
    world.ica.troubles["find"] = lambda arguments: UNAVAILABLE if arguments[0] == "other" else None
    world.ica.trouble("ensure_folders", REFUSED, only="unknown")
    assert world.launch(first, second, third, fourth) == ends(started=2, deferred=1, refused=1)
    assert [world.now(job).status for job in (first, second, third, fourth)] == [
        JobStatus.RUNNING,
        JobStatus.QUEUED,
        JobStatus.FAILED,
        JobStatus.RUNNING,
    ]


def test_with_too_little_time_left_no_copy_batch_is_started(world: World) -> None:
    (job,) = world.create("icav2://to/x/")

    def time_goes_by(_: object) -> None:
        world.seconds_left = SECONDS_TO_START - 1

    world.ica.troubles["ensure_folders"] = time_goes_by
    world.seconds_left = SECONDS_TO_LAUNCH
    assert world.launch(job) == ends(deferred=1)
    assert world.ica.called("start_copy_batch") == []


def test_nothing_is_claimed_that_the_time_left_cannot_launch(world: World) -> None:
    """It waits for another launch, and nobody has to find out what became of it."""
    (job,) = world.create("icav2://to/x/")
    world.seconds_left = SECONDS_TO_LAUNCH - 1
    assert world.launch(job) == ends(held=1)
    assert (world.now(job).status, world.now(job).due_at) == (JobStatus.QUEUED, timestamp(world.clock()))
    assert world.ica.calls == []
    world.seconds_left = SECONDS_TO_LAUNCH
    assert world.launch(job) == ends(started=1)


def test_a_project_for_which_ica_hangs_slows_no_other(world: World) -> None:
    """The job of the other is started, and the poller triggered, before ICA answers for the first."""
    hanging, _ = world.create("icav2://hangs/x/", "icav2://to/y/")
    (other,) = world.create("icav2://to/z/", copy_id="another")
    triggered = Event()
    world.poller.trigger = triggered.set  # type: ignore[method-assign]
    triggered_first: list[bool] = []

    def hang(arguments: tuple[object, ...]) -> None:
        if arguments[0] == "hangs":
            triggered_first.append(triggered.wait(timeout=10))

    world.ica.troubles["ensure_folders"] = hang
    world.spread = in_threads
    assert world.launch(hanging, other) == ends(started=2)
    assert triggered_first == [True]


def test_what_nobody_has_foreseen_with_one_project_touches_no_other(world: World) -> None:
    first, second = world.create("icav2://to/x/", "icav2://breaks/y/")

    def break_for_one(arguments: tuple[object, ...]) -> None:
        if arguments[0] == "breaks":
            raise RuntimeError("made by the test")

    world.ica.troubles["ensure_folders"] = break_for_one
    assert set(world.launched(first, second)) == {
        Ended(request(first), End.STARTED),
        Ended(request(second), End.BROKEN),
    }


# --- refused ---------------------------------------------------------------------------------------------------------


def assert_refused(world: World, job: Job, reason: str) -> None:
    failed = world.now(job)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, reason)
    (attempt,) = failed.attempts
    assert (attempt.outcome, attempt.reason, attempt.ica_job_id) == (NOT_STARTED, reason, None)
    assert world.table.copies["run"].copy.failed_jobs == 1
    assert world.nothing_taken()
    assert world.ica.called("start_copy_batch") == []


@pytest.mark.parametrize("method", ["find", "ensure_folders", "start_copy_batch"])
def test_a_job_that_ica_refuses_fails_at_once(world: World, method: str) -> None:
    (job,) = world.create("icav2://to/x/")
    world.ica.trouble(method, REFUSED)
    if method == "start_copy_batch":
        assert world.launch(job) == ends(refused=1)
        assert world.now(job).reason == str(REFUSED)
        assert world.nothing_taken()
    else:
        assert world.launch(job) == ends(refused=1)
        assert_refused(world, job, str(REFUSED))


@pytest.mark.parametrize("method", ["find", "ensure_folders", "incomplete_files"])
def test_what_is_refused_because_of_one_job_fails_no_other(world: World, method: str) -> None:
    """They are asked for together."""
    world.ica.add("/run/odd.txt")
    (odd,) = world.create("icav2://to/odd/", sources=["icav2://from/run/odd.txt"])
    others = world.create("icav2://to/x/", "icav2://to/y/", copy_id="other")
    if method == "incomplete_files":
        world.launch(odd, *others)
        odd, *others = (world.fail(job) for job in (odd, *others))
    world.ica.trouble(method, REFUSED, only="odd")
    assert world.launch(odd, *others) == ends(started=2, refused=1)
    assert [world.now(job).status for job in (odd, *others)] == [JobStatus.FAILED, JobStatus.RUNNING, JobStatus.RUNNING]


def test_a_source_that_is_not_there_fails_its_job_and_makes_no_folder(world: World) -> None:
    (job,) = world.create("icav2://to/x/", sources=[*SOURCES, "icav2://from/run/none.txt"])
    assert world.launch(job) == ends(refused=1)
    reason = "the source icav2://from/run/none.txt was not found; check the path and its upper and lower case"
    assert_refused(world, job, reason)
    assert world.ica.called("ensure_folders") == []


def test_a_source_that_is_not_available_fails_its_job_with_how_many_more_there_are(world: World) -> None:
    world.ica.add("/run/a.txt", "/run/b.txt", status="ARCHIVED")
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    said = "the source icav2://from/run/a.txt is ARCHIVED, not AVAILABLE; submit again when it is (and 1 more sources)"
    assert_refused(world, job, said)


def test_a_source_in_the_project_of_its_destination_is_launched_for_whoever_accepted_it_has_allowed_that(
    world: World,
) -> None:
    (job,) = world.create("icav2://from/x/")
    assert world.launch(job) == ends(started=1)


# --- copy batches that are too large ---------------------------------------------------------------------------------


def take_at_most(world: World, items: int) -> None:
    """Have ICA refuse copy batches of more sources than so many."""
    refusal = IcaRefusedBatch("ICA answered 413", http_status=413)

    def refused(asked: tuple[Any, ...]) -> IcaError | None:
        return refusal if len(asked[2]) > items else None

    world.ica.troubles["start_copy_batch"] = refused


def of_many_sources(world: World, number: int) -> Job:
    sources = [f"icav2://from/run/{each:04d}" for each in range(number)]
    world.ica.add(*(parse_uri(source).path for source in sources))
    (job,) = world.create("icav2://to/x/", sources=sources)
    return job


def test_a_copy_batch_that_ica_finds_too_large_is_halved_until_it_is_taken(world: World) -> None:
    take_at_most(world, 3)
    job = of_many_sources(world, 10)
    for limit in (5, 3):
        assert world.launch(job) == ends(halved=1)
        queued = world.now(job)
        assert (queued.status, queued.attempt, queued.batch_limit) == (JobStatus.QUEUED, 1, limit)
        assert (queued.intent, queued.attempts, world.nothing_taken()) == (None, (), True)
        assert queued.due_at == timestamp(world.clock()), "at once"
    assert world.launch(job) == ends(started=1)
    assert world.now(job).uncopied == list(job.sources[:3])
    assert [len(data_ids) for _, _, data_ids, _ in world.ica.called("start_copy_batch")] == [10, 5, 3]


def test_what_is_written_down_before_ica_is_asked_is_the_part(world: World) -> None:
    take_at_most(world, 5)
    job = of_many_sources(world, 10)
    world.launch(job)
    world.ica.trouble("start_copy_batch", IcaAnswerLost("connection dropped"))
    assert world.launch(job) == ends(unknown=1)
    intent = world.now(job).intent
    assert intent
    assert (intent.count, intent.digest) == (5, digest_of(parse_uri(source).path for source in job.sources[:5]))


def test_a_job_does_not_fall_into_more_parts_than_its_item_can_hold(world: World) -> None:
    take_at_most(world, 1)
    job = of_many_sources(world, 100)
    assert [world.launch(job) for _ in range(4)] == [ends(halved=1)] * 4
    assert world.now(job).batch_limit == -(-100 // MOST_PARTS)
    assert world.launch(job) == ends(refused=1)
    failed = world.now(job)
    assert (failed.status, failed.attempt, failed.reason) == (JobStatus.FAILED, 1, "ICA answered 413")


def test_a_copy_batch_of_one_source_is_not_halved(world: World) -> None:
    world.ica.trouble("start_copy_batch", IcaRefused("ICA answered 413", http_status=413))
    (job,) = world.create("icav2://to/x/", sources=SOURCES[:1])
    assert world.launch(job) == ends(refused=1)


def test_before_the_next_part_there_is_nothing_to_clear_away(world: World) -> None:
    take_at_most(world, 1)
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    world.launch(job)
    running = world.now(job)
    passed = running.ended_attempt("SUCCEEDED", None, world.clock())
    copied = frozenset(running.due_by_now)
    assert world.table.requeue(running, passed, copied, world.clock(), world.clock(), NEXT_ATTEMPT)
    assert world.launch(world.now(job)) == ends(started=1)
    assert world.ica.called("incomplete_files") == []


# --- the intent ------------------------------------------------------------------------------------------------------


def test_what_will_be_asked_for_is_written_down_before_ica_is_asked(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    asked: list[Job] = []

    def look(_: object) -> None:
        asked.append(world.now(job))

    world.ica.troubles["start_copy_batch"] = look
    assert world.launch(job) == ends(started=1)
    (held,) = asked
    expected = Intent.of(timestamp(world.clock()), "folder /x/", ["/run/b.txt", "/run/a.txt"])
    assert (held.status, held.intent) == (JobStatus.LAUNCHING, expected)
    assert world.now(job).intent is None, "which is of no use any more once its ICA job is known"


def test_a_launch_whose_claim_has_been_taken_from_it_asks_ica_for_nothing(world: World) -> None:
    """It stood still for so long that it was taken for dead, and another launch holds the job."""
    (job,) = world.create("icav2://to/x/")

    def taken_meanwhile(_: object) -> None:
        claimed = world.now(job)
        if claimed.status is JobStatus.LAUNCHING:
            assert world.table.release(claimed, world.clock(), world.clock(), doubles.hold("taken for dead"))

    world.ica.troubles["ensure_folders"] = taken_meanwhile
    assert world.launch(job) == ends(moved_on=1)
    assert world.ica.called("start_copy_batch") == []
    assert world.now(job).status is JobStatus.QUEUED


# --- unknown ---------------------------------------------------------------------------------------------------------


def test_a_job_whose_answer_is_lost_stays_as_it_is_until_somebody_has_looked(world: World) -> None:
    """With its slot and its folder: ICA may be at work."""
    (job,) = world.create("icav2://to/x/")
    world.ica.trouble("start_copy_batch", IcaAnswerLost("the connection was dropped"))
    assert world.launch(job) == ends(unknown=1)
    left = world.now(job)
    assert (left.status, left.hold) == (JobStatus.LAUNCHING, Hold(HoldReason.ANSWER_LOST, "the connection was dropped"))
    assert left.answer_lost_at == timestamp(world.clock())
    assert left.due_at == world.after(LOOK_FOR_LOST)
    assert world.poller.triggers == 1, "what was started is adopted seconds later"
    assert world.table.slots == {"to": 1}
    assert world.launch(job) == ends(moved_on=1)


@pytest.mark.parametrize(("status", "deferrals", "last_held_for", "expected"), [
    (404, 0, None, ends(deferred=1)),
    (404, MOST_LOOKED_UP_ANEW - 1, HoldReason.LOOKED_UP_ANEW, ends(deferred=1)),
    (404, MOST_LOOKED_UP_ANEW, HoldReason.LOOKED_UP_ANEW, ends(refused=1)),
    (404, MOST_LOOKED_UP_ANEW, HoldReason.ICA_UNAVAILABLE, ends(deferred=1)),
    (400, 0, None, ends(refused=1)),
])  # fmt: skip
def test_what_is_gone_since_it_was_looked_up_is_looked_up_anew_some_times(
    world: World, status: int, deferrals: int, last_held_for: HoldReason | None, expected: Counter[End]
) -> None:
    """A person has replaced the folder or a source meanwhile: the path is there, and its id is another."""
    job = replace(world.deferred(world.create("icav2://to/x/")[0], deferrals), held_for=last_held_for)
    world.table.job_items[job.key] = job
    world.ica.trouble("start_copy_batch", IcaRefused("no such data", http_status=status))
    assert world.launch(job) == expected
    if expected == ends(deferred=1):
        hold = world.now(job).hold
        assert hold is not None
        assert hold.reason == HoldReason.LOOKED_UP_ANEW


# --- another attempt -------------------------------------------------------------------------------------------------


def test_another_attempt_copies_what_the_one_before_has_not(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    again = world.fail(job, uncopied=SOURCES[1:])
    assert world.launch(again) == ends(started=1)
    _, (_, _, data_ids, _) = world.ica.called("start_copy_batch")
    assert data_ids == ["/run/b.txt"]
    assert world.ica.called("find")[1:] == [["from", "/run/b.txt"]]


def test_a_first_attempt_looks_for_no_leftovers(world: World) -> None:
    world.launch(*world.create("icav2://to/x/"))
    assert world.ica.called("incomplete_files") == []


def leave(world: World, *paths: str) -> None:
    """PARTIAL files, which ICA has created after its first job."""
    for path in paths:
        world.ica.data[path] = IcaData(path, path, "PARTIAL", 0, created_at=world.after(1))


def test_another_attempt_starts_once_the_leftovers_of_its_own_files_are_gone(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    leave(world, "/x/a.txt", "/x/b.txt")
    world.ica.slow_to_delete = {"/x/b.txt"}
    again = world.fail(job, uncopied=SOURCES[1:])

    def gone_after_the_second_look(seconds: float) -> None:
        assert len(world.ica.called("start_copy_batch")) == 1
        if world.slept:
            del world.ica.data["/x/b.txt"]

    world.sleeping = gone_after_the_second_look
    assert world.launch(again) == ends(started=1)
    assert world.ica.called("delete_data") == [["to", "/x/b.txt"]]
    assert world.slept == list(CLEARING_PAUSES[:2])


def test_leftovers_that_are_gone_at_once_are_not_waited_for(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    leave(world, "/x/a.txt")
    assert world.launch(world.fail(job)) == ends(started=1)
    assert (world.ica.called("delete_data"), world.slept) == ([["to", "/x/a.txt"]], [])


def test_what_another_attempt_needs_to_know_is_asked_for_side_by_side(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    again = world.fail(job)
    together = Barrier(3)

    def meet(_: object) -> None:
        together.wait(5)  # each waits for the others, or breaks

    world.spread = in_threads
    world.ica.troubles |= dict.fromkeys(["find", "ensure_folders", "incomplete_files"], meet)
    assert world.launch(again) == ends(started=1)


def test_what_was_found_beside_the_sources_is_not_looked_for_again(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    leave(world, "/x/a.txt")
    again = world.fail(job)
    assert world.launch(again) == ends(started=1)
    assert len(world.ica.called("incomplete_files")) == 2, "before the deletion, and after it"


def test_leftovers_that_go_slowly_hold_up_no_other_job(world: World) -> None:
    jobs = world.create("icav2://to/x/", "icav2://to/y/", "icav2://to/z/")
    world.launch(*jobs[:2])
    leave(world, "/x/a.txt")
    world.ica.slow_to_delete = {"/x/a.txt"}
    slow, other = (world.fail(job) for job in jobs[:2])
    others: list[JobStatus] = []

    def look_at_the_others(seconds: float) -> None:
        others.extend(world.now(job).status for job in (other, jobs[2]))
        world.ica.data.pop("/x/a.txt", None)

    world.sleeping = look_at_the_others
    assert world.launch(slow, other, jobs[2]) == ends(started=3)
    assert others == [JobStatus.RUNNING, JobStatus.RUNNING]


def test_a_job_whose_leftovers_do_not_go_is_put_off_and_gives_back_what_it_took(world: World) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    leave(world, "/x/a.txt")
    world.ica.slow_to_delete = {"/x/a.txt"}
    assert world.launch(world.fail(job)) == ends(deferred=1)
    assert sum(world.slept) <= LONGEST_CLEARING_SECONDS + max(world.slept)
    assert world.now(job).hold == doubles.hold("1 PARTIAL files are still being deleted, /x/a.txt among them")
    assert world.nothing_taken()


@pytest.mark.parametrize("method", ["incomplete_files", "delete_data"])
@pytest.mark.parametrize("error", [UNAVAILABLE, THROTTLED])
def test_leftovers_that_cannot_be_deleted_now_put_the_launch_off(world: World, error: IcaError, method: str) -> None:
    (job,) = world.create("icav2://to/x/")
    world.launch(job)
    leave(world, "/x/a.txt")
    world.ica.trouble(method, error)
    assert world.launch(world.fail(job)) == ends(deferred=1)
    assert len(world.ica.called("start_copy_batch")) == 1
    assert world.now(job).status is JobStatus.QUEUED


# --- what nobody has foreseen ----------------------------------------------------------------------------------------


class BrokenTable(doubles.Table):
    """A table that cannot do something with one job."""

    breaks: tuple[str, str] = ("", "")

    def get_job(self, copy_id: str, job_id: str) -> Job | None:
        self._break("get_job", job_id)
        return super().get_job(copy_id, job_id)

    def mark_running(self, job: OpenJob, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime) -> bool:
        self._break("mark_running", job.job_id)
        return super().mark_running(job, ica_job_id, ica_batch_id, now, due_at)

    def release(self, job: OpenJob, now: datetime, due_at: datetime, hold: Hold, **more: int | None) -> bool:
        self._break("release", job.job_id)
        return super().release(job, now, due_at, hold, **more)

    def _break(self, method: str, job_id: str) -> None:
        if self.breaks == (method, job_id):
            raise RuntimeError("made by the test")


@pytest.mark.parametrize("method", ["get_job", "mark_running"])
def test_what_breaks_with_one_job_is_a_failure_of_its_message_alone(method: str) -> None:
    table = BrokenTable()
    table.breaks = (method, "000002")
    world = World()
    world.table = table
    jobs = world.create("icav2://to/x/", "icav2://to/y/", "icav2://to/z/")
    broken = {each.request for each in world.launched(*jobs) if each.end is End.BROKEN}
    assert broken == {request(jobs[1])}
    assert [world.now(job).status is JobStatus.RUNNING for job in jobs] == [True, False, True]


def test_a_job_that_cannot_be_put_off_is_a_failure_of_its_message() -> None:
    table = BrokenTable()
    table.breaks = ("release", "000001")
    world = World()
    world.table = table
    world.ica.trouble("find", UNAVAILABLE)
    jobs = world.create("icav2://to/x/", "icav2://to/y/")
    assert world.launched(*jobs) == [Ended(request(jobs[0]), End.BROKEN), Ended(request(jobs[1]), End.DEFERRED)]
