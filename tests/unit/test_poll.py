"""Poll: ICA is asked when it may have news, and what is due is done, in its turn."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import IcaJob, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Job, JobStatus, LaunchRequest, OpenJob
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.stages.dispatch import NO_SLOT
from icav2_copy_batch.stages.poll import (
    FIRST_POLL_SECONDS,
    INDEX_LAG_SECONDS,
    LEASE_NAME,
    LONGEST_NAP_SECONDS,
    NOTIFIED_LEASE_NAME,
    UNPUBLISHED_AGE,
    WAITED_FOR,
)
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH
from icav2_copy_batch.stages.settle import LONGEST_AWAITED_SECONDS
from tests import doubles
from tests.unit.poll_world import World, succeeds_too_early


@pytest.fixture
def world() -> World:
    return World()


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_job_that_was_not_sent_is_sent_once_there_is_a_slot(world: World) -> None:
    world.slots = Slots(total=1)
    first, second = world.submit(jobs=2, due_in=timedelta())
    running = world.run(first)
    world.clock.forward(seconds=1)
    assert world.poll()[Happening.SENT_AGAIN] == 0
    assert world.now(second).hold == NO_SLOT
    world.say(running, "SUCCEEDED")
    world.poll()
    world.poll()
    assert world.sent() == [("run", "000002")]


def test_the_poller_stays_for_what_will_be_due_soon(world: World) -> None:
    world.seconds_left = 900
    world.submit(due_in=timedelta(seconds=30))
    assert world.poll()[Happening.SENT_AGAIN] == 1
    assert 30 <= sum(world.slept) <= 30 + 20 + 2


def test_the_poller_does_not_sleep_past_the_moment_when_a_deferred_job_is_due(world: World) -> None:
    world.seconds_left = 900
    (job,) = world.submit()
    due_at = world.clock() + timedelta(seconds=LONGEST_NAP_SECONDS + 1.3)
    assert world.table.wait(LaunchRequest("run", job.job_id, 1), due_at, doubles.hold("ICA answered 503"))
    assert world.poll()[Happening.SENT_AGAIN] == 1
    assert world.slept[:2] == [LONGEST_NAP_SECONDS, pytest.approx(1.3)]


def test_what_a_poll_has_queued_is_sent_in_the_same_poll(world: World) -> None:
    world.run(world.submit()[0], "FAILED")
    happened = world.poll()
    assert (happened[Happening.REQUEUED], happened[Happening.SENT_AGAIN], world.slept) == (1, 1, [])


def test_what_a_poll_has_queued_is_sent_a_moment_later_where_the_index_does_not_show_it_yet(world: World) -> None:
    world.run(world.submit()[0], "FAILED")
    jobs_in = world.table.jobs_in

    def behind(status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        return jobs_in(status, due_before) if world.slept or status is not JobStatus.QUEUED else []

    world.table.jobs_in = behind  # type: ignore[method-assign]
    happened = world.poll()
    assert (happened[Happening.REQUEUED], happened[Happening.SENT_AGAIN]) == (1, 1)
    assert world.slept == [INDEX_LAG_SECONDS]


def test_the_poller_does_not_stay_for_what_will_be_due_much_later(world: World) -> None:
    world.seconds_left = 900
    world.submit(due_in=WAITED_FOR)
    world.poll()
    assert world.slept == []


# --- publishing -------------------------------------------------------------------------------------------------------


def test_a_copy_that_was_not_published_is_published(world: World) -> None:
    world.settle("run")
    world.clock.now += UNPUBLISHED_AGE
    assert world.poll()[Happening.COPIES_COMPLETED] == 0
    world.clock.forward(seconds=0.001)
    assert world.poll()[Happening.COPIES_COMPLETED] == 1
    assert world.publisher.published == ["run"]


def test_a_copy_that_cannot_be_published_holds_up_neither_the_others_nor_the_poller(world: World) -> None:
    for copy_id in ("a", "b", "c"):
        world.settle(copy_id)
    world.clock.forward(minutes=2)
    world.publisher.breaks = {"b"}
    world.seconds_left = 900
    world.run(world.submit()[0], "SUCCEEDED")
    happened = world.poll()
    assert (happened[Happening.COPIES_COMPLETED], happened[Happening.UNPUBLISHED], happened[Happening.PASSED]) == (
        2,
        1,
        1,
    )
    assert world.publisher.published == ["a", "c"]


def test_no_publication_is_begun_after_another_with_too_little_time_left(world: World) -> None:
    for copy_id in ("a", "b"):
        world.settle(copy_id)
    world.clock.forward(minutes=2)
    world.seconds_left = SECONDS_TO_PUBLISH - 1
    assert world.poll()[Happening.COPIES_COMPLETED] == 1
    world.publisher.published.clear()
    world.seconds_left = SECONDS_TO_PUBLISH
    assert world.poll()[Happening.COPIES_COMPLETED] == 2


def test_the_schedule_sees_to_waiting_tasks_and_unwritten_copies_and_a_launch_does_not(world: World) -> None:
    world.poll(triggered=True)
    assert (world.publisher.kept_tasks, world.unwritten_ended) == (0, 0)
    world.poll()
    assert (world.publisher.kept_tasks, world.unwritten_ended) == (1, 1)


# --- asking ICA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ica_status", ["INITIALIZED", "WAITING_FOR_RESOURCES", "RUNNING"])
def test_a_job_that_ica_works_on_is_let_be(world: World, ica_status: str) -> None:
    running = world.run(world.submit()[0], ica_status)
    assert world.poll() == Happenings({Happening.RUNNING: 1, Happening.DELAYED: 0, Happening.SENT_AGAIN: 0})
    assert world.now(running) == running


@pytest.mark.parametrize("ica_status", ["ABORTED", "succeeded", "FROBNICATED"])
def test_a_job_of_a_status_that_nobody_knows_is_counted_and_let_be(world: World, ica_status: str) -> None:
    first, second = world.submit(jobs=2)
    running = world.run(first, ica_status)
    world.run(second, "SUCCEEDED")
    happened = world.poll()
    assert (happened[Happening.UNKNOWN_STATUS], happened[Happening.PASSED]) == (1, 1)
    assert world.now(first) == running


def test_a_job_that_ica_does_not_show_is_counted_and_let_be(world: World) -> None:
    running = world.run(world.submit()[0], None)
    assert world.poll()[Happening.UNREADABLE] == 1
    assert world.now(running) == running


@pytest.mark.parametrize("error", [IcaUnavailable("503", http_status=503), IcaRefused("403", http_status=403)], ids=str)
def test_jobs_that_cannot_be_asked_for_are_counted_and_let_be(world: World, error: IcaUnavailable | IcaRefused) -> None:
    jobs = [world.run(job) for job in world.submit(jobs=2)]
    world.ica.trouble("jobs", error)
    assert world.poll()[Happening.UNREADABLE] == 2
    assert [world.now(job) for job in jobs] == jobs


def test_queued_jobs_are_sent_although_ica_cannot_be_asked(world: World) -> None:
    first, _ = world.submit(jobs=2, due_in=timedelta())
    world.run(first)
    world.clock.forward(seconds=1)
    world.ica.trouble("jobs", IcaUnavailable("503"))
    happened = world.poll()
    assert (happened[Happening.UNREADABLE], happened[Happening.SENT_AGAIN]) == (1, 1)


def test_what_the_others_have_found_is_counted_too(world: World) -> None:
    (job,) = world.submit()
    world.claim(job, due_in=-1)
    world.settled = Happenings({Happening.ADOPTED: 2, Happening.UNDECIDED: 1})
    world.delayed = 4
    assert world.poll() == Happenings({Happening.ADOPTED: 2, Happening.UNDECIDED: 1, Happening.DELAYED: 4})


# --- one at a time ----------------------------------------------------------------------------------------------------


def test_while_another_polls_nothing_is_asked_or_sent(world: World) -> None:
    first, _ = world.submit(jobs=2, due_in=timedelta())
    world.run(first)
    world.clock.forward(seconds=1)
    world.table.hold_lease(LEASE_NAME, "another", world.clock(), world.clock() + timedelta(seconds=60))
    assert not +world.poll()
    assert (world.ica.calls, world.queue.sent) == ([], [])
    assert world.table.leases[LEASE_NAME][0] == "another"


def test_the_lease_is_given_back_also_where_the_poller_breaks(world: World) -> None:
    world.run(world.submit()[0])

    def break_down(_: object) -> None:
        raise RuntimeError("made by the test")

    world.ica.troubles["jobs"] = break_down
    with pytest.raises(RuntimeError):
        world.poll()
    assert world.table.leases == {}


# --- how often --------------------------------------------------------------------------------------------------------


def test_ica_is_asked_until_no_job_runs_less_and_less_often(world: World) -> None:
    world.seconds_left = 900
    running = world.run(world.submit()[0])

    asked_at: list[float] = []

    def succeeds_after_a_minute(_: object) -> None:
        asked_at.append(sum(world.slept))
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()[Happening.PASSED] == 1
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses == pytest.approx(sorted(pauses), abs=0.5)
    assert pauses[0] == pytest.approx(FIRST_POLL_SECONDS)
    assert max(pauses) <= 20 + LONGEST_NAP_SECONDS
    assert world.table.leases == {}


def test_a_poller_that_waits_for_old_jobs_soon_sees_a_new_one(world: World) -> None:
    world.seconds_left = 900
    old, new = world.submit(jobs=2)
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
    assert world.poll()[Happening.PASSED] == 2
    assert seen_at[0] <= 3 * LONGEST_NAP_SECONDS


def test_awaited_files_are_compared_soon_then_less_and_less_often(world: World) -> None:
    world.seconds_left = 900
    succeeds_too_early(world)
    asked_at: list[float] = []
    world.ica.troubles["jobs"] = lambda _: asked_at.append(sum(world.slept))
    assert world.poll()[Happening.REQUEUED] == 1
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[:-1] == pytest.approx(sorted(pauses[:-1]))
    assert (1 <= pauses[0] <= 2, max(pauses) <= LONGEST_AWAITED_SECONDS + LONGEST_NAP_SECONDS) == (True, True)


def test_where_ica_notifies_awaited_files_are_compared_as_soon(world: World) -> None:
    """ICA tells of jobs, and not of files."""
    world.seconds_left = 900
    (running,) = succeeds_too_early(world)
    assert world.poller().poll_notified("another", {str(running.ica_job_id)}) == Happenings({Happening.AWAITED: 1})
    world.slept.clear()
    asked_at: list[float] = []
    world.ica.troubles["jobs"] = lambda _: asked_at.append(sum(world.slept))
    world.poll()
    assert asked_at[0] <= 2
    assert asked_at[1] - asked_at[0] <= 2


def test_where_ica_notifies_of_another_project_the_poller_asks_as_often_as_ever(world: World) -> None:
    world.seconds_left = 900
    running = world.run(world.submit()[0])
    now = world.clock()
    world.table.hold_lease(f"{NOTIFIED_LEASE_NAME} another-project", "notified", now, now + timedelta(minutes=5))

    def succeeds_after_a_minute(_: object) -> None:
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()[Happening.PASSED] == 1
    assert len(world.ica.called("jobs")) > 6


def test_while_ica_notifies_the_poller_asks_seldom(world: World) -> None:
    world.seconds_left = 900
    other, job = world.submit(jobs=2)
    told = world.run(other, "SUCCEEDED")
    world.poller().poll_notified("this one", {str(told.ica_job_id)})
    running = world.run(job)
    world.ica.calls.clear()
    world.slept.clear()

    def succeeds_after_a_minute(_: object) -> None:
        if sum(world.slept) >= 60:
            world.say(running, "SUCCEEDED")

    world.ica.troubles["jobs"] = succeeds_after_a_minute
    assert world.poll()[Happening.PASSED] == 1
    assert len(world.ica.called("jobs")) == 3, "after 20, 40 and 60 seconds"


# --- notifications ----------------------------------------------------------------------------------------------------


def test_a_notification_has_ica_asked_about_all_that_runs_in_one_call(world: World) -> None:
    first, second = (world.run(job, "SUCCEEDED") for job in world.submit(jobs=2))
    assert world.poller().poll_notified("this one", {str(first.ica_job_id)}) == Happenings(
        {Happening.PASSED: 2, Happening.ATTEMPT_SUCCEEDED: 2}
    )
    assert len(world.ica.called("jobs")) == 1
    assert world.now(second).status is JobStatus.PASSED


@pytest.mark.parametrize(("running", "gathered"), [(1, 0.025), (10, 0.25), (20, 0.5), (50, 0.5)])
def test_notifications_are_gathered_for_the_longer_the_more_jobs_run(
    world: World, running: int, gathered: float
) -> None:
    first, *_ = (world.run(job) for job in world.submit(jobs=running))
    world.poller().poll_notified("this one", {str(first.ica_job_id)})
    (slept,) = world.slept
    assert slept == pytest.approx(gathered + 0.05)


def test_of_notifications_that_come_together_one_has_ica_asked(world: World) -> None:
    first, second = (world.run(job, "SUCCEEDED") for job in world.submit(jobs=2))
    sleep, others = world.sleep, []

    def another_comes(seconds: float) -> None:
        others.append(world.poller().poll_notified("another", {str(second.ica_job_id)}))
        sleep(seconds)

    world.sleep = another_comes  # type: ignore[method-assign]
    assert world.poller().poll_notified("this one", {str(first.ica_job_id)}) == Happenings(
        {Happening.PASSED: 2, Happening.ATTEMPT_SUCCEEDED: 2}
    )
    assert others == [Happenings()]
    assert len(world.ica.called("jobs")) == 1


def test_a_notification_of_somebody_elses_job_has_nobody_asked(world: World) -> None:
    world.run(world.submit()[0], "SUCCEEDED")
    assert world.poller().poll_notified("this one", {"of another pipeline"}) == Happenings()
    assert (world.ica.calls, world.slept) == ([], [])


def test_a_notification_that_is_ahead_of_icas_own_answer_moves_nothing(world: World) -> None:
    running = world.run(world.submit()[0], "RUNNING")
    assert world.poller().poll_notified("this one", {str(running.ica_job_id)}) == Happenings({Happening.RUNNING: 1})
    assert world.now(running).status is JobStatus.RUNNING


def test_a_notification_that_is_ahead_of_our_own_note_is_kept_for_a_moment(world: World) -> None:
    (job,) = world.submit()
    world.table.claim_for_launch(job, "project", world.clock(), world.clock(), world.slots)
    claimed = world.now(job)
    sleep = world.sleep

    def note_meanwhile(seconds: float) -> None:
        sleep(seconds)
        world.table.mark_running(claimed, "ica-job", "ica-batch", world.clock(), world.clock())
        world.ica.jobs_there["ica-job"] = IcaJob("ica-job", "SUCCEEDED")

    world.sleep = note_meanwhile  # type: ignore[method-assign]
    assert world.poller().poll_notified("this one", {"ica-job"}) == Happenings(
        {Happening.PASSED: 1, Happening.ATTEMPT_SUCCEEDED: 1}
    )


def test_a_slot_that_a_notification_frees_goes_to_who_waits_for_it(world: World) -> None:
    world.slots = Slots(1, 1)
    first, second = world.submit(jobs=2, due_in=timedelta())
    running = world.run(first, "SUCCEEDED")
    world.clock.forward(seconds=1)
    assert world.poller().poll_notified("this one", {str(running.ica_job_id)})[Happening.SENT_AGAIN] == 1
    assert world.sent() == [("run", second.job_id)]


# --- triggers and launches --------------------------------------------------------------------------------------------


def test_a_triggered_poller_leaves_to_the_schedule_what_is_overdue(world: World) -> None:
    """Otherwise each launch would search for it again."""
    world.settle("run")
    world.clock.forward(minutes=2)
    world.delayed = 1
    assert world.poll(triggered=True) == Happenings()
    happened = world.poll()
    assert (happened[Happening.COPIES_COMPLETED], happened[Happening.DELAYED]) == (1, 1)


@pytest.mark.parametrize("triggered", [False, True])
def test_launches_whose_end_nobody_saw_are_settled_as_soon_as_they_are_due(world: World, triggered: bool) -> None:
    """The poller stays at work until then."""
    world.seconds_left = 900
    (job,) = world.submit()
    world.claim(job, due_in=10)
    settled_at: list[datetime] = []

    def settle() -> Happenings:
        settled_at.append(world.clock())
        assert world.table.mark_running(world.now(job), "ica", "batch", world.clock(), world.clock())
        world.say(world.now(job), "SUCCEEDED")
        return Happenings({Happening.ADOPTED: 1})

    world.settle_launches = settle  # type: ignore[method-assign]
    start = world.clock()
    happened = world.poll(triggered)
    assert (happened[Happening.ADOPTED], happened[Happening.PASSED]) == (1, 1)
    (moment,) = settled_at
    assert timedelta(seconds=10) < moment - start <= timedelta(seconds=10 + LONGEST_NAP_SECONDS)


def test_a_launch_that_is_at_work_does_not_keep_the_poller(world: World) -> None:
    world.seconds_left = 900
    (job,) = world.submit()
    world.claim(job, due_in=300)
    assert world.poll() == Happenings({Happening.DELAYED: 0})
    assert world.slept == []


def test_a_triggered_poller_tries_once_more_where_there_is_nothing_yet(world: World) -> None:
    """What a launch has started may show in the index only after a moment."""
    world.seconds_left = 900
    (job,) = world.submit()
    world.ica.troubles["jobs"] = lambda _: None
    started: list[Job] = []
    sleep = world.sleep

    def start_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if not started:
            started.append(world.run(job, "SUCCEEDED"))

    world.sleep = start_meanwhile  # type: ignore[method-assign]
    assert world.poll(triggered=True)[Happening.PASSED] == 1


# --- what is shown of all that is open -------------------------------------------------------------------------------


def test_each_call_by_the_schedule_tells_the_age_of_the_oldest_open_job(world: World) -> None:
    world.poll()
    assert world.oldest == [], "nothing is open"
    world.settle("settled")
    world.clock.forward(seconds=100)
    world.submit("old")
    world.clock.forward(seconds=20)
    world.submit("new")
    world.poll()
    assert world.oldest == [20]
    world.poll(triggered=True)
    assert world.oldest == [20], "a launch has called the poller"
