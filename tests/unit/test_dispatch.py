"""Dispatch: who gets a launch message, and when; that none is lost or sent for nothing, whoever dies or comes late."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest

from icav2_copy_batch.domain.job import (
    WHAT_FOLLOWS,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    OpenJob,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.schedule import Backlog, Slots, Waiting, backlogs_of
from icav2_copy_batch.domain.stops import ALL, Paused, copy_subject, project_subject
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE, Dispatch
from tests import doubles

OUTAGE = doubles.hold("ICA fails what it is given", HoldReason.OUTAGE)
NOT_QUEUED = (HoldReason.ANSWER_LOST, HoldReason.UNDECIDED)
NEVER_STORED = (HoldReason.CANCELLED, HoldReason.LAUNCH_MESSAGE)
QUEUED = [reason for reason in HoldReason if reason not in (*NOT_QUEUED, *NEVER_STORED)]


class World(doubles.World):
    def submit(self, copy_id: str = "run", jobs: int = 1, projects: str = "p") -> list[Job]:
        """A copy of so many jobs into each project, as ingest leaves it."""
        planned = [
            PlannedJob(f"icav2://{project}/{copy_id}/{number}/", ("icav2://from/a",))
            for project in projects.split()
            for number in range(jobs)
        ]
        now = self.clock()
        self.create_copy(planned, copy_id)
        self.table.create_jobs(copy_id, planned, CopyOptions(), now)
        self.table.create_backlogs(backlogs_of(copy_id, planned, timestamp(now)))
        return list(self.table.jobs(copy_id))

    def submit_sent(self, copy_id: str = "run", jobs: int = 1) -> list[Job]:
        """The same, with a first message for each job that has been used up: it found no slot."""
        self.submit(copy_id, jobs)
        slots, self.slots = self.slots, Slots(10_000, 10_000)
        self.send()
        self.slots = slots
        self.queue.sent.clear()
        for job in self.table.jobs(copy_id):
            self.wait(job, HoldReason.NO_SLOT)
        return list(self.table.jobs(copy_id))

    def wait(self, job: Job, reason: HoldReason, seconds: float = 0) -> None:
        request = LaunchRequest(job.copy_id, job.job_id, job.attempt)
        assert self.table.wait(request, self.clock() + timedelta(seconds=seconds), doubles.hold("held", reason))

    def run(self, job: Job) -> Job:
        return doubles.run(self.table, self.now(job), self.clock(), f"ica-{job.copy_id}-{job.job_id}")

    def hold(self, job: Job, minutes: float = 27) -> Job:
        """It failed in an outage, and waits so long."""
        running, now = self.run(job), self.clock()
        ended = running.ended_attempt("FAILED", "disk full", now)
        assert self.table.requeue(running, ended, frozenset(), now, now + timedelta(minutes=minutes), OUTAGE)
        return self.now(job)

    def send(self) -> Counter[str]:
        self.clock.forward(seconds=1)
        return counted(self.dispatch)

    def sent(self) -> list[str]:
        return [f"{request.copy_id} {int(request.job_id)}" for request in self.queue.sent]


def counted(dispatch: Dispatch) -> Counter[str]:
    sent = dispatch.send()
    return Counter(sent=sent.first, sent_again=sent.again)


@pytest.fixture
def world() -> World:
    return World()


# --- first messages --------------------------------------------------------------------------------------------------


def test_each_job_of_a_backlog_gets_its_first_message(world: World) -> None:
    jobs = world.submit(jobs=3)
    assert {job.due_at for job in jobs} == {None}
    assert world.send() == Counter(sent=3, sent_again=0)
    assert world.queue.sent == [LaunchRequest("run", job.job_id, 1) for job in jobs]
    assert world.table.backlogs() == []
    for job in world.table.jobs("run"):
        assert job.due_at == timestamp(world.clock() + LOST_MESSAGE_AGE), "should this one be lost"
        assert job.queued_at == timestamp(world.clock()), "what waits in a backlog is not late"


def test_no_more_first_messages_are_sent_than_slots_are_free_and_the_next_as_they_get_free(world: World) -> None:
    world.slots = Slots(total=3)
    jobs = world.submit(jobs=5)
    assert world.send()["sent"] == 3
    assert world.send()["sent"] == 0, "those that were sent may take their slots at any moment"
    running = [world.run(job) for job in jobs[:3]]
    assert world.send()["sent"] == 0
    (backlog,) = world.table.backlogs()
    assert (backlog.next, backlog.last) == (4, 5)
    world.table.mark_passed(running[1], running[1].ended_attempt("SUCCEEDED", None, world.clock()), world.clock())
    assert world.send()["sent"] == 1
    assert world.sent() == ["run 1", "run 2", "run 3", "run 4"]


def test_each_copy_has_its_turn(world: World) -> None:
    """A large copy that came first, and of which two jobs run, holds up no small one."""
    world.slots = Slots(total=2)
    large = world.submit("large", jobs=20)
    world.send()
    for job in large[:2]:
        world.run(job)
    world.queue.sent.clear()
    world.submit("small", jobs=3)
    world.slots = Slots(total=6)
    world.send()
    assert world.sent() == ["small 1", "small 2", "large 3", "small 3"]


def test_of_copies_with_as_many_in_flight_the_older_goes_first(world: World) -> None:
    for copy_id in ("c", "a", "b"):
        world.submit(copy_id, jobs=2)
        world.clock.forward(seconds=1)
    world.send()
    assert world.sent() == ["c 1", "a 1", "b 1", "c 2", "a 2", "b 2"]


def test_a_full_project_holds_up_no_job_into_another(world: World) -> None:
    world.slots = Slots(total=10, per_project=2)
    world.submit(jobs=4, projects="p q")
    assert world.send()["sent"] == 4
    assert world.sent() == ["run 1", "run 2", "run 5", "run 6"]
    assert [(each.project, each.next, each.last) for each in world.table.backlogs()] == [("p", 3, 4), ("q", 7, 8)]


def test_a_copy_of_very_many_jobs_is_no_more_work_than_one_of_few() -> None:
    asked = []
    for jobs in (10, 1000):
        world = World(slots=Slots(total=5))
        world.submit(jobs=jobs)
        before = world.line.requests
        world.send()
        asked.append(world.line.requests - before)
    assert asked[0] == asked[1]


# --- once more -------------------------------------------------------------------------------------------------------


def test_a_job_whose_message_is_lost_gets_another(world: World) -> None:
    (job,) = world.submit()
    world.send()
    world.clock.now += LOST_MESSAGE_AGE - timedelta(milliseconds=1)
    assert counted(world.dispatch) == Counter()
    assert world.send() == Counter(sent=0, sent_again=1)
    assert world.sent() == ["run 1", "run 1"]
    assert world.now(job).due_at == timestamp(world.clock() + LOST_MESSAGE_AGE)
    assert world.send() == Counter()


@pytest.mark.parametrize("reason", QUEUED)
def test_no_more_are_sent_again_than_slots_are_free(world: World, reason: HoldReason) -> None:
    jobs = world.submit_sent(jobs=10)
    for job in jobs:
        world.wait(job, reason)
    world.slots = Slots(total=5)
    world.run(jobs[0])
    world.table.claim_for_launch(jobs[1], "project", world.clock(), world.clock() + timedelta(hours=1), Slots())
    assert world.send()["sent_again"] == 3
    assert world.sent() == ["run 3", "run 4", "run 5"]
    assert world.send() == Counter(), "with these all slots will be taken"


@pytest.mark.parametrize("reason", QUEUED)
def test_what_a_job_has_waited_for_a_slot_is_not_late(world: World, reason: HoldReason) -> None:
    (job,) = world.submit()
    world.send()
    sent_at = world.clock()
    world.wait(job, reason)
    world.clock.forward(seconds=3599)
    assert world.send()["sent_again"] == 1
    sent = world.now(job)
    assert (sent.hold, sent.status_since) == (
        None,
        timestamp(sent_at + timedelta(hours=WHAT_FOLLOWS[reason].is_queueing)),
    )


def test_what_was_sent_before_goes_before_the_backlog_of_its_copy(world: World) -> None:
    world.slots = Slots(total=2)
    jobs = world.submit(jobs=4)
    world.send()
    world.queue.sent.clear()
    world.wait(jobs[1], HoldReason.NO_SLOT)
    world.run(jobs[0])
    world.send()
    assert world.sent() == ["run 2"]


@pytest.mark.parametrize("reason", [reason for reason in QUEUED if not WHAT_FOLLOWS[reason].holds_backlog])
def test_what_waits_without_a_message_under_way_takes_no_slot_from_others(world: World, reason: HoldReason) -> None:
    world.slots = Slots(total=1)
    (held, *_) = world.submit(jobs=2)
    world.send()
    world.wait(held, reason, seconds=30)
    assert world.send()["sent"] == 1
    assert world.sent() == ["run 1", "run 2"]


def test_what_was_put_off_holds_back_the_backlog_behind_it_and_no_other(world: World) -> None:
    """Else a whole backlog would be sent, and put off, while ICA is down; or one copy would stop all others."""
    world.slots = Slots(total=5, per_project=2)
    jobs = world.submit("a", jobs=4, projects="p q")
    world.send()
    for job in jobs[:2]:
        world.wait(job, HoldReason.ICA_UNAVAILABLE, seconds=900)
    for job in jobs[4:6]:
        world.run(job)
    assert world.send() == Counter(sent=0, sent_again=0)
    world.submit("b", jobs=4, projects="p")
    assert world.send()["sent"] == 2
    assert world.sent() == ["a 1", "a 2", "a 5", "a 6", "b 1", "b 2"]


def test_nothing_is_sent_while_nobody_may_call_ica(world: World) -> None:
    world.submit_sent("again")
    world.submit()
    until = world.clock() + timedelta(seconds=20)
    doubles.nobody_calls_until(world.table, world.clock(), until)
    assert world.send() == Counter()
    world.clock.now = until
    assert world.send() == Counter(sent=1, sent_again=1)


# --- in an outage of the copy engine ---------------------------------------------------------------------------------


def test_a_job_that_is_held_gets_its_message_when_it_is_due(world: World) -> None:
    (job,) = world.submit()
    world.send()
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    world.hold(job, minutes=27)
    world.clock.forward(minutes=27, milliseconds=-1)
    assert counted(world.dispatch) == Counter()
    assert world.send() == Counter(sent=0, sent_again=1)
    assert world.sent() == ["run 1", "run 1"]
    assert world.queue.sent[-1].attempt == 2
    assert world.now(job).hold is None


def test_a_job_that_is_held_takes_no_slot_from_other_copies(world: World) -> None:
    world.slots = Slots(total=1)
    (job,) = world.submit("held")
    world.send()
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    world.hold(job)
    world.submit("another", projects="q")
    world.send()
    assert world.sent() == ["held 1", "another 1"]


def test_what_is_held_holds_back_the_backlog_behind_it(world: World) -> None:
    world.slots = Slots(total=5, per_project=2)
    jobs = world.submit(jobs=4)
    world.send()
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    for job in jobs[:2]:
        world.hold(job)
    assert world.send() == Counter(sent=0, sent_again=0)


def test_what_is_held_goes_as_soon_as_attempts_into_its_project_succeed_again(world: World) -> None:
    first, second = world.submit(jobs=2)
    world.send()
    for job, project in ((first, "well"), (second, "ill")):
        world.table.outcomes_of[project] = Outcomes().plus(0, 6, world.clock())
        running = doubles.run(world.table, world.now(job), world.clock(), ica_project_id=project)
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        due_at = world.clock() + timedelta(minutes=27)
        assert world.table.requeue(running, ended, frozenset(), world.clock(), due_at, OUTAGE)
    assert world.send() == Counter()
    world.table.outcomes_of["well"] = world.table.outcomes_of["well"].plus(2, 0, world.clock())
    assert world.send()["sent_again"] == 1
    assert world.sent() == ["run 1", "run 2", "run 1"]


# --- who dies, and who is late ---------------------------------------------------------------------------------------


def test_killed_anywhere_it_leaves_no_job_without_a_message() -> None:
    undisturbed = World()
    undisturbed.submit_sent("again", jobs=2)
    undisturbed.submit(jobs=4, projects="p q")
    submitted = undisturbed.line.requests
    undisturbed.send()
    requests = undisturbed.line.requests - submitted
    assert requests > 8 + 2 + 10
    for cut_after in range(1, requests + 1):
        world = World()
        world.submit_sent("again", jobs=2)
        world.submit(jobs=4, projects="p q")
        world.line.cut_after = world.line.requests + cut_after
        with pytest.raises(doubles.LineCut):
            world.send()
        world.line.cut_after = None
        world.send()
        assert world.table.backlogs() == []
        world.clock.now += LOST_MESSAGE_AGE
        world.send()
        assert set(world.sent()) == set(undisturbed.sent()), f"killed after request {cut_after}"


def test_what_was_marked_is_sent_also_when_another_cannot_be_marked(world: World) -> None:
    jobs = world.submit(jobs=3)
    mark_sent = world.table.mark_sent

    def breaks_at_the_second(waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        if waiting.request.job_id == jobs[1].job_id:
            raise RuntimeError("made by the test")
        return mark_sent(waiting, now, due_at)

    world.table.mark_sent = breaks_at_the_second  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        world.send()
    assert world.sent() == ["run 1"]
    world.table.mark_sent = mark_sent  # type: ignore[method-assign]
    assert world.send()["sent"] == 2
    assert world.sent() == ["run 1", "run 2", "run 3"]


def test_two_at_once_send_each_message_once(world: World) -> None:
    """The second has read what waits before the first has sent it."""
    world.submit_sent("again", jobs=2)
    world.submit(jobs=2)
    world.clock.forward(seconds=1)
    stale_backlogs, stale_queued = world.table.backlogs(), world.table.jobs_in(JobStatus.QUEUED)
    world.send()
    sent = world.sent()
    assert len(sent) == 4
    world.table.backlogs = lambda: stale_backlogs  # type: ignore[method-assign]
    world.table.jobs_in = lambda status, due_before=None: (  # type: ignore[method-assign]
        stale_queued if status is JobStatus.QUEUED else []
    )
    assert world.send() == Counter(sent=0, sent_again=0)
    assert world.sent() == sent


@pytest.mark.parametrize("read", range(1, 6))
def test_another_between_any_two_reads_does_not_have_the_slots_filled_twice(read: int) -> None:
    world = World(slots=Slots(total=4))
    for job in world.submit_sent("again", jobs=2):
        world.wait(job, HoldReason.NO_SLOT)
    jobs = world.submit(jobs=10)
    world.clock.forward(seconds=1)
    reads = 0

    def another_is_faster() -> None:
        nonlocal reads
        reads += 1
        if reads == read:
            world.table.jobs_in, world.table.backlogs = jobs_in, backlogs  # type: ignore[method-assign]
            world.dispatch.send()
            world.run(jobs[0])

    jobs_in, backlogs = world.table.jobs_in, world.table.backlogs

    def read_jobs(status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        another_is_faster()
        return jobs_in(status, due_before)

    def read_backlogs() -> list[Backlog]:
        another_is_faster()
        return backlogs()

    world.table.jobs_in, world.table.backlogs = read_jobs, read_backlogs  # type: ignore[method-assign]
    world.dispatch.send()
    assert len(world.sent()) == len(set(world.sent())) == 4


def test_a_job_whose_copy_batch_is_started_between_two_reads_is_not_overlooked(world: World) -> None:
    world.slots = Slots(total=1)
    (job, _) = world.submit(jobs=2)
    world.send()
    world.table.claim_for_launch(job, "project", world.clock(), world.clock() + timedelta(minutes=5), Slots())
    jobs_in = world.table.jobs_in

    def read_jobs(status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        found = jobs_in(status, due_before)
        if status is not JobStatus.QUEUED:  # after the first of the two reads
            world.table.mark_running(world.now(job), "ica-job", "ica-batch", world.clock(), world.clock())
        return found

    world.table.jobs_in = read_jobs  # type: ignore[method-assign]
    assert world.send()["sent"] == 0


def test_one_that_is_late_does_not_put_back_what_was_taken_from_a_backlog(world: World) -> None:
    world.slots = Slots(total=2)
    jobs = world.submit(jobs=5)
    (late,) = world.table.backlogs()
    world.send()
    for job in jobs[:2]:
        world.run(job)
    world.slots = Slots(total=4)
    world.send()
    (backlog,) = world.table.backlogs()
    assert (backlog.next, backlog.last) == (5, 5)
    world.table.shorten_backlog(late, late.next + 2)
    assert world.table.backlogs() == [backlog]


# --- whether to stay -------------------------------------------------------------------------------------------------


def test_a_backlog_is_waited_for_and_what_is_due_soon(world: World) -> None:
    soon = timedelta(seconds=60)
    assert not world.dispatch.anything_waits(soon)
    world.submit()
    assert world.dispatch.anything_waits(soon)
    world.send()
    assert not world.dispatch.anything_waits(soon), "its message is under way"
    world.clock.now += LOST_MESSAGE_AGE - soon
    assert not world.dispatch.anything_waits(soon)
    assert world.dispatch.anything_waits(soon + timedelta(seconds=1))


@pytest.mark.parametrize("subject", [ALL, copy_subject("run"), project_subject("p")])
@pytest.mark.parametrize("deferred", [False, True])
def test_what_is_queued_of_a_cancelled_copy_is_ended_also_under_a_pause_and_before_it_is_due(
    world: World, subject: str, deferred: bool
) -> None:
    """Nobody else ends it: the cancel has read the jobs before they came, or had no time left for them."""
    soon = timedelta(seconds=60)
    if deferred:
        (job,) = world.submit_sent()
        world.wait(job, HoldReason.OUTAGE, seconds=27 * 60)
    else:
        world.submit(jobs=2)
    assert world.table.pause(Paused(subject, timestamp(world.clock())))
    assert not world.dispatch.anything_waits(soon)
    assert world.table.mark_cancelled("run", world.clock())
    assert world.dispatch.anything_waits(soon)
    world.dispatch.send()
    assert {job.status for job in world.table.jobs("run")} == {JobStatus.CANCELLED}
    assert not world.dispatch.anything_waits(soon)


def test_a_deferred_job_that_comes_due_under_a_pause_is_noted_as_paused_once(world: World) -> None:
    """Nothing else keeps it from then on, and the time of the pause is no delay."""
    soon = timedelta(seconds=60)
    (job,) = world.submit_sent()
    world.wait(job, HoldReason.ICA_UNAVAILABLE, seconds=600)
    assert world.table.pause(Paused(ALL, timestamp(world.clock())))
    assert not world.dispatch.anything_waits(soon)
    world.clock.forward(seconds=600)
    assert world.dispatch.anything_waits(soon)
    world.send()
    assert world.now(job).held.is_queueing
    assert not world.dispatch.anything_waits(soon)
    world.clock.forward(hours=2)
    assert world.table.resume(ALL, world.clock())
    assert world.dispatch.anything_waits(soon)
    assert world.send()["sent_again"] == 1
    assert world.now(job).status_since == timestamp(world.clock())


def test_it_is_known_when_the_next_job_will_be_due(world: World) -> None:
    jobs = world.submit(jobs=2)
    assert world.dispatch.send().next_due is None
    sent_at = world.clock()
    assert world.dispatch.send().next_due == sent_at + LOST_MESSAGE_AGE
    world.wait(jobs[1], HoldReason.ICA_UNAVAILABLE, seconds=3)
    assert world.dispatch.send().next_due == sent_at + timedelta(seconds=3)
    until = world.clock() + timedelta(seconds=40)
    doubles.nobody_calls_until(world.table, world.clock(), until)
    assert world.dispatch.send().next_due == sent_at + timedelta(seconds=3), "also while nobody may call ICA"


# --- what is due and finds no slot -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", QUEUED)
def test_what_is_due_and_finds_no_slot_waits_for_nothing_else_from_then_on(world: World, reason: HoldReason) -> None:
    """It is late no more: what it was held for is over."""
    world.slots = Slots(total=1)
    jobs = world.submit_sent(jobs=2)
    world.run(jobs[0])
    world.wait(jobs[1], reason)
    assert world.send() == Counter(sent=0, sent_again=0)
    waiting = world.now(jobs[1])
    assert waiting.held.is_queueing
    before = world.line.requests
    world.send()
    again = world.line.requests - before
    assert world.now(jobs[1]) == waiting
    assert again == 3 + 1 + 2, "it is noted once: backlogs, queued, stops, pace, and the two that are in flight"


@pytest.mark.parametrize("reason", [HoldReason.LAUNCH_DIED, HoldReason.BATCH_TOO_LARGE, HoldReason.NEXT_ATTEMPT])
def test_one_slot_brings_one_message_also_to_a_job_whose_launch_has_come_to_nothing(
    world: World, reason: HoldReason
) -> None:
    """It is not one that ICA has deferred: its message is under way again, and takes the slot."""
    world.slots = Slots(total=1)
    (job, _) = world.submit(jobs=2)
    world.send()
    world.wait(job, reason)
    assert world.send() == Counter(sent=0, sent_again=1)
    assert world.send() == Counter(), "with this the slot will be taken"
    assert world.sent() == ["run 1", "run 1"]
