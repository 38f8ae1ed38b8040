"""Settle: what becomes of a job that ICA has ended, and what breaks with one holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.domain.ica import IcaJob
from icav2_copy_batch.domain.job import ALL_THERE, NEXT_ATTEMPT, Job, JobKey, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.outage import OUTAGE, Outcomes, wait_in_outage
from icav2_copy_batch.domain.outcomes import Finding, Fingerprint, SourceOutcome
from icav2_copy_batch.domain.schedule import Dispatched
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE
from icav2_copy_batch.stages.settle import FIRST_DEFERRAL_SECONDS, TREES_SECONDS
from icav2_copy_batch.stages.verify import PATIENCE, FilesCompared, TreesCompared
from tests import doubles
from tests.unit.poll_world import SOURCES, World, succeeds_too_early


@pytest.fixture
def world() -> World:
    return World()


# --- passed or failed -------------------------------------------------------------------------------------------------


def test_a_job_that_succeeded_and_whose_files_are_there_has_passed(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    assert world.poll()[Happening.PASSED] == 1
    passed = world.now(running)
    assert (passed.status, [attempt.outcome for attempt in passed.attempts]) == (JobStatus.PASSED, ["SUCCEEDED"])
    assert world.reports.asked == {"faults": [("run", "000001")]}


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
def test_a_job_that_has_ended_knows_what_was_found_right(world: World, ica_status: str) -> None:
    world.max_attempts = 1
    running = world.run(world.submit()[0], ica_status)
    right = world.reports.right[running.key] = {SOURCES[0]: Fingerprint(7, "etag")}
    world.reports.not_copied[running.key] = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.poll()
    ended = world.now(running)
    assert (ended.ended_at, ended.fingerprints) == (timestamp(world.clock()), right)


def test_a_job_that_is_launched_again_keeps_nothing_of_what_was_found_right(world: World) -> None:
    """The attempt that ends it compares all anew."""
    running = world.run(world.submit()[0], "FAILED")
    world.reports.right[running.key] = {SOURCES[0]: Fingerprint(7, "etag")}
    assert world.poll()[Happening.REQUEUED] == 1
    assert world.now(running).fingerprints == {}


def test_a_tree_that_was_found_right_is_known_beside_the_files(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    world.reports.right[running.key] = {SOURCES[0]: Fingerprint(7, "etag")}
    world.reports.trees[running.key] = lambda _: TreesCompared([], None, right={SOURCES[1]: Fingerprint(9)})
    assert world.poll()[Happening.PASSED] == 1
    assert world.now(running).fingerprints == {SOURCES[0]: Fingerprint(7, "etag"), SOURCES[1]: Fingerprint(9)}


def test_a_job_that_succeeded_and_whose_files_cannot_be_compared_is_compared_again(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    world.reports.unverifiable = {("run", "000001")}
    assert world.poll()[Happening.UNREADABLE] == 1
    assert world.now(running) == running


@pytest.mark.parametrize("ica_status", ["FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_failed_is_launched_again_for_what_it_has_not_copied(world: World, ica_status: str) -> None:
    running = world.run(world.submit()[0], ica_status, "1 of 2")
    wrong = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = wrong
    world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], Finding.MISMATCH, "is not there")]
    assert world.poll()[Happening.REQUEUED] == 1
    requeued = world.now(running)
    assert (requeued.status, requeued.attempt, requeued.uncopied) == (JobStatus.QUEUED, 2, SOURCES[1:])
    (attempt,) = requeued.attempts
    assert (attempt.outcome, attempt.reason) == (
        ica_status,
        f"ICA job ica-run-000001-1 ended {ica_status}: 1 of 2",
    )
    assert requeued.last_outcomes == wrong
    assert world.queue.sent == [LaunchRequest("run", "000001", 2)]
    assert requeued.due_at == timestamp(world.clock() + LOST_MESSAGE_AGE)
    assert world.reports.asked == {what: [("run", "000001")] for what in ("missing", "items", "uncopied")}


def test_when_ica_created_its_job_is_noted_with_the_attempt(world: World) -> None:
    running = world.run(world.submit()[0], "FAILED")
    job_id = str(running.ica_job_id)
    world.ica.jobs_there[job_id] = IcaJob(job_id, "FAILED", created_at="2024-05-28T03:12:00Z")
    world.poll()
    assert world.now(running).ica_began_at == "2024-05-28T03:12:00Z"


def test_a_job_whose_items_cannot_be_read_is_launched_again_for_what_is_not_there(world: World) -> None:
    running = world.run(world.submit()[0], "FAILED")
    wrong = [SourceOutcome(SOURCES[0], Finding.MISMATCH, "is not there")]
    world.reports.wrong["run", "000001"] = wrong
    assert world.poll()[Happening.REQUEUED] == 1
    requeued = world.now(running)
    assert (requeued.uncopied, requeued.last_outcomes) == (SOURCES[:1], [SourceOutcome(SOURCES[0], "MISSING")])


def test_what_an_earlier_attempt_was_said_to_have_copied_is_launched_again_where_it_is_not_there(world: World) -> None:
    running = world.run(world.submit()[0], "FAILED")
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[0], "FAILED", "disk full")]
    assert world.poll()[Happening.REQUEUED] == 1
    requeued = world.now(running)
    assert requeued.uncopied == SOURCES
    assert requeued.last_outcomes == [
        SourceOutcome(SOURCES[0], "FAILED", "disk full"),
        SourceOutcome(SOURCES[1], Finding.MISMATCH, "is not there"),
    ]


@pytest.mark.parametrize("ica_status", ["FAILED", "PARTIALLY_SUCCEEDED", "STOPPED"])
def test_a_job_that_ica_calls_failed_and_whose_files_are_all_there_has_passed(world: World, ica_status: str) -> None:
    """It found them there, say, and skipped them all."""
    running = world.run(world.submit()[0], ica_status, "nothing was copied")
    world.reports.not_copied["run", "000001"] = [SourceOutcome(source, "FAILED") for source in SOURCES]
    world.reports.wrong["run", "000001"] = []
    assert world.poll()[Happening.PASSED] == 1
    passed = world.now(running)
    (attempt,) = passed.attempts
    assert (passed.status, attempt.outcome) == (JobStatus.PASSED, ALL_THERE)
    assert attempt.reason == f"ICA job ica-run-000001-1 ended {ica_status}: nothing was copied"


@pytest.mark.parametrize("shows", [True, False])
@pytest.mark.parametrize("reason", ["disk full", None])
def test_files_that_ica_says_it_has_not_copied_are_not_believed_while_lists_may_be_behind(
    world: World, reason: str | None, shows: bool
) -> None:
    """They may be what was there before, and was overwritten by an attempt of another copy that failed."""
    running = world.run(world.submit()[0], "FAILED")
    if reason:
        world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[1], "FAILED", reason)]
    world.reports.wrong["run", "000001"] = []
    assert world.poll()[Happening.AWAITED] == 1
    if shows:
        world.clock.now += PATIENCE
    else:
        world.clock.forward(seconds=100)
        world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], Finding.MISMATCH, "is not there")]
    assert world.poll()[Happening.PASSED if shows else Happening.REQUEUED] == 1
    assert world.now(running).attempts[-1].outcome == (ALL_THERE if shows else "FAILED")


# --- part by part, where ICA finds a copy batch too large ------------------------------------------------------------


def launched_in_part(world: World, ica_status: str, batch_limit: int = 1, **changes: object) -> Job:
    """A running job whose copy batch has only so many of its sources."""
    (job,) = world.submit(**changes)  # type: ignore[arg-type]
    world.claim(job, 60)
    claimed = world.now(job)
    assert world.table.release(claimed, world.clock(), world.clock(), doubles.hold("too big"), batch_limit=batch_limit)
    return world.run(job, ica_status)


def test_a_job_of_which_a_part_has_passed_goes_on_with_the_next_at_once(world: World) -> None:
    world.max_attempts = 1
    first = launched_in_part(world, "SUCCEEDED")
    assert world.poll()[Happening.PART_PASSED] == 1
    job = world.now(first)
    assert (job.status, job.attempt, job.uncopied) == (JobStatus.QUEUED, 2, SOURCES[1:])
    assert world.queue.sent == [LaunchRequest("run", "000001", 2)]
    world.run(job, "SUCCEEDED")
    assert world.poll()[Happening.PASSED] == 1
    assert [each.outcome for each in world.now(job).attempts] == ["SUCCEEDED"] * 2


def test_a_part_that_is_all_there_though_ica_calls_it_failed_has_passed(world: World) -> None:
    first = launched_in_part(world, "FAILED")
    world.reports.wrong["run", "000001"] = []
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[0], "FAILED")]
    assert world.poll()[Happening.PART_PASSED] == 1
    assert world.now(first).uncopied == SOURCES[1:]


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE"])
def test_of_a_part_that_failed_what_is_left_comes_before_the_next_part(world: World, action: str) -> None:
    sources = [f"icav2://from/{name}" for name in "abcde"]
    first = launched_in_part(world, "FAILED", 2, sources=sources, options=CopyOptions(action))
    left = [SourceOutcome(sources[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = world.reports.wrong["run", "000001"] = left
    assert world.poll()[Happening.REQUEUED] == 1
    job = world.now(first)
    assert (job.attempt, job.uncopied, job.later) == (2, sources[1:3], sources[3:])


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE"])
def test_only_attempts_that_failed_are_limited_and_what_was_never_tried_is_told(world: World, action: str) -> None:
    world.max_attempts = 2
    first = launched_in_part(world, "SUCCEEDED", sources=[*SOURCES, "icav2://from/c"], options=CopyOptions(action))
    world.poll()
    outcome = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.not_copied["run", "000001"] = world.reports.wrong["run", "000001"] = outcome
    for happening in (Happening.REQUEUED, Happening.GIVEN_UP):
        running = world.run(world.now(first), "FAILED")
        assert running.uncopied == SOURCES[1:]
        assert world.poll()[happening] == 1
    assert world.now(first).last_outcomes == [*outcome, SourceOutcome("icav2://from/c", Finding.NOT_TRIED)]


@pytest.mark.parametrize("action", ["OVERWRITE", "RENAME"])
def test_without_skip_a_failed_job_is_launched_again_for_what_its_items_say(world: World, action: str) -> None:
    """What is there may be what was to be overwritten."""
    running = world.run(world.submit(options=CopyOptions(action))[0], "FAILED")
    world.reports.unverifiable = {("run", "000001")}
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[1], "FAILED")]
    assert world.poll()[Happening.REQUEUED] == 1
    assert world.now(running).uncopied == SOURCES[1:]


def test_a_failed_job_whose_files_cannot_be_compared_is_compared_again(world: World) -> None:
    running = world.run(world.submit()[0], "FAILED")
    world.reports.unverifiable = {("run", "000001")}
    assert world.poll()[Happening.UNREADABLE] == 1
    assert world.now(running) == running


def test_a_job_of_which_a_file_stays_as_it_should_not_be_is_launched_again_for_that(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    wrong = [SourceOutcome(SOURCES[0], Finding.MISMATCH, "icav2://to/run/0/a is PARTIAL")]
    world.reports.wrong["run", "000001"] = wrong
    assert world.poll()[Happening.AWAITED] == 1
    world.clock.now += PATIENCE
    assert world.poll()[Happening.REQUEUED] == 1
    requeued = world.now(running)
    assert requeued.uncopied == SOURCES[:1]
    assert (requeued.attempts[0].outcome, requeued.attempts[0].reason) == (
        Finding.MISMATCH,
        "verification: icav2://to/run/0/a is PARTIAL",
    )
    assert requeued.last_outcomes == wrong


@pytest.mark.parametrize("ica_status", ["FAILED", "SUCCEEDED"])
def test_after_its_last_attempt_a_job_is_given_up_with_what_it_has_not_copied(world: World, ica_status: str) -> None:
    world.max_attempts = 1
    running = world.run(world.submit()[0], ica_status)
    wrong = [SourceOutcome(SOURCES[1], "FAILED", "disk full")]
    world.reports.wrong["run", "000001"] = world.reports.not_copied["run", "000001"] = wrong
    if ica_status == "SUCCEEDED":
        assert world.poll()[Happening.AWAITED] == 1
        world.clock.now += PATIENCE
    assert world.poll()[Happening.GIVEN_UP] == 1
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
    running = world.run(world.submit()[0], "FAILED")
    world.reports.wrong["run", "000001"] = [SourceOutcome(SOURCES[1], Finding.MISMATCH, "icav2://to/b is PARTIAL")]
    if outcome:
        world.reports.not_copied["run", "000001"] = [SourceOutcome(source, outcome) for source in SOURCES]
    assert world.poll()[Happening.AWAITED] == 1
    if shows and outcome:
        world.clock.forward(seconds=100)
    else:  # what has no items is not believed before
        world.clock.now += PATIENCE
    if shows:
        world.reports.wrong["run", "000001"] = []
    assert world.poll()[Happening.PASSED if shows else Happening.GIVEN_UP] == 1
    assert world.now(running).attempts[-1].outcome == (ALL_THERE if shows else "FAILED")


# --- in an outage of the copy engine ---------------------------------------------------------------------------------


def test_in_an_outage_a_job_that_has_failed_before_waits_for_its_next_attempt(world: World) -> None:
    world.max_attempts = 6
    (job,) = world.submit()
    for attempt in (1, 2):
        world.run(job, "FAILED")
        world.poll()
        assert world.now(job).hold is None, f"{attempt} failures may be chance"
    assert len(world.queue.sent) == 2
    running = world.run(job, "FAILED")
    failed_at = world.clock()
    assert world.poll()[Happening.REQUEUED] == 1
    held = world.now(job)
    assert (held.status, held.attempt, held.hold) == (JobStatus.QUEUED, 4, OUTAGE)
    assert held.due_at == timestamp(failed_at + wait_in_outage(running))
    assert len(world.queue.sent) == 2, "its message comes when it is due"


def test_in_an_outage_a_first_failure_is_launched_again_at_once(world: World) -> None:
    for job in world.submit(jobs=5):
        world.run(job, "FAILED")
    world.poll()
    assert len(world.queue.sent) == 5
    assert {job.hold for job in world.table.jobs("run")} == {None}


def test_what_ica_does_in_one_project_holds_no_job_into_another(world: World) -> None:
    *others, job = world.submit(jobs=4)
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
def test_how_the_jobs_of_a_poll_ended_is_noted_once_and_only_if_one_has_failed(
    world: World, ica_statuses: list[str], recent: str
) -> None:
    for job, ica_status in zip(world.submit(jobs=len(ica_statuses)), ica_statuses, strict=True):
        world.run(job, ica_status)
    world.poll()
    assert world.table.outcomes("project").recent == recent


def test_successes_are_noted_after_failures(world: World) -> None:
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    world.run(world.submit()[0], "SUCCEEDED")
    world.poll()
    assert world.table.outcomes("project").recent == "FFFFFP"


def test_outcomes_that_another_poll_has_noted_at_the_same_moment_are_not_lost(world: World) -> None:
    outcomes, replace_outcomes = world.table.outcomes, world.table.replace_outcomes

    def another_is_faster(project_id: str) -> Outcomes:
        seen = outcomes(project_id)
        world.table.outcomes = outcomes  # type: ignore[method-assign]
        assert replace_outcomes(project_id, seen, seen.plus(0, 2, world.clock()))
        return seen

    world.table.outcomes = another_is_faster  # type: ignore[method-assign]
    world.run(world.submit()[0], "FAILED")
    world.poll()
    assert world.table.outcomes("project").recent == "FFF"


def test_where_outcomes_cannot_be_noted_the_next_attempt_waits_until_it_is_known_that_it_need_not(world: World) -> None:
    (job,) = world.submit()
    world.run(job, "FAILED")
    world.poll()
    outcomes = world.table.outcomes

    def breaks_once(project_id: str) -> Outcomes:
        world.table.outcomes = outcomes  # type: ignore[method-assign]
        raise RuntimeError("made by the test")

    world.table.outcomes = breaks_once  # type: ignore[method-assign]
    running = world.run(world.now(job), "FAILED")
    world.queue.sent.clear()
    poller = world.poller()
    ended = [(running, world.ica.jobs_there[str(running.ica_job_id)])]
    assert poller.settle.settle(ended)[Happening.REQUEUED] == 1
    assert (world.now(job).hold, world.queue.sent) == (OUTAGE, [])
    assert poller.dispatch.send() == Dispatched(again=1)


def test_where_outcomes_cannot_be_noted_jobs_move_on(world: World) -> None:
    def breaks(project_id: str) -> Outcomes:
        raise RuntimeError("made by the test")

    world.table.outcomes = breaks  # type: ignore[method-assign]
    world.run(world.submit()[0], "FAILED")
    assert world.poll()[Happening.REQUEUED] == 1


# --- awaited ---------------------------------------------------------------------------------------------------------


def test_files_that_show_a_while_after_ica_has_ended_their_job_cost_no_attempt(world: World) -> None:
    (running,) = succeeds_too_early(world)
    assert world.poll()[Happening.AWAITED] == 1
    waiting = world.now(running)
    assert (waiting.status, waiting.attempt) == (JobStatus.RUNNING, 1)
    world.clock.forward(seconds=100)
    world.reports.wrong.clear()
    assert world.poll()[Happening.PASSED] == 1
    assert len(world.now(running).attempts) == 1


def test_a_file_that_is_listed_as_older_is_waited_for_until_that_says_nothing_any_more(world: World) -> None:
    """What was seen before that time was over does not count, nor does what is wrong beside it."""
    (running,) = succeeds_too_early(world)
    older = SourceOutcome(SOURCES[0], Finding.OLDER, "icav2://to/run/0/a was there before")
    world.reports.wrong["run", "000001"] = [
        SourceOutcome(SOURCES[1], Finding.MISMATCH, "icav2://to/b is not there"),
        older,
    ]
    assert world.poll()[Happening.AWAITED] == 1
    world.clock.now += PATIENCE
    assert world.poll()[Happening.AWAITED] == 1
    world.clock.now += PATIENCE
    world.reports.wrong["run", "000001"] = []
    assert world.poll()[Happening.PASSED] == 1
    assert [attempt.outcome for attempt in world.now(running).attempts] == ["SUCCEEDED"]


def test_since_when_files_are_awaited_is_known_to_every_poller(world: World) -> None:
    (running,) = succeeds_too_early(world)
    first = world.clock()
    while world.poll()[Happening.AWAITED]:
        assert world.now(running).mismatch_since == timestamp(first)
        world.clock.forward(seconds=37)
    assert world.clock() - first == PATIENCE
    assert (world.now(running).status, world.now(running).mismatch_since) == (JobStatus.QUEUED, None)


def test_that_icas_job_has_ended_is_noted_once_however_often_its_files_are_compared(world: World) -> None:
    world.table.outcomes_of["project"] = Outcomes().plus(0, 6, world.clock())
    succeeds_too_early(world)
    for _ in range(3):
        assert world.poll()[Happening.AWAITED] == 1
        world.clock.forward(seconds=20)
    assert world.table.outcomes("project").recent == "FFFFFP"


def test_files_that_are_awaited_hold_up_no_other_job(world: World) -> None:
    _, other = succeeds_too_early(world, jobs=2)
    del world.reports.wrong[other.key]
    ends = {Happening.PASSED: 1, Happening.ATTEMPT_SUCCEEDED: 1}
    assert world.poll() == Happenings({Happening.AWAITED: 1, **ends})


# --- trees -----------------------------------------------------------------------------------------------------------


def test_a_job_with_trees_passes_once_they_and_its_files_are_compared(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared([], None)
    assert world.poll()[Happening.PASSED] == 1
    assert world.reports.asked == {"trees": [("run", "000001")], "faults": [("run", "000001")]}
    assert world.now(running).status is JobStatus.PASSED


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
def test_what_is_wrong_with_a_tree_is_wrong_with_its_job(world: World, ica_status: str) -> None:
    running = world.run(world.submit()[0], ica_status)
    world.reports.wrong["run", "000001"] = []
    wrong = [SourceOutcome(SOURCES[1], Finding.MISMATCH, "icav2://to/b is not there")]
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(wrong, None)
    if ica_status == "SUCCEEDED":
        assert world.poll()[Happening.AWAITED] == 1
        world.clock.now += PATIENCE
    assert world.poll()[Happening.REQUEUED] == 1
    assert world.now(running).uncopied == SOURCES[1:]


def test_a_large_tree_is_gone_on_with_where_it_was_left_also_by_another_poller(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(None, "0:a/")
    assert world.poll()[Happening.COMPARING] == 1
    left = world.now(running)
    assert (left.status, left.verified_up_to) == (JobStatus.RUNNING, "0:a/")
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared([], "0:/")
    assert world.poll()[Happening.PASSED] == 1


def test_the_time_of_what_is_older_runs_from_when_it_is_seen_in_a_tree_that_is_not_yet_compared(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    for has_older, since in ((False, None), (True, timestamp(world.clock()))):
        world.reports.trees["run", "000001"] = lambda has_time, has_older=has_older: TreesCompared(  # type: ignore[misc]
            None, None, has_older
        )
        assert world.poll()[Happening.COMPARING] == 1
        assert world.now(running).mismatch_since == since


def test_a_tree_is_compared_for_so_long_only_and_after_all_else(world: World) -> None:
    world.seconds_left = 900
    large, other = (world.run(job, "SUCCEEDED") for job in world.submit(jobs=2))
    others: list[JobStatus] = []

    def takes_ten_minutes(has_time: Callable[[], bool]) -> TreesCompared:
        others.append(world.now(other).status)
        began = world.clock()
        while has_time() and sum(world.slept) < 600:
            world.sleep(2)
        assert world.clock() - began <= timedelta(seconds=TREES_SECONDS)
        return TreesCompared(None if sum(world.slept) < 600 else [], None)

    world.reports.trees["run", large.job_id] = takes_ten_minutes
    assert world.poll()[Happening.PASSED] == 2
    assert others[0] is JobStatus.PASSED
    assert len(others) > 1


def test_what_has_only_begun_is_compared_before_what_is_large(world: World) -> None:
    world.seconds_left = 900
    large, small = (world.run(job, "SUCCEEDED") for job in world.submit(jobs=2))
    world.reports.trees["run", large.job_id] = lambda _: TreesCompared([] if len(order) > 2 else None, None)
    world.reports.trees["run", small.job_id] = lambda _: TreesCompared([], None)
    world.say(small, "RUNNING")
    order = world.reports.asked.setdefault("trees", [])
    world.ica.troubles["jobs"] = lambda _: world.say(small, "SUCCEEDED") if order else None
    assert world.poll()[Happening.PASSED] == 2
    assert [job_id for _, job_id in order[:3]] == [large.job_id, small.job_id, large.job_id]


def test_a_tree_that_takes_long_is_left_to_the_poller_by_a_notification(world: World) -> None:
    running = world.run(world.submit()[0], "SUCCEEDED")
    world.clock.forward(seconds=1)
    world.reports.trees["run", "000001"] = lambda has_time: TreesCompared(None, None)
    assert world.poller().poll_notified("this one", {str(running.ica_job_id)}) == Happenings({Happening.COMPARING: 1})
    assert world.poller().poll_notified("this one", {str(running.ica_job_id)}) == Happenings()
    assert world.poll()[Happening.COMPARING] == 1


# --- projects that cannot be asked -----------------------------------------------------------------------------------


def test_a_project_that_hangs_is_let_be_for_longer_each_time_and_holds_up_no_other(world: World) -> None:
    world.seconds_left = 900
    stuck = world.run(world.submit("stuck", sources=["icav2://hangs/a"])[0], "SUCCEEDED")
    world.reports.unverifiable = {("stuck", "000001")}
    later = world.submit("later", jobs=3)
    asked: list[float] = []
    ask = world.reports.faults

    def hang(jobs: Sequence[Job]) -> FilesCompared:
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
    assert happened[Happening.PASSED] == 4
    pauses = [after - before - 40 for before, after in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert FIRST_DEFERRAL_SECONDS <= pauses[0] < pauses[-1]
    assert world.now(stuck).status is JobStatus.PASSED


def test_what_cannot_be_compared_in_one_project_does_not_keep_another_from_moving_on(world: World) -> None:
    odd = world.run(world.submit("odd", sources=["icav2://odd/a"])[0], "SUCCEEDED")
    plain = world.run(world.submit("plain")[0], "SUCCEEDED")
    ask = world.reports.faults

    def break_down(jobs: Sequence[Job]) -> FilesCompared:
        if jobs[0].copy_id == "odd":
            raise RuntimeError("made by the test")
        return ask(jobs)

    world.reports.faults = break_down  # type: ignore[method-assign]
    ends = {Happening.PASSED: 1, Happening.ATTEMPT_SUCCEEDED: 1}
    assert world.poll() == Happenings({**ends, Happening.NOT_MOVED: 1})
    assert (world.now(odd).status, world.now(plain).status) == (JobStatus.RUNNING, JobStatus.PASSED)


def test_what_is_to_be_launched_again_is_seen_to_first(world: World) -> None:
    """It waits for ICA; what has passed waits for nothing."""
    passed, failed = world.submit(jobs=2)
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
    running = world.run(world.submit()[0], ica_status)

    def another_is_faster(_: object) -> None:
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        assert world.table.requeue(
            running, ended, frozenset(), world.clock(), world.clock() + LOST_MESSAGE_AGE, NEXT_ATTEMPT
        )
        if again:
            world.run(world.now(running), "RUNNING")

    world.ica.troubles["jobs"] = another_is_faster
    happened = world.poll()
    moved_on = world.now(running)
    assert (moved_on.status, moved_on.attempt) == (JobStatus.RUNNING if again else JobStatus.QUEUED, 2)
    assert len(moved_on.attempts) == 1
    assert (happened[Happening.PASSED], happened[Happening.REQUEUED], happened[Happening.GIVEN_UP]) == (0, 0, 0)
    assert world.queue.sent == []
    assert world.reports.asked == {}


@pytest.mark.parametrize("ica_status", ["SUCCEEDED", "FAILED"])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_job_that_moves_on_between_reading_and_writing_is_not_moved(
    world: World, ica_status: str, max_attempts: int
) -> None:
    world.max_attempts = max_attempts
    running = world.run(world.submit()[0], ica_status)
    world.reports.not_copied["run", "000001"] = [SourceOutcome(SOURCES[0], "FAILED", "disk full")]
    asked = "faults" if ica_status == "SUCCEEDED" else "missing"
    ask_verifier = getattr(world.reports, asked)

    def another_is_faster(jobs: Sequence[Job]) -> dict[JobKey, list[SourceOutcome]]:
        ended = running.ended_attempt("FAILED", "disk full", world.clock())
        assert world.table.requeue(
            running, ended, frozenset(), world.clock(), world.clock() + LOST_MESSAGE_AGE, NEXT_ATTEMPT
        )
        found: dict[JobKey, list[SourceOutcome]] = ask_verifier(jobs)
        return found

    setattr(world.reports, asked, another_is_faster)
    assert world.poll()[Happening.MOVED_ON] == 1
    assert (world.now(running).status, world.now(running).attempt) == (JobStatus.QUEUED, 2)
    assert world.queue.sent == []


# --- what is counted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ica_status", "counted"),
    [
        ("SUCCEEDED", Happening.ATTEMPT_SUCCEEDED),
        ("PARTIALLY_SUCCEEDED", Happening.ATTEMPT_PARTLY_SUCCEEDED),
        ("FAILED", Happening.ATTEMPT_FAILED),
        ("STOPPED", Happening.ATTEMPT_FAILED),
    ],
)
@pytest.mark.parametrize("max_attempts", [1, 2])
def test_each_attempt_is_counted_by_how_it_ended_also_the_last(
    world: World, ica_status: str, counted: Happening, max_attempts: int
) -> None:
    world.max_attempts = max_attempts
    (job,) = world.submit(options=CopyOptions("OVERWRITE"))
    world.run(job, ica_status)
    attempts = [Happening.ATTEMPT_SUCCEEDED, Happening.ATTEMPT_PARTLY_SUCCEEDED, Happening.ATTEMPT_FAILED]
    happened = world.poll()
    assert {each: happened[each] for each in attempts if happened[each]} == {counted: 1}
    assert not any(world.poll()[each] for each in attempts), "nobody counts it again"
