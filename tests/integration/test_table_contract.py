"""What the table promises, of ``CopyTable`` on moto and of the double with which the use cases are tested alike.

Every move that is allowed, every one that is not, and what is taken and given back with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import pytest
from pynamodb.exceptions import UpdateError

from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    CANCELLED,
    MOVES,
    NEXT_ATTEMPT,
    Attempt,
    Claim,
    CopyStatus,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    OpenJob,
    SubmittedCopy,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome
from icav2_copy_batch.domain.pace import first_pace
from icav2_copy_batch.domain.schedule import FOLDER_REST, Backlog, Slots, Waiting, backlogs_of
from icav2_copy_batch.domain.stops import Paused, Stops
from icav2_copy_batch.domain.submit import CopyOptions
from tests import doubles
from tests.integration.tables import (
    DESTINATION,
    MOVE,
    NOTHING_TAKEN,
    PROJECT,
    SOURCES,
    EitherTable,
    at,
    claim,
    copy_of,
    create,
    create_jobs,
    everything,
    failed,
    in_status,
    launch,
    now,
    passed,
    request,
    requeue,
    run,
    settle,
    taken,
)

OUTAGE = doubles.hold("ICA fails what it is given", HoldReason.OUTAGE)
ENDED = (JobStatus.PASSED, JobStatus.FAILED, JobStatus.CANCELLED)
LEAVING = ["release", "requeue", "mark_passed", "give_up"]
"""The moves that give back what the claim has taken."""
OUT_OF_LAUNCHING = ["release", "mark_running", "give_up"]
REFUSED_WRITE = (UpdateError, doubles.ConditionRefused)


# --- the moves -------------------------------------------------------------------------------------------------------


def test_every_move_has_one_write_of_its_name() -> None:
    assert MOVE.keys() == MOVES.keys()
    assert all(hasattr(CopyTable, verb) for verb in MOVES)


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("verb", MOVES)
def test_a_move_is_made_from_its_sources_in_the_attempt_under_way_and_else_changes_nothing(
    either_table: EitherTable, verb: str, status: JobStatus
) -> None:
    job = in_status(either_table, status)
    assert (job.status, job.attempt) == (status, 2)
    before = everything(either_table)
    for another_attempt in (1, 3):
        assert not MOVE[verb](either_table, replace(job, attempt=another_attempt))
        assert everything(either_table) == before
    if status in MOVES[verb].sources:
        assert MOVE[verb](either_table, job)
        assert now(either_table, job).status is MOVES[verb].target
    else:
        assert not MOVE[verb](either_table, job)
        assert everything(either_table) == before


@pytest.mark.parametrize("verb", MOVES)
def test_a_job_that_is_not_there_is_not_moved_and_not_made(either_table: EitherTable, verb: str) -> None:
    create(either_table)
    before = everything(either_table)
    missing = Job("c", "000002", JobStatus.QUEUED, 1, DESTINATION, claimed_at=timestamp(at(1)), ica_project_id=PROJECT)
    assert not MOVE[verb](either_table, missing)
    assert everything(either_table) == before


@pytest.mark.parametrize("verb", OUT_OF_LAUNCHING)
def test_a_claim_that_was_released_and_taken_anew_is_not_ended_by_its_former_holder(
    either_table: EitherTable, verb: str
) -> None:
    """The same attempt is LAUNCHING again, and its new holder may have started a copy batch."""
    (job,) = create(either_table)
    former = launch(either_table, job, 10)
    assert either_table.release(former, at(20), at(920), doubles.hold("its launch has died"))
    latter = launch(either_table, now(either_table, job), 30)
    assert (former.status, former.attempt) == (latter.status, latter.attempt)
    before = everything(either_table)
    assert not MOVE[verb](either_table, former)
    assert everything(either_table) == before
    assert MOVE[verb](either_table, latter)


def test_a_job_that_runs_is_not_given_up_by_the_holder_of_a_former_claim(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    former = launch(either_table, job, 10)
    either_table.release(former, at(20), at(920), doubles.hold("its launch has died"))
    running = run(either_table, now(either_table, job), 30)
    before = everything(either_table)
    assert not either_table.give_up(former, failed(former), at(40))
    assert everything(either_table) == before
    assert either_table.give_up(running, failed(running), at(40))


def test_a_claimed_job_is_known_as_such(either_table: EitherTable) -> None:
    options = CopyOptions("OVERWRITE", copy_user_tags=False, copy_technical_tags=True, copy_instrument_info=False)
    either_table.create_copy(copy_of())
    planned = [PlannedJob(DESTINATION, tuple(SOURCES))]
    (job,) = doubles.create_due_jobs(either_table, "c", planned, options, at(0), at(900))
    assert either_table.wait(request(job), at(5), doubles.hold("no slot"))
    assert claim(either_table, job, 10) is Claim.CLAIMED
    claimed = now(either_table, job)
    assert claimed == Job(
        copy_id="c",
        job_id="000001",
        status=JobStatus.LAUNCHING,
        attempt=1,
        destination=DESTINATION,
        sources=tuple(SOURCES),
        options=options,
        held_for=HoldReason.NO_SLOT,
        queued_at=timestamp(at(0)),
        claimed_at=timestamp(at(10)),
        due_at=timestamp(at(1210)),
        ica_project_id=PROJECT,
        lease_until=timestamp(at(1210)),
    )
    assert claimed.uncopied == SOURCES


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE", "RENAME"])
@pytest.mark.parametrize("flag", ["copy_user_tags", "copy_technical_tags", "copy_instrument_info"])
def test_options_come_back_as_they_were_written(either_table: EitherTable, action: str, flag: str) -> None:
    options = replace(CopyOptions(action), **{flag: False})  # type: ignore[arg-type]
    either_table.create_jobs("c", [PlannedJob(DESTINATION, ())], options, at(0))
    assert [job.options for job in either_table.jobs("c")] == [options]


def test_a_job_whose_copy_batch_was_too_large_keeps_how_many_sources_it_may_have(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert job.batch_limit is None
    assert either_table.release(launch(either_table, job), at(30), at(930), doubles.hold("too large"), batch_limit=2)
    assert now(either_table, job).batch_limit == 2
    assert either_table.release(
        launch(either_table, now(either_table, job), 40), at(50), at(950), doubles.hold("ICA failed")
    )
    assert requeue(either_table, run(either_table, now(either_table, job), 60), 70)
    assert now(either_table, job).batch_limit == 2


def test_a_job_knows_how_often_its_launch_was_deferred_until_it_runs(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert either_table.release(launch(either_table, job), at(30), at(930), doubles.hold("ICA failed"), deferrals=3)
    assert now(either_table, job).deferrals == 3
    assert either_table.release(launch(either_table, now(either_table, job), 40), at(50), at(50), doubles.hold("died"))
    assert now(either_table, job).deferrals == 3
    assert run(either_table, now(either_table, job), 60).deferrals == 0


def test_a_released_job_is_queued_in_the_same_attempt_since_when_it_was_before(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    claimed = launch(either_table, job)
    note_all_that_a_launch_notes(either_table, claimed)
    assert either_table.release(claimed, at(30), at(930), doubles.hold("ICA was unavailable"))
    hold = doubles.hold("ICA was unavailable")
    expected = replace(job, due_at=timestamp(at(930)), ica_project_id=PROJECT, hold=hold, total_bytes=7)
    assert now(either_table, job) == expected
    assert launch(either_table, expected, 40).claimed_at == timestamp(at(40))


def test_a_running_job_knows_its_copy_batch(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    claimed = launch(either_table, job)
    note_all_that_a_launch_notes(either_table, claimed)
    assert either_table.mark_running(claimed, "ica-job", "ica-batch", at(11), due_at=at(12))
    assert now(either_table, job) == replace(
        claimed,
        status=JobStatus.RUNNING,
        ica_job_id="ica-job",
        ica_batch_id="ica-batch",
        running_at=timestamp(at(11)),
        due_at=timestamp(at(12)),
        lease_until=None,
        total_bytes=7,
    )


def attempt_of(number: int, outcome: str, queued: float, seconds: float, reason: str | None) -> Attempt:
    """An attempt claimed at that second, as `run` makes it, that ended ten seconds later."""
    return Attempt(
        number=number,
        outcome=outcome,
        ended_at=timestamp(at(seconds + 10)),
        queued_at=timestamp(at(queued)),
        claimed_at=timestamp(at(seconds)),
        running_at=timestamp(at(seconds + 1)),
        ica_job_id=f"ica-job-{number}",
        ica_batch_id=f"ica-batch-{number}",
        reason=reason,
        held_for=HoldReason.NO_SLOT,
    )


def test_a_requeued_job_is_as_new_but_for_its_history(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    running = run(either_table, job, 10)
    assert either_table.requeue(running, failed(running, 20), frozenset(), at(21), at(921), NEXT_ATTEMPT)
    assert now(either_table, job) == replace(
        job,
        hold=NEXT_ATTEMPT,
        attempt=2,
        attempts=(attempt_of(1, "FAILED", 0, 10, "it failed"),),
        queued_at=timestamp(at(21)),
        due_at=timestamp(at(921)),
        ica_project_id=PROJECT,
    )


def test_a_requeued_job_knows_what_is_copied_and_what_became_of_the_rest(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    running = replace(run(either_table, job, 10), ica_created_at="2024-05-28T03:12:00Z")
    wrong = [SourceOutcome(SOURCES[1], "FAILED", "é disk full")]
    ended = running.ended_attempt("PARTIALLY_SUCCEEDED", "1 of 2", at(20), wrong)
    assert either_table.requeue(running, ended, frozenset(SOURCES[:1]), at(21), at(921), NEXT_ATTEMPT)
    requeued = now(either_table, job)
    assert (requeued.copied, requeued.uncopied, requeued.last_outcomes) == (frozenset(SOURCES[:1]), SOURCES[1:], wrong)
    assert requeued.attempts == (ended,)
    assert requeued.ica_began_at == "2024-05-28T03:12:00Z"


def test_a_requeued_job_knows_that_it_is_held_also_in_the_index_until_its_message_is_sent(
    either_table: EitherTable,
) -> None:
    (job,) = create(either_table)
    running = run(either_table, job, 10)
    assert either_table.requeue(running, failed(running, 20), frozenset(), at(21), due_at=at(921), hold=OUTAGE)
    held = now(either_table, job)
    assert held.hold == OUTAGE
    (listed,) = either_table.jobs_in(JobStatus.QUEUED)
    assert (listed.hold, listed.ica_project_id) == (OUTAGE, PROJECT)
    assert either_table.mark_sent(Waiting(request(held), held.project, held.due_at), at(921), at(1221))
    assert now(either_table, job).hold is None


def test_a_job_that_has_copied_nothing_forgets_what_an_earlier_attempt_was_said_to_have(
    either_table: EitherTable,
) -> None:
    (job,) = create(either_table)
    assert requeue(either_table, run(either_table, job, 10), 20, copied=SOURCES[:1])
    assert requeue(either_table, run(either_table, now(either_table, job), 30), 40)
    assert now(either_table, job).copied == frozenset()


@pytest.mark.parametrize("first_attempts", [0, 1, 2])
@pytest.mark.parametrize("end", [JobStatus.PASSED, JobStatus.FAILED])
def test_the_history_holds_every_attempt_with_all_its_times(
    either_table: EitherTable, end: JobStatus, first_attempts: int
) -> None:
    (job,) = create(either_table)
    expected, queued = [], 0.0
    for number in range(1, first_attempts + 1):
        running = run(either_table, job, number * 100)
        assert requeue(either_table, running, number * 100 + 10)
        expected.append(attempt_of(number, "FAILED", queued, number * 100, "it failed"))
        job, queued = now(either_table, job), number * 100 + 10
    last = first_attempts + 1
    running = run(either_table, job, last * 100)
    if end is JobStatus.PASSED:
        assert either_table.mark_passed(running, passed(running, last * 100 + 10), at(last * 100 + 12))
        expected.append(attempt_of(last, "SUCCEEDED", queued, last * 100, None))
    else:
        assert either_table.give_up(running, failed(running, last * 100 + 10, "for good"), at(last * 100 + 12))
        expected.append(attempt_of(last, "FAILED", queued, last * 100, "for good"))
    assert '"NULL"' not in "".join(everything(either_table)), "what is not known is not stored"
    assert now(either_table, job) == replace(
        running,
        status=end,
        attempts=tuple(expected),
        ended_at=timestamp(at(last * 100 + 12)),
        due_at=None,
        reason=None if end is JobStatus.PASSED else "for good",
    )


def test_a_job_that_was_refused_ends_without_ever_running(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    claimed = launch(either_table, job)
    assert either_table.give_up(claimed, claimed.ended_attempt("REFUSED", "no such source", at(12)), at(12))
    ended = now(either_table, job)
    assert (ended.status, ended.reason, ended.ended_at) == (JobStatus.FAILED, "no such source", timestamp(at(12)))
    times = timestamp(at(12)), timestamp(at(0)), timestamp(at(10))
    refused = Attempt(1, "REFUSED", *times, reason="no such source", held_for=HoldReason.NO_SLOT)
    assert ended.attempts == (refused,)


# --- what a launch notes before and after it asks ICA -----------------------------------------------------------------

INTENT = Intent.of(timestamp(at(11)), "fol.to", ["fil.a", "fil.b"])
NOTE: dict[str, Callable[[EitherTable, Job], bool]] = {
    "record_intent": lambda table, job: table.record_intent(job, INTENT, at(71), 7),
    "mark_answer_lost": lambda table, job: table.mark_answer_lost(
        job, at(12), at(13), doubles.hold("the answer was lost")
    ),
    "mark_undecided": lambda table, job: table.mark_undecided(job, at(500), doubles.hold("nobody can tell")),
}


def note_all_that_a_launch_notes(table: EitherTable, job: Job) -> None:
    for note in NOTE.values():
        assert note(table, job)


def test_a_claimed_job_knows_what_was_about_to_be_asked_for_and_what_came_of_it(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    claimed = launch(either_table, job)
    assert either_table.record_intent(claimed, INTENT, at(71), 7)
    asked = replace(claimed, intent=INTENT, due_at=timestamp(at(71)), total_bytes=7)
    assert now(either_table, job) == asked
    assert either_table.mark_answer_lost(claimed, at(12), at(13), doubles.hold("lost"))
    lost = replace(asked, answer_lost_at=timestamp(at(12)), due_at=timestamp(at(13)), hold=doubles.hold("lost"))
    assert now(either_table, job) == lost
    for second in (500, 900):
        assert either_table.mark_undecided(claimed, at(second), doubles.hold(f"undecided at {second}"))
    undecided = replace(lost, undecided_since=timestamp(at(500)), hold=doubles.hold("undecided at 900"))
    assert now(either_table, job) == undecided
    (listed,) = either_table.jobs_in(JobStatus.LAUNCHING)
    assert listed.undecided_since == timestamp(at(500))


def test_a_job_has_the_bytes_that_its_first_launch_found(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    for total_bytes in (0, 7):
        claimed = launch(either_table, job)
        assert either_table.record_intent(claimed, INTENT, at(71), total_bytes)
        assert either_table.release(claimed, at(12), at(12), doubles.hold("ICA answered 503"))
    assert now(either_table, job).total_bytes == 0


def test_the_root_of_a_project_is_asked_for_without_a_folder(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    intent = Intent.of(timestamp(at(11)), None, ["fol.a"])
    assert either_table.record_intent(launch(either_table, job), intent, at(71), 7)
    assert now(either_table, job).intent == intent


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.LAUNCHING])
@pytest.mark.parametrize("note", NOTE)
def test_nothing_is_noted_of_a_job_that_no_launch_holds(
    either_table: EitherTable, note: str, status: JobStatus
) -> None:
    job = in_status(either_table, status)
    before = everything(either_table)
    assert not NOTE[note](either_table, job)
    assert everything(either_table) == before


@pytest.mark.parametrize("otherwise", [{"attempt": 1}, {"claimed_at": timestamp(at(29))}], ids=str)
@pytest.mark.parametrize("note", NOTE)
def test_only_the_holder_of_the_claim_notes_anything(
    either_table: EitherTable, note: str, otherwise: dict[str, Any]
) -> None:
    """A launch that was taken for dead, and goes on, must not ask ICA for a job that another launch holds."""
    job = in_status(either_table, JobStatus.LAUNCHING)
    before = everything(either_table)
    assert not NOTE[note](either_table, replace(job, **otherwise))
    assert everything(either_table) == before


@pytest.mark.parametrize("verb", OUT_OF_LAUNCHING)
def test_what_a_launch_has_noted_is_gone_with_its_claim(either_table: EitherTable, verb: str) -> None:
    claimed = in_status(either_table, JobStatus.LAUNCHING)
    note_all_that_a_launch_notes(either_table, claimed)
    assert MOVE[verb](either_table, claimed)
    job = now(either_table, claimed)
    assert (job.lease_until, job.intent, job.answer_lost_at, job.undecided_since) == (None, None, None, None)


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_queued_job_waits_until_it_is_due_and_knows_for_what(either_table: EitherTable) -> None:
    job = in_status(either_table, JobStatus.QUEUED)
    assert either_table.wait(request(job), at(5000), doubles.hold("no slot"))
    assert now(either_table, job) == replace(job, due_at=timestamp(at(5000)), hold=doubles.hold("no slot"))


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.QUEUED])
def test_a_job_that_is_not_queued_does_not_wait(either_table: EitherTable, status: JobStatus) -> None:
    job = in_status(either_table, status)
    before = everything(either_table)
    assert not either_table.wait(request(job), at(5000), doubles.hold("no slot"))
    assert everything(either_table) == before


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_message_about_another_attempt_has_no_job_wait(either_table: EitherTable, attempt: int) -> None:
    job = in_status(either_table, JobStatus.QUEUED)
    before = everything(either_table)
    assert not either_table.wait(replace(request(job), attempt=attempt), at(5000), doubles.hold("no slot"))
    assert everything(either_table) == before


def test_a_job_that_is_not_there_does_not_wait_and_is_not_made(either_table: EitherTable) -> None:
    assert not either_table.wait(LaunchRequest("c", "000001", 1), at(5000), doubles.hold("no slot"))
    assert everything(either_table) == []


@pytest.mark.parametrize("status", [status for status in JobStatus if status not in ENDED])
def test_a_postponed_job_is_due_at_another_moment_and_else_the_same(
    either_table: EitherTable, status: JobStatus
) -> None:
    job = in_status(either_table, status)
    assert either_table.postpone(job, at(5000), doubles.hold("the answer was lost"))
    told = replace(job, due_at=timestamp(at(5000)), hold=doubles.hold("the answer was lost"))
    assert now(either_table, job) == told
    assert either_table.postpone(told, at(6000))
    assert now(either_table, job) == replace(told, due_at=timestamp(at(6000)))


def test_a_job_that_has_ended_since_it_was_seen_is_not_due_again(either_table: EitherTable) -> None:
    seen = in_status(either_table, JobStatus.LAUNCHING)
    either_table.give_up(seen, failed(seen), at(50))
    before = everything(either_table)
    assert not either_table.postpone(seen, at(5000))
    assert everything(either_table) == before


@pytest.mark.parametrize(
    "otherwise",
    [{"status": JobStatus.LAUNCHING}, {"attempt": 1}, {"attempt": 3}, {"due_at": timestamp(at(1))}],
    ids=str,
)
def test_a_job_that_is_not_as_it_was_seen_is_not_postponed(
    either_table: EitherTable, otherwise: dict[str, Any]
) -> None:
    job = in_status(either_table, JobStatus.QUEUED)
    before = everything(either_table)
    assert not either_table.postpone(replace(job, **otherwise), at(5000))
    assert everything(either_table) == before


def test_of_two_pollers_that_find_a_job_overdue_one_sees_to_it(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert [either_table.postpone(job, at(5000)), either_table.postpone(job, at(5001))] == [True, False]
    assert now(either_table, job).due_at == timestamp(at(5000))


def test_of_a_job_that_is_compared_the_first_mismatch_and_the_last_progress_are_kept(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    running = run(either_table, job)
    assert either_table.note_comparison(running, at(40), mismatch_since=at(30))
    told = replace(running, due_at=timestamp(at(40)), mismatch_since=timestamp(at(30)))
    assert now(either_table, job) == told
    assert either_table.note_comparison(running, at(50), mismatch_since=at(35), verified_up_to="0:a/")
    assert now(either_table, job) == replace(told, due_at=timestamp(at(50)), verified_up_to="0:a/")
    assert either_table.note_comparison(running, at(60))
    assert now(either_table, job) == replace(told, due_at=timestamp(at(60)), verified_up_to="0:a/")
    assert either_table.note_comparison(running, at(70), verified_up_to="0:b/")
    assert now(either_table, job).verified_up_to == "0:b/"


def test_the_next_attempt_is_compared_from_the_start(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    running = run(either_table, job)
    assert either_table.note_comparison(running, at(40), at(30), "0:a/")
    assert requeue(either_table, running)
    requeued = now(either_table, job)
    assert (requeued.mismatch_since, requeued.verified_up_to) == (None, None)


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_of_a_job_that_does_not_run_no_comparison_is_noted(either_table: EitherTable, status: JobStatus) -> None:
    job = in_status(either_table, status)
    before = everything(either_table)
    assert not either_table.note_comparison(job, at(5000), at(5000), "0:a/")
    assert everything(either_table) == before


@pytest.mark.parametrize("attempt", [1, 3])
def test_of_another_attempt_no_comparison_is_noted(either_table: EitherTable, attempt: int) -> None:
    job = in_status(either_table, JobStatus.RUNNING)
    before = everything(either_table)
    assert not either_table.note_comparison(replace(job, attempt=attempt), at(5000), at(5000), "0:a/")
    assert everything(either_table) == before


def test_of_a_job_that_is_not_there_no_comparison_is_noted_and_it_is_not_made(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert not either_table.note_comparison(replace(job, job_id="000009", status=JobStatus.RUNNING), at(5000))
    assert len(everything(either_table)) == 2


def a_backlog(table: EitherTable, jobs: int = 3, copy_id: str = "c", since: float = 0) -> tuple[list[Job], Backlog]:
    """A new copy's jobs with their backlog, as it is read from the table."""
    planned = [PlannedJob(f"{DESTINATION}{number}/", tuple(SOURCES)) for number in range(jobs)]
    table.create_jobs(copy_id, planned, CopyOptions(), at(0))
    table.create_backlogs(backlogs_of(copy_id, planned, timestamp(at(since))))
    (backlog,) = (each for each in table.backlogs() if each.copy_id == copy_id)
    return list(table.jobs(copy_id)), backlog


def test_the_backlogs_of_all_copies_are_read_the_oldest_first(either_table: EitherTable) -> None:
    assert either_table.backlogs() == []
    backlogs = [
        Backlog("run 2", "p", next=1, last=2, since=timestamp(at(10))),
        Backlog("run 2", "q" * 2000, next=3, last=900, since=timestamp(at(11))),
        Backlog("run 1", "p", next=1, last=1, since=timestamp(at(20))),
    ]
    either_table.create_backlogs([backlogs[2]])
    either_table.create_backlogs(backlogs[:2])
    assert either_table.backlogs() == backlogs


def test_a_job_of_a_backlog_is_marked_sent_once(either_table: EitherTable) -> None:
    (job, *_), backlog = a_backlog(either_table)
    first, *_ = backlog.first(1)
    assert either_table.mark_sent(first, at(50), at(350))
    sent = replace(job, queued_at=timestamp(at(50)), due_at=timestamp(at(350)), held_for=HoldReason.NO_SLOT)
    assert now(either_table, job) == sent
    before = everything(either_table)
    assert not either_table.mark_sent(first, at(51), at(351))
    assert everything(either_table) == before


@pytest.mark.parametrize("waited_for_a_slot", [True, False])
def test_a_job_that_is_due_is_marked_sent_once(either_table: EitherTable, waited_for_a_slot: bool) -> None:
    job = in_status(either_table, JobStatus.QUEUED)
    assert either_table.wait(request(job), at(40), doubles.hold("no slot"))
    due = Waiting(request(job), job.project, timestamp(at(40)), waited_for_a_slot)
    assert either_table.mark_sent(due, at(50), at(350))
    queued_at = timestamp(at(50)) if waited_for_a_slot else job.queued_at
    held_for = doubles.hold("no slot").reason
    sent = replace(job, due_at=timestamp(at(350)), queued_at=queued_at, hold=None, held_for=held_for)
    assert now(either_table, job) == sent
    before = everything(either_table)
    assert not either_table.mark_sent(due, at(51), at(351))
    assert everything(either_table) == before
    running = run(either_table, sent, 60)
    assert requeue(either_table, running)
    assert now(either_table, job).attempts[-1].held_for == held_for


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.QUEUED])
def test_a_job_that_is_not_queued_is_not_marked_sent(either_table: EitherTable, status: JobStatus) -> None:
    job = in_status(either_table, status)
    before = everything(either_table)
    assert not either_table.mark_sent(Waiting(request(job), job.project, job.due_at), at(50), at(350))
    assert everything(either_table) == before


@pytest.mark.parametrize("attempt", [1, 3])
def test_another_attempt_is_not_marked_sent(either_table: EitherTable, attempt: int) -> None:
    job = in_status(either_table, JobStatus.QUEUED)
    before = everything(either_table)
    seen = Waiting(replace(request(job), attempt=attempt), job.project, job.due_at)
    assert not either_table.mark_sent(seen, at(50), at(350))
    assert everything(either_table) == before


def test_a_job_that_is_not_there_is_not_marked_sent_and_not_made(either_table: EitherTable) -> None:
    for due_at in (None, timestamp(at(40))):
        assert not either_table.mark_sent(Waiting(LaunchRequest("c", "000001", 1), "p", due_at), at(50), at(350))
    assert everything(either_table) == []


def test_a_backlog_gets_shorter_and_is_gone_when_it_is_empty(either_table: EitherTable) -> None:
    _, backlog = a_backlog(either_table)
    _, other = a_backlog(either_table, copy_id="d", since=5)
    either_table.shorten_backlog(backlog, 3)
    assert either_table.backlogs() == [replace(backlog, next=3), other]
    either_table.shorten_backlog(backlog, 2)
    assert either_table.backlogs() == [replace(backlog, next=3), other], "who is late puts nothing back"
    either_table.shorten_backlog(backlog, 4)
    assert either_table.backlogs() == [other]
    before = everything(either_table)
    for to in (2, 4):
        either_table.shorten_backlog(backlog, to)
    assert everything(either_table) == before


def test_a_backlog_of_which_jobs_have_been_taken_is_not_written_over(either_table: EitherTable) -> None:
    _, backlog = a_backlog(either_table)
    either_table.shorten_backlog(backlog, 2)
    either_table.create_backlogs([backlog])
    assert either_table.backlogs() == [replace(backlog, next=2)]


# --- slots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 3])
def test_no_more_jobs_are_claimed_than_there_are_slots(either_table: EitherTable, total: int) -> None:
    jobs = create(either_table, total_jobs=5)
    slots = Slots(total=total)
    claims = [claim(either_table, job, project=f"project-{number}", slots=slots) for number, job in enumerate(jobs)]
    assert claims == [Claim.CLAIMED] * total + [Claim.NO_SLOT] * (5 - total)
    assert [job.status for job in either_table.jobs("c")].count(JobStatus.LAUNCHING) == total
    assert taken(either_table).slots == total


@pytest.mark.parametrize("per_project", [1, 2, 3])
def test_no_more_jobs_are_claimed_into_one_project_than_it_has_slots(
    either_table: EitherTable, per_project: int
) -> None:
    jobs = create(either_table, total_jobs=5)
    slots = Slots(per_project=per_project)
    claims = [claim(either_table, job, slots=slots) for job in jobs]
    assert claims == [Claim.CLAIMED] * per_project + [Claim.NO_SLOT] * (5 - per_project)
    assert claim(either_table, jobs[-1], project="another-project", slots=slots) is Claim.CLAIMED
    assert taken(either_table).by_project == {PROJECT: per_project, "another-project": 1}


def test_a_claim_for_which_there_is_no_slot_changes_nothing(either_table: EitherTable) -> None:
    first, second = create(either_table, total_jobs=2)
    launch(either_table, first)
    before = everything(either_table)
    for slots in (Slots(total=1), Slots(per_project=1)):
        assert claim(either_table, second, slots=slots) is Claim.NO_SLOT
        assert everything(either_table) == before


@pytest.mark.parametrize("slots", [Slots(total=1), Slots(per_project=1)], ids=str)
@pytest.mark.parametrize("verb", LEAVING)
def test_a_slot_that_was_given_back_is_there_for_another(either_table: EitherTable, verb: str, slots: Slots) -> None:
    first, second = create(either_table, total_jobs=2)
    holder = launch(either_table, first) if verb == "release" else run(either_table, first)
    assert claim(either_table, second, slots=slots) is Claim.NO_SLOT
    assert MOVE[verb](either_table, holder)
    assert claim(either_table, second, slots=slots) is Claim.CLAIMED


# --- folders ---------------------------------------------------------------------------------------------------------


def two_copies(
    table: EitherTable, first: str = DESTINATION, second: str = DESTINATION, other: str = "d"
) -> tuple[Job, Job]:
    """A job of each of two copies into these folders."""
    table.create_copy(copy_of(copy_id="c"))
    table.create_copy(copy_of(copy_id=other))
    return create_jobs(table, [first], "c")[0], create_jobs(table, [second], other)[0]


def test_two_copies_do_not_write_into_one_folder_at_a_time(either_table: EitherTable) -> None:
    first, second = two_copies(either_table)
    assert claim(either_table, first) is Claim.CLAIMED
    before = everything(either_table)
    assert claim(either_table, second) is Claim.FOLDER_BUSY
    assert everything(either_table) == before


def test_two_copies_write_into_folders_of_one_path_in_two_projects(either_table: EitherTable) -> None:
    first, second = two_copies(either_table, second="icav2://other/run 1/")
    assert claim(either_table, first) is Claim.CLAIMED
    assert claim(either_table, second, project="another-project") is Claim.CLAIMED


def test_two_copies_write_into_two_folders_of_one_project(either_table: EitherTable) -> None:
    first, second = two_copies(either_table, second=f"{DESTINATION}deeper/")
    assert claim(either_table, first) is Claim.CLAIMED
    assert claim(either_table, second) is Claim.CLAIMED


def test_jobs_of_one_copy_into_one_folder_go_side_by_side(either_table: EitherTable) -> None:
    """They share no file. The folder is the copy's until the last has left it, however long ago the first did."""
    first, another = two_copies(either_table)
    second = create_jobs(either_table, [DESTINATION, DESTINATION])[1]
    running = [run(either_table, job) for job in (first, second)]
    assert taken(either_table).folders == {(f"c {DESTINATION}", frozenset({"c 000001", "c 000002"}))}
    for job in running:
        assert claim(either_table, another, 10_000) is Claim.FOLDER_BUSY
        assert requeue(either_table, job, 20)
    assert claim(either_table, another, 10_000) is Claim.CLAIMED


@pytest.mark.parametrize("verb", LEAVING)
def test_a_folder_that_was_given_back_is_there_for_another_copy_once_it_has_rested(
    either_table: EitherTable, verb: str
) -> None:
    """Given back at second 100: whatever ICA has created in it since the next claim is then the claimant's."""
    first, second = two_copies(either_table)
    holder = launch(either_table, first) if verb == "release" else run(either_table, first)
    assert claim(either_table, second, 10_000) is Claim.FOLDER_BUSY
    assert MOVE[verb](either_table, holder)
    rest = FOLDER_REST.total_seconds()
    before = everything(either_table)
    for seconds in (100, 100 + rest - 1, 100 + rest):
        assert claim(either_table, second, seconds) is Claim.FOLDER_BUSY
        assert everything(either_table) == before
    assert claim(either_table, second, 100 + rest + 0.001) is Claim.CLAIMED
    assert taken(either_table).folders == {(f"d {DESTINATION}", frozenset({"d 000001"}))}


def test_a_folder_does_not_rest_between_two_jobs_of_one_copy(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert requeue(either_table, run(either_table, job), 20)
    assert claim(either_table, now(either_table, job), 20) is Claim.CLAIMED


def test_a_folder_rests_anew_after_each_job_that_leaves_it(either_table: EitherTable) -> None:
    first, second = two_copies(either_table)
    assert requeue(either_table, run(either_table, first, 10), 20)
    assert requeue(either_table, run(either_table, now(either_table, first), 500), 510)
    assert claim(either_table, second, 540) is Claim.FOLDER_BUSY
    assert claim(either_table, second, 600) is Claim.CLAIMED


# --- what is taken is given back -------------------------------------------------------------------------------------


def test_a_claimed_and_a_running_job_have_a_slot_and_their_folder(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    assert taken(either_table) == NOTHING_TAKEN
    claimed = launch(either_table, job)
    held = taken(either_table)
    assert (held.slots, held.by_project) == (1, {PROJECT: 1})
    assert held.folders == {(f"c {job.destination}", frozenset({"c 000001"}))}
    assert either_table.mark_running(claimed, "job", "batch", at(11), at(11))
    assert taken(either_table) == held


@pytest.mark.parametrize("verb", LEAVING)
def test_who_leaves_gives_back_exactly_what_it_has_taken(either_table: EitherTable, verb: str) -> None:
    """Beside two jobs that stay, of which one is in the same folder and one in another project."""
    either_table.create_copy(copy_of(3))
    jobs = create_jobs(either_table, [DESTINATION, DESTINATION, "icav2://other/x/"])
    run(either_table, jobs[1])
    run(either_table, jobs[2], project="another-project")
    before = taken(either_table)
    assert (before.slots, before.by_project) == (2, {PROJECT: 1, "another-project": 1})
    holder = launch(either_table, jobs[0]) if verb == "release" else run(either_table, jobs[0])
    assert taken(either_table).slots == 3
    assert MOVE[verb](either_table, holder)
    assert taken(either_table) == before


@pytest.mark.parametrize("verb", LEAVING)
def test_who_has_left_gives_nothing_back_again(either_table: EitherTable, verb: str) -> None:
    first, second = create(either_table, total_jobs=2)
    run(either_table, second)
    holder = launch(either_table, first) if verb == "release" else run(either_table, first)
    assert MOVE[verb](either_table, holder)
    before = everything(either_table)
    assert not MOVE[verb](either_table, holder)
    assert everything(either_table) == before


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_a_job_that_is_not_counted_keeps_its_slot_and_its_folder(either_table: EitherTable, verb: str) -> None:
    """It does not end, so that it gives nothing back."""
    (job,) = create_jobs(either_table, [DESTINATION])
    running = run(either_table, job)
    before = taken(either_table)
    assert before.slots == 1
    assert not MOVE[verb](either_table, running)
    assert taken(either_table) == before


def test_what_a_job_has_taken_in_one_project_it_gives_back_there_after_a_move_to_another(
    either_table: EitherTable,
) -> None:
    """A project's name may come to mean another project between two attempts."""
    (job,) = create(either_table)
    assert requeue(either_table, run(either_table, job, 10, project="old"))
    running = run(either_table, now(either_table, job), 30, project="new")
    assert taken(either_table).by_project == {"new": 1}
    assert requeue(either_table, running, 40)
    assert taken(either_table) == NOTHING_TAKEN


# --- counting --------------------------------------------------------------------------------------------------------


def counts(table: EitherTable, copy_id: str = "c") -> tuple[int, int, int, int]:
    """Jobs in all, open, passed and failed."""
    copy = table.get_copy(copy_id)
    assert copy
    return copy.total_jobs, copy.open_jobs, copy.passed_jobs, copy.failed_jobs


def test_each_end_of_a_job_is_counted_with_it(either_table: EitherTable) -> None:
    first, second, third = create(either_table, total_jobs=3)
    assert counts(either_table) == (3, 3, 0, 0)
    assert either_table.mark_passed(run(either_table, first), passed(first), at(20))
    assert counts(either_table) == (3, 2, 1, 0)
    assert either_table.give_up(run(either_table, second), failed(second), at(21))
    assert counts(either_table) == (3, 1, 1, 1)
    assert either_table.give_up(launch(either_table, third), failed(third), at(22))
    assert counts(either_table) == (3, 0, 1, 2)
    copy = either_table.get_copy("c")
    assert copy
    assert (copy.is_settled, copy.settled_at, copy.settled_status) == (True, timestamp(at(22)), CopyStatus.FAILED)


def test_the_bytes_of_jobs_that_passed_are_added_up_and_each_copy_is_known_again(either_table: EitherTable) -> None:
    """By what was found right; where nothing was compared, by what the launch found."""
    first, second, third = create(either_table, total_jobs=3)
    found = {SOURCES[0]: Fingerprint(5_000_000_000, "d41d8cd98f00b204e9800998ecf8427e-7"), SOURCES[1]: Fingerprint(30)}
    right = run(either_table, first).ended_attempt("SUCCEEDED", None, at(20), fingerprints=found)
    assert either_table.mark_passed(now(either_table, first), right, at(20))
    assert now(either_table, first).fingerprints == found
    launched = launch(either_table, second)
    assert either_table.record_intent(launched, INTENT, at(71), 7)
    assert either_table.mark_running(launched, "job", "batch", at(11), at(11))
    second = now(either_table, second)
    assert either_table.mark_passed(second, passed(second), at(21))
    third = run(either_table, third)
    part = third.ended_attempt("FAILED", "disk full", at(22), fingerprints={SOURCES[1]: Fingerprint(30)})
    assert either_table.give_up(third, part, at(22))
    assert now(either_table, third).fingerprints == {SOURCES[1]: Fingerprint(30)}
    copy = either_table.get_copy("c")
    assert copy
    assert copy.passed_bytes == 5_000_000_037, "what a job has copied that failed is not counted"


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_a_job_that_ends_twice_is_counted_once(either_table: EitherTable, verb: str) -> None:
    job, _ = create(either_table, total_jobs=2)
    running = run(either_table, job)
    assert MOVE[verb](either_table, running)
    before = everything(either_table)
    assert not MOVE[verb](either_table, running)
    assert everything(either_table) == before
    assert counts(either_table)[1] == 1


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_open_jobs_never_go_below_zero(either_table: EitherTable, verb: str) -> None:
    """A second job where only one was counted: neither is it ended nor does the count go on."""
    either_table.create_copy(copy_of(1))
    job, uncounted = create_jobs(either_table, [f"{DESTINATION}0/", f"{DESTINATION}1/"])
    assert either_table.mark_passed(run(either_table, job), passed(job), at(20))
    running = run(either_table, uncounted)
    before = everything(either_table)
    assert not MOVE[verb](either_table, running)
    assert everything(either_table) == before
    assert counts(either_table)[1] == 0


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_a_job_without_a_copy_does_not_end_and_makes_no_copy(either_table: EitherTable, verb: str) -> None:
    (job,) = create_jobs(either_table, [DESTINATION])
    running = run(either_table, job)
    before = everything(either_table)
    assert not MOVE[verb](either_table, running)
    assert everything(either_table) == before
    assert either_table.get_copy("c") is None


# --- cancelled, paused, redriven -------------------------------------------------------------------------------------


def intent_at(seconds: float) -> Intent:
    return Intent.of(timestamp(at(seconds)), "fol.1", ["fil.1"])


def test_a_queued_job_is_cancelled_and_counted(either_table: EitherTable) -> None:
    job, other = create(either_table, total_jobs=2)
    assert either_table.cancel(job, at(5))
    ended = now(either_table, job)
    assert (ended.status, ended.ended_at, ended.due_at, ended.hold) == (
        JobStatus.CANCELLED,
        timestamp(at(5)),
        None,
        None,
    )
    assert ended.reason == CANCELLED
    copy = either_table.get_copy("c")
    assert copy
    assert (copy.open_jobs, copy.cancelled_jobs, copy.passed_jobs, copy.failed_jobs) == (1, 1, 0, 0)
    assert taken(either_table) == NOTHING_TAKEN
    assert either_table.cancel(other, at(6))
    copy = either_table.get_copy("c")
    assert copy
    assert (copy.is_settled, copy.settled_at, copy.settled_status) == (True, timestamp(at(6)), CopyStatus.CANCELLED)


def test_a_launch_that_has_asked_for_nothing_is_cancelled_and_gives_back_what_it_has_taken(
    either_table: EitherTable,
) -> None:
    (job,) = create(either_table)
    launching = launch(either_table, job)
    assert either_table.cancel(launching, at(20))
    assert taken(either_table) == NOTHING_TAKEN
    assert not either_table.record_intent(launching, intent_at(21), at(80), 7), "it must not ask ICA any more"
    assert now(either_table, job).lease_until is None


def test_a_launch_that_may_have_asked_ica_is_not_cancelled(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    launching = launch(either_table, job)
    assert either_table.record_intent(launching, intent_at(11), at(70), 7)
    before = everything(either_table)
    assert not either_table.cancel(launching, at(20))
    assert not either_table.cancel(now(either_table, job), at(20))
    assert everything(either_table) == before


def test_a_job_that_was_claimed_since_it_was_seen_queued_is_not_cancelled(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    launch(either_table, job)
    before = everything(either_table)
    assert not either_table.cancel(job, at(20))
    assert everything(either_table) == before


def test_a_job_that_was_claimed_anew_is_not_cancelled_by_who_has_seen_the_former_claim(
    either_table: EitherTable,
) -> None:
    (job,) = create(either_table)
    former = launch(either_table, job, 10)
    either_table.release(former, at(20), at(920), doubles.hold("its launch has died"))
    launch(either_table, now(either_table, job), 30)
    before = everything(either_table)
    assert not either_table.cancel(former, at(40))
    assert everything(either_table) == before


def test_a_job_that_is_not_counted_is_not_cancelled(either_table: EitherTable) -> None:
    either_table.create_copy(copy_of(1))
    job, uncounted = create_jobs(either_table, [f"{DESTINATION}0/", f"{DESTINATION}1/"])
    assert either_table.cancel(job, at(20))
    before = everything(either_table)
    assert not either_table.cancel(uncounted, at(21))
    assert everything(either_table) == before


def test_the_jobs_that_may_still_be_cancelled_are_found(either_table: EitherTable) -> None:
    queued, unasked, asked, running, ended, _ = create(either_table, total_jobs=6)
    create(either_table, copy_id="another")
    launch(either_table, unasked)
    either_table.record_intent(launch(either_table, asked), intent_at(11), at(70), 7)
    run(either_table, running)
    either_table.cancel(ended, at(5))
    found = list(either_table.unlaunched_jobs("c"))
    assert [(job.job_id, job.status) for job in found] == [
        (queued.job_id, JobStatus.QUEUED),
        (unasked.job_id, JobStatus.LAUNCHING),
        ("000006", JobStatus.QUEUED),
    ]
    assert all(either_table.cancel(job, at(30)) for job in found)


STOPS = {
    "all": Paused("all", timestamp(at(1)), "me", "a maintenance window"),
    "project": Paused(f"project {PROJECT}", timestamp(at(1))),
    "copy": Paused("copy c", timestamp(at(1)), reason="wait"),
}


@pytest.mark.parametrize("what", STOPS)
def test_what_is_paused_is_not_claimed_until_it_is_resumed(either_table: EitherTable, what: str) -> None:
    (job,) = create(either_table)
    copy_id = "c" if what == "copy" else None
    assert either_table.pause(STOPS[what], copy_id)
    assert either_table.pauses() == [STOPS[what]]
    assert either_table.stops() == Stops(frozenset({STOPS[what].subject}))
    before = everything(either_table)
    assert claim(either_table, job) is Claim.STOPPED
    assert everything(either_table) == before
    assert either_table.resume(STOPS[what].subject, at(9), copy_id)
    assert (either_table.pauses(), either_table.stops()) == ([], Stops())
    assert claim(either_table, job) is Claim.CLAIMED


@pytest.mark.parametrize("subject", ["project another", "copy another", "copy c2", "project ica-projec"])
def test_a_pause_of_something_else_stops_nothing(either_table: EitherTable, subject: str) -> None:
    (job,) = create(either_table)
    either_table.pause(Paused(subject, timestamp(at(1))))
    assert claim(either_table, job) is Claim.CLAIMED


def test_a_claim_that_finds_no_slot_is_told_so_while_something_else_is_paused(either_table: EitherTable) -> None:
    first, second = create(either_table, total_jobs=2)
    either_table.pause(Paused("copy another", timestamp(at(1))))
    launch(either_table, first)
    assert claim(either_table, second, slots=Slots(1, 1)) is Claim.NO_SLOT


def test_what_runs_when_it_is_paused_goes_on(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    running = run(either_table, job)
    either_table.pause(STOPS["all"])
    assert either_table.mark_passed(running, passed(running), at(30))


def test_the_last_pause_of_a_subject_counts(either_table: EitherTable) -> None:
    either_table.pause(STOPS["all"])
    again = replace(STOPS["all"], since=timestamp(at(5)), by="another")
    either_table.pause(again)
    assert either_table.pauses() == [again]
    either_table.resume("all", at(9))
    assert either_table.stops() == Stops()


def test_a_paused_copy_shows_it(either_table: EitherTable) -> None:
    create(either_table)
    either_table.pause(STOPS["copy"], "c")
    copy = either_table.get_copy("c")
    assert copy
    assert copy.paused_at == timestamp(at(1))
    either_table.resume("copy c", at(9), "c")
    copy = either_table.get_copy("c")
    assert copy
    assert copy.paused_at is None


@pytest.mark.parametrize("task_tokens", [(), ("token",)])
def test_a_copy_that_is_made_paused_is_paused_from_its_first_moment_and_only_once(
    either_table: EitherTable, task_tokens: tuple[str, ...]
) -> None:
    held = replace(copy_of(task_tokens=task_tokens), paused_at=timestamp(at(1)))
    assert either_table.create_copy(held) is None
    assert either_table.get_copy("c") == held
    assert either_table.pauses() == [Paused("copy c", timestamp(at(1)), reason="held since it was submitted")]
    assert either_table.copies_waited_for(at(1)) == ["c"] * len(task_tokens)
    (job,) = create_jobs(either_table, [DESTINATION])
    assert claim(either_table, job) is Claim.STOPPED
    assert either_table.resume("copy c", at(5), "c")
    before = everything(either_table)
    assert either_table.create_copy(held), "it is there already"
    assert everything(either_table) == before
    assert claim(either_table, job) is Claim.CLAIMED


@pytest.mark.parametrize("subject", ["all", f"project {PROJECT}"])
def test_it_is_known_when_the_last_pause_was_ended(either_table: EitherTable, subject: str) -> None:
    pause = Paused(subject, timestamp(at(1)))
    assert not either_table.resume(subject, at(1)), "there is none yet"
    assert either_table.resumed() == {}
    either_table.pause(pause)
    assert either_table.resumed() == {}
    assert either_table.resume(subject, at(5))
    assert either_table.resumed() == {subject: timestamp(at(5))}
    before = everything(either_table)
    assert not either_table.resume(subject, at(6)), "another was faster"
    assert everything(either_table) == before
    either_table.pause(pause)
    assert either_table.pauses() == [pause]
    assert either_table.resumed() == {}
    assert either_table.resume(subject, at(7))
    assert either_table.resumed() == {subject: timestamp(at(7))}


def test_a_copy_knows_when_its_last_pause_was_ended(either_table: EitherTable) -> None:
    create(either_table)
    assert not either_table.resume("copy c", at(4), "c"), "there is none yet"
    assert either_table.get_copy("c") == replace(copy_of(), resumed_at=None)
    either_table.pause(STOPS["copy"], "c")
    assert either_table.resume("copy c", at(5), "c")
    assert not either_table.resume("copy c", at(6), "c"), "another was faster"
    assert either_table.get_copy("c") == replace(copy_of(), resumed_at=timestamp(at(5)))
    assert either_table.resumed() == {}


@pytest.mark.parametrize("published", [False, True])
def test_a_copy_that_is_not_there_or_has_settled_is_not_paused(either_table: EitherTable, published: bool) -> None:
    settle(either_table)
    if published:
        publish(either_table)
    before = everything(either_table)
    assert not either_table.pause(STOPS["copy"], "c")
    assert not either_table.pause(Paused("copy nobody", timestamp(at(1))), "nobody")
    assert not either_table.resume("copy nobody", at(9), "nobody")
    assert everything(either_table) == before
    either_table.pause(Paused("copy nobody", timestamp(at(1))))
    before = everything(either_table)
    assert not either_table.resume("copy nobody", at(9), "nobody"), "it makes no copy"
    assert everything(either_table) == before


def test_of_a_cancelled_copy_nothing_is_claimed(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    (another,) = create(either_table, copy_id="another")
    assert either_table.mark_cancelled("c", at(5))
    assert either_table.mark_cancelled("c", at(6)), "again changes nothing"
    copy = either_table.get_copy("c")
    assert copy
    assert copy.cancelled_at == timestamp(at(5))
    assert either_table.stops() == Stops(cancelled=frozenset({"c"}))
    assert claim(either_table, job) is Claim.STOPPED
    assert claim(either_table, another) is Claim.CLAIMED
    either_table.forget_cancelled("c")
    assert either_table.stops() == Stops()


def test_a_copy_that_is_not_there_or_has_settled_is_not_cancelled(either_table: EitherTable) -> None:
    settle(either_table)
    before = everything(either_table)
    assert not either_table.mark_cancelled("c", at(30))
    assert not either_table.mark_cancelled("nobody", at(30))
    assert everything(either_table) == before


@pytest.mark.parametrize("status", JobStatus)
def test_only_a_job_that_has_failed_or_was_cancelled_is_redriven(either_table: EitherTable, status: JobStatus) -> None:
    job = in_status(either_table, status)
    may = status in (JobStatus.FAILED, JobStatus.CANCELLED)
    assert either_table.mark_redriven(job, "c.r1") is may
    assert now(either_table, job).redriven_as == ("c.r1" if may else None)


def test_a_job_is_redriven_by_one_copy(either_table: EitherTable) -> None:
    job = in_status(either_table, JobStatus.CANCELLED)
    assert either_table.mark_redriven(job, "c.r1")
    assert either_table.mark_redriven(job, "c.r1"), "the same again"
    assert not either_table.mark_redriven(job, "c.job000001")
    assert now(either_table, job).redriven_as == "c.r1"


def test_a_copy_knows_its_redrives_and_what_it_redrives(either_table: EitherTable) -> None:
    create(either_table)
    either_table.create_copy(replace(copy_of(copy_id="c.r1"), redrive_of="c", tags={"run": "231109"}))
    either_table.mark_copy_redriven("c", "c.r1")
    either_table.mark_copy_redriven("c", "c.r1")
    origin, redrive = either_table.get_copy("c"), either_table.get_copy("c.r1")
    assert origin
    assert redrive
    assert (origin.redriven_as, origin.redrive_of) == (frozenset({"c.r1"}), None)
    assert (redrive.redriven_as, redrive.redrive_of, redrive.tags) == (frozenset(), "c", {"run": "231109"})


def test_a_job_keeps_the_attempts_of_the_job_that_it_redrives(either_table: EitherTable) -> None:
    (job,) = create(either_table)
    ended = replace(
        run(either_table, job).ended_attempt("FAILED", "disk full", at(20)), ica_created_at=timestamp(at(11))
    )
    either_table.create_copy(copy_of(copy_id="c.r1"))
    either_table.create_jobs("c.r1", [PlannedJob(DESTINATION, tuple(SOURCES), (ended,))], CopyOptions(), at(30))
    (redriven,) = either_table.jobs("c.r1")
    assert (redriven.former, redriven.attempts, redriven.tried) == ((ended,), (), (ended,))
    assert (redriven.has_failed_before, redriven.failed_attempts) == (True, 0)


def test_the_jobs_after_one_are_read_in_order(either_table: EitherTable) -> None:
    create(either_table, total_jobs=3)
    create(either_table, copy_id="d")
    assert [job.job_id for job in either_table.jobs("c", after="000001")] == ["000002", "000003"]
    assert [job.job_id for job in either_table.jobs("c", after="000003")] == []
    assert [job.job_id for job in either_table.jobs("c")] == ["000001", "000002", "000003"]


# --- accepting a copy ------------------------------------------------------------------------------------------------


def test_a_new_copy_is_written_whole(either_table: EitherTable) -> None:
    names = {"8a4c7e52-0b1f-4d3a-b6e9-5f2c8d7a6b10": "a [project] called #1.é", "another-id": "x"}
    copy = replace(copy_of(3, task_tokens=["one", "two"]), project_names=names, max_sources_per_job=500)
    assert either_table.create_copy(copy) is None
    assert either_table.get_copy("c") == copy
    assert (copy.status, copy.is_settled, copy.is_published) == (CopyStatus.OPEN, False, False)
    either_table.mark_ingested("c", at(5))
    either_table.mark_delayed("c", at(3600))
    expected = replace(copy, ingested_at=timestamp(at(5)), delayed_at=timestamp(at(3600)))
    assert either_table.get_copy("c") == expected


def test_what_happens_to_a_copy_later_is_not_written_with_it(either_table: EitherTable) -> None:
    moment = timestamp(at(1))
    either_table.create_copy(replace(copy_of(), ingested_at=moment, settled_at=moment, delayed_at=moment))
    assert either_table.get_copy("c") == copy_of()


@pytest.mark.parametrize("task_tokens", [[], ["one"]])
def test_a_copy_that_is_there_is_handed_back_and_not_overwritten(
    either_table: EitherTable, task_tokens: list[str]
) -> None:
    first = copy_of(3, task_tokens=task_tokens)
    either_table.create_copy(first)
    before = everything(either_table)
    again = replace(first, digest="another", submitted_at=timestamp(at(9)), total_jobs=5, open_jobs=5)
    assert either_table.create_copy(again) == first
    assert everything(either_table) == before


def test_there_may_be_no_such_copy_or_job(either_table: EitherTable) -> None:
    assert either_table.get_copy("c") is None
    assert either_table.get_job("c", "000001") is None
    assert list(either_table.jobs("c")) == []


def test_jobs_of_a_cancelled_copy_that_were_never_written_are_counted_as_cancelled_once(
    either_table: EitherTable,
) -> None:
    either_table.create_copy(copy_of(5))
    (first,) = create_jobs(either_table, [DESTINATION])
    assert either_table.count_jobs("c") == 1
    assert not either_table.count_unwritten("c", 4, at(20)), "nobody has cancelled it"
    assert not either_table.count_unwritten("nobody", 4, at(20))
    either_table.mark_cancelled("c", at(5))
    assert either_table.count_unwritten("c", 4, at(20))
    counted = either_table.get_copy("c")
    moment = timestamp(at(20))
    expected = replace(copy_of(5), open_jobs=1, cancelled_jobs=4, settled_at=moment, ingested_at=moment)
    assert counted == replace(expected, cancelled_at=timestamp(at(5)))
    before = everything(either_table)
    assert not either_table.count_unwritten("c", 4, at(30)), "another was faster"
    assert everything(either_table) == before
    assert either_table.cancel(first, at(40))
    settled = either_table.begin_publication("c", at(50), at(60))
    assert settled
    assert (settled.cancelled_jobs, settled.is_settled) == (5, True)


def test_a_cancelled_copy_of_which_all_is_written_counts_as_ingested_and_nothing_else_changes(
    either_table: EitherTable,
) -> None:
    create(either_table)
    either_table.mark_cancelled("c", at(5))
    before = either_table.get_copy("c")
    assert before
    assert either_table.count_unwritten("c", 0, at(20))
    assert either_table.get_copy("c") == replace(before, ingested_at=timestamp(at(20)))


def test_jobs_are_numbered_in_their_order_however_they_are_written(either_table: EitherTable) -> None:
    planned = [PlannedJob(f"icav2://to/{number}/", (f"icav2://from/{number}",)) for number in range(25)]
    either_table.create_jobs("c", planned, CopyOptions(), at(0))
    jobs = list(either_table.jobs("c"))
    assert [job.job_id for job in jobs] == [f"{number:06d}" for number in range(1, 26)]
    assert [(job.destination, job.sources) for job in jobs] == [
        (f"icav2://to/{number}/", (f"icav2://from/{number}",)) for number in range(25)
    ]
    assert {(job.status, job.attempt, job.queued_at, job.due_at) for job in jobs} == {
        (JobStatus.QUEUED, 1, timestamp(at(0)), None)
    }
    assert either_table.jobs_in(JobStatus.QUEUED) == [], "the index holds none that is not due"


def test_jobs_are_written_in_portions_and_the_last_of_them_is_told(either_table: EitherTable) -> None:
    planned = [PlannedJob(f"icav2://to/{number}/", tuple(SOURCES)) for number in range(12)]
    assert either_table.jobs_written("c") == 0
    either_table.create_jobs("c", planned[:10], CopyOptions(), at(0))
    create(either_table, copy_id="d", total_jobs=11)
    assert either_table.jobs_written("c") == 10
    either_table.create_jobs("c", planned[10:], CopyOptions(), at(5), first=11)
    assert either_table.jobs_written("c") == 12
    assert [job.destination for job in either_table.jobs("c")] == [job.destination for job in planned]


def test_the_last_job_that_is_written_is_told_whatever_else_there_is_of_its_copy(either_table: EitherTable) -> None:
    either_table.create_copy(copy_of())
    assert either_table.jobs_written("c") == 0
    many = tuple(f"icav2://from/{each}-{hash_of(each)}" for each in range(50))
    either_table.create_jobs("c", [PlannedJob(DESTINATION, many)] * 3, CopyOptions(), at(0))
    assert either_table.jobs_written("c") == 3


def test_jobs_of_few_and_of_many_sources_keep_them(either_table: EitherTable) -> None:
    many = [[f"icav2://from/{number}/{each}-{hash_of(each)}" for each in range(number * 20)] for number in range(1, 5)]
    planned = [PlannedJob(f"icav2://to/{number}/", tuple(sources)) for number, sources in enumerate(many)]
    doubles.create_due_jobs(either_table, "c", planned, CopyOptions(), at(0), at(900))
    assert [list(job.sources) for job in either_table.jobs("c")] == many
    for job in either_table.jobs("c"):
        assert now(either_table, job) == job


def hash_of(number: int) -> str:
    """Something that does not pack well."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_slots_in_use_are_told_by_project(either_table: EitherTable) -> None:
    assert either_table.slots_in_use() == {}
    first, second, third = create(either_table, total_jobs=3)
    launch(either_table, first)
    launch(either_table, second)
    running = run(either_table, third, project="another project")
    assert either_table.slots_in_use() == {PROJECT: 2, "another project": 1}
    assert either_table.mark_passed(running, passed(running), at(20))
    assert +either_table.slots_in_use() == {PROJECT: 2}


def test_the_sources_of_a_job_are_never_written_over(either_table: EitherTable) -> None:
    """A submission that is delivered again may be planned otherwise, when parameters have changed since."""
    first, second = ([f"icav2://from/{each}-{hash_of(each)}" for each in range(start, 100)] for start in (0, 50))
    doubles.create_due_jobs(either_table, "c", [PlannedJob(DESTINATION, tuple(first))], CopyOptions(), at(0), at(900))
    running = run(either_table, next(either_table.jobs("c")))
    either_table.create_jobs("c", [PlannedJob(DESTINATION, tuple(second))], CopyOptions(), at(50))
    assert now(either_table, running).sources == tuple(first)
    assert [job.sources for job in either_table.jobs("c")] == [tuple(first)]


def test_jobs_are_never_written_over(either_table: EitherTable) -> None:
    """A redelivered submission finds one job running and one ended, and writes the one that was not there."""
    first, second = create(either_table, total_jobs=2)
    run(either_table, first)
    assert either_table.mark_passed(run(either_table, second), passed(second), at(20))
    before = everything(either_table)
    planned = [PlannedJob(f"icav2://elsewhere/{number}/", tuple(SOURCES)) for number in range(3)]
    either_table.create_jobs("c", planned, CopyOptions(), at(50))
    assert set(before) < set(everything(either_table))
    assert [job.destination for job in either_table.jobs("c")][2] == "icav2://elsewhere/2/"


@pytest.mark.parametrize("note", ["mark_ingested", "mark_delayed"])
def test_only_of_a_copy_that_is_there_something_is_noted(either_table: EitherTable, note: str) -> None:
    with pytest.raises(REFUSED_WRITE):
        getattr(either_table, note)("c", at(5))
    assert everything(either_table) == []


def test_a_task_token_is_added_while_the_copy_is_open(either_table: EitherTable) -> None:
    settle(either_table)
    for token in ("one", "two", "one"):
        assert either_table.add_task_token("c", token)
    copy = either_table.get_copy("c")
    assert copy
    assert copy.task_tokens == {"one", "two"}


@pytest.mark.parametrize("end", [CopyStatus.COMPLETED, CopyStatus.FAILED])
def test_a_task_token_is_refused_once_the_copy_is_published(either_table: EitherTable, end: CopyStatus) -> None:
    (job,) = create(either_table)
    running = run(either_table, job)
    if end is CopyStatus.COMPLETED:
        either_table.mark_passed(running, passed(running), at(20))
    else:
        either_table.give_up(running, failed(running), at(20))
    publish(either_table)
    copy = either_table.get_copy("c")
    assert copy
    assert copy.status is end
    before = everything(either_table)
    assert not either_table.add_task_token("c", "late")
    assert everything(either_table) == before


def test_a_task_token_does_not_make_a_copy(either_table: EitherTable) -> None:
    assert not either_table.add_task_token("c", "token")
    assert everything(either_table) == []


# --- publishing ------------------------------------------------------------------------------------------------------


def publish(table: EitherTable, copy_id: str = "c") -> None:
    copy = table.begin_publication(copy_id, at(30), at(210))
    assert copy
    assert table.mark_published(copy, at(31), frozenset())


def test_a_settled_copy_is_published_once(either_table: EitherTable) -> None:
    settle(either_table, task_tokens=["one"])
    copy = either_table.begin_publication("c", at(30), at(210))
    assert copy
    assert (copy.open_jobs, copy.passed_jobs, copy.task_tokens) == (0, 1, frozenset(["one"]))
    assert copy.status is CopyStatus.OPEN
    assert either_table.mark_published(copy, at(31), frozenset())
    published = replace(copy, status=CopyStatus.COMPLETED, published_at=timestamp(at(31)))
    assert either_table.get_copy("c") == replace(published, task_tokens=frozenset())
    before = everything(either_table)
    assert either_table.begin_publication("c", at(1000), at(1180)) is None
    assert everything(either_table) == before


def test_a_copy_with_an_open_job_is_not_published(either_table: EitherTable) -> None:
    job, _ = create(either_table, total_jobs=2)
    either_table.mark_passed(run(either_table, job), passed(job), at(20))
    before = everything(either_table)
    assert either_table.begin_publication("c", at(30), at(210)) is None
    assert everything(either_table) == before


def test_a_copy_that_is_not_there_is_not_published_and_not_made(either_table: EitherTable) -> None:
    assert either_table.begin_publication("c", at(30), at(210)) is None
    with pytest.raises(REFUSED_WRITE):
        either_table.abandon_publication("c")
    assert everything(either_table) == []


def test_a_publication_is_claimed_by_one_until_its_claim_has_run_out(either_table: EitherTable) -> None:
    settle(either_table)
    assert either_table.begin_publication("c", at(30), at(210))
    before = everything(either_table)
    for seconds in (30, 209, 210):
        assert either_table.begin_publication("c", at(seconds), at(390)) is None
    assert everything(either_table) == before
    assert either_table.begin_publication("c", at(210.001), at(390))
    assert either_table.begin_publication("c", at(300), at(480)) is None


def test_an_abandoned_publication_may_be_claimed_at_once(either_table: EitherTable) -> None:
    settle(either_table)
    before = everything(either_table)
    assert either_table.begin_publication("c", at(30), at(210))
    either_table.abandon_publication("c")
    assert everything(either_table) == before
    assert either_table.begin_publication("c", at(31), at(211))


@pytest.mark.parametrize("known", [[], ["one"], ["one", "two"]])
def test_a_copy_is_not_marked_published_while_a_task_token_is_not_answered(
    either_table: EitherTable, known: list[str]
) -> None:
    settle(either_table, task_tokens=known)
    copy = either_table.begin_publication("c", at(30), at(210))
    assert copy
    assert either_table.add_task_token("c", "late")
    before = everything(either_table)
    assert not either_table.mark_published(copy, at(31), frozenset())
    assert everything(either_table) == before
    reread = either_table.get_copy("c")
    assert reread
    assert reread.task_tokens == {*known, "late"}
    assert either_table.mark_published(reread, at(32), frozenset())


def test_a_published_copy_keeps_the_task_tokens_that_are_to_be_answered_yet(either_table: EitherTable) -> None:
    settle(either_table, task_tokens=["one", "two"])
    copy = either_table.begin_publication("c", at(30), at(210))
    assert copy
    assert either_table.mark_published(copy, at(31), frozenset(["two"]))
    published = replace(copy, status=CopyStatus.COMPLETED, published_at=timestamp(at(31)))
    assert either_table.get_copy("c") == replace(published, task_tokens=frozenset(["two"]))


# --- tasks that wait for a copy --------------------------------------------------------------------------------------


def test_a_copy_is_waited_for_from_its_first_task_token_on(either_table: EitherTable) -> None:
    create(either_table, copy_id="nobody")
    create(either_table, copy_id="with", task_tokens=["one"])
    create(either_table, copy_id="later")
    assert either_table.copies_waited_for(at(0)) == ["with"]
    assert either_table.add_task_token("later", "two")
    assert either_table.copies_waited_for(at(0)) == ["later", "with"]


def test_a_copy_that_is_there_already_is_not_waited_for_by_the_submission_that_comes_again(
    either_table: EitherTable,
) -> None:
    settle(either_table)
    publish(either_table)
    before = everything(either_table)
    assert either_table.create_copy(copy_of(task_tokens=["one"]))
    assert not either_table.add_task_token("c", "one")
    assert everything(either_table) == before


def test_those_are_first_that_have_waited_longest_for_a_heartbeat(either_table: EitherTable) -> None:
    for copy_id in "abc":
        create(either_table, copy_id=copy_id, task_tokens=["one"])
    assert either_table.note_heartbeat("a", at(20))
    assert either_table.note_heartbeat("c", at(10))
    assert either_table.copies_waited_for(at(21)) == ["b", "c", "a"]
    assert either_table.copies_waited_for(at(20)) == ["b", "c"]
    assert either_table.add_task_token("a", "two"), "which has had no heartbeat yet"
    assert either_table.copies_waited_for(at(10)) == ["a", "b"]


def test_a_copy_that_is_forgotten_is_not_put_back_by_a_poller_that_is_late(either_table: EitherTable) -> None:
    create(either_table, task_tokens=["one"])
    either_table.forget_waiting("c")
    assert either_table.copies_waited_for(at(1000)) == []
    before = everything(either_table)
    assert not either_table.note_heartbeat("c", at(20))
    either_table.forget_waiting("c")
    assert everything(either_table) == before


def test_a_task_token_is_dropped_once_and_for_its_copy_alone(either_table: EitherTable) -> None:
    create(either_table, task_tokens=["one", "two"])
    create(either_table, copy_id="d", task_tokens=["one"])
    for _ in range(2):
        either_table.drop_task_token("c", "one")
        tokens = [copy.task_tokens for copy in map(either_table.get_copy, "cd") if copy]
        assert tokens == [{"two"}, {"one"}]
    either_table.drop_task_token("c", "two")
    copy = either_table.get_copy("c")
    assert copy
    assert copy.task_tokens == frozenset()


def test_the_task_token_of_a_copy_that_is_not_there_does_not_make_one(either_table: EitherTable) -> None:
    either_table.drop_task_token("c", "one")
    assert everything(either_table) == []


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", JobStatus)
def test_the_index_holds_the_open_jobs_and_what_the_poller_needs_of_them(
    either_table: EitherTable, status: JobStatus
) -> None:
    job = in_status(either_table, status)
    if status not in ENDED:
        either_table.postpone(job, at(5000), doubles.hold("held up"))
        job = now(either_table, job)
    found = [] if status in ENDED else [OpenJob(**{each.name: getattr(job, each.name) for each in fields(OpenJob)})]
    listed = {each: either_table.jobs_in(each) for each in JobStatus}
    assert listed == {each: [] for each in JobStatus} | {status: found}


def submit(table: EitherTable, copy_id: str, day: float, **more: Any) -> None:
    table.create_copy(replace(copy_of(copy_id=copy_id), submitted_at=timestamp(on(day)), **more))


def submitted(
    table: EitherTable, since: float = -400, until: float = 400, limit: int = 9, before: SubmittedCopy | None = None
) -> list[str]:
    return [copy.copy_id for copy in table.submitted_copies(on(since), on(until), limit, before)]


def on(day: float) -> datetime:
    return at(day * 86400)


DAYS = {"old": 0, "leap": 30, "second": 31, "late": 58, "newest": 59}
"""From the first of January 2026."""


def test_copies_are_listed_newest_first(either_table: EitherTable) -> None:
    """Also over the ends of months and of a year, by which the index is divided."""
    for copy_id, day in DAYS.items():
        submit(either_table, copy_id, day)
    assert submitted(either_table) == ["newest", "late", "second", "leap", "old"]
    assert submitted(either_table, limit=3) == ["newest", "late", "second"]
    assert submitted(either_table, 31, 58) == ["late", "second"], "both ends are in it"
    assert submitted(either_table, 32, 57) == []
    assert submitted(either_table, 100, 200) == []
    assert submitted(either_table, 58, 57) == [], "a time that ends before it begins"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_list_of_copies_goes_on_where_a_page_has_ended(either_table: EitherTable, size: int) -> None:
    """Also where a month ends there, and among copies of the same moment."""
    for copy_id, day in DAYS.items():
        submit(either_table, copy_id, day)
        submit(either_table, f"{copy_id}-too", day)
    found: list[str] = []
    before = None
    while page := either_table.submitted_copies(on(0), on(59), size, before):
        found += [copy.copy_id for copy in page]
        before = page[-1]
    assert sorted(found) == sorted([*DAYS, *(f"{copy_id}-too" for copy_id in DAYS)])
    assert submitted(either_table, -400, -1, before=before) == []


def test_a_list_that_goes_on_after_a_copy_outside_its_time_begins_with_it(either_table: EitherTable) -> None:
    for copy_id, day in DAYS.items():
        submit(either_table, copy_id, day)
    (newest,) = either_table.submitted_copies(on(0), on(59), 1)
    assert submitted(either_table, 30, 58, before=newest) == ["late", "second", "leap"]
    *_, old = either_table.submitted_copies(on(0), on(59), 9)
    assert submitted(either_table, 30, 58, before=old) == []


def test_a_submitted_copy_is_as_it_was_submitted(either_table: EitherTable) -> None:
    submit(either_table, "plain", 0)
    submit(either_table, "more", 1, total_jobs=3, tags={"run": "42", "lab": "none"}, redrive_of="plain")
    assert either_table.submitted_copies(on(0), on(1), 9) == [
        SubmittedCopy("more", timestamp(on(1)), 3, {"run": "42", "lab": "none"}, "plain"),
        SubmittedCopy("plain", timestamp(on(0)), 1),
    ]


def test_copies_are_read_as_they_are_now_in_the_order_asked_for(either_table: EitherTable) -> None:
    settle(either_table)
    create(either_table, total_jobs=2, copy_id="open")
    either_table.mark_delayed("open", at(40))
    copy = either_table.begin_publication("c", at(30), at(90))
    assert copy
    assert either_table.mark_published(copy, at(31), frozenset())
    read = either_table.get_copies(["open", "nobody", "c"])
    assert read == [either_table.get_copy("open"), either_table.get_copy("c")]
    assert (read[0].open_jobs, read[0].delayed_at) == (2, timestamp(at(40)))
    assert (read[1].status, read[1].published_at, read[1].settled_at) == (
        CopyStatus.COMPLETED,
        timestamp(at(31)),
        timestamp(at(20)),
    )
    assert either_table.get_copies([]) == []


def test_more_copies_are_read_than_one_request_brings(either_table: EitherTable) -> None:
    names = [f"copy-{number}" for number in range(101)]
    for copy_id in names:
        either_table.create_copy(copy_of(copy_id=copy_id))
    assert [copy.copy_id for copy in either_table.get_copies([*names, names[0]])] == [*names, names[0]]


def test_jobs_of_all_copies_are_found_by_when_they_are_due(either_table: EitherTable) -> None:
    for copy_id in ("c", "d"):
        create(either_table, total_jobs=2, copy_id=copy_id)
    first, second = either_table.jobs("d")
    either_table.postpone(first, at(1000))
    either_table.postpone(second, at(100))

    def found(due_before: datetime | None) -> list[tuple[str, str]]:
        return [(job.copy_id, job.job_id) for job in either_table.jobs_in(JobStatus.QUEUED, due_before)]

    every = [("d", "000002"), *sorted([("c", "000001"), ("c", "000002")]), ("d", "000001")]
    assert found(None)[0] == every[0], "what is due first comes first"
    assert found(None)[-1] == every[-1]
    assert sorted(found(None)) == sorted(every)
    assert found(at(100)) == []
    assert found(at(101)) == [("d", "000002")]
    assert sorted(found(at(901))) == sorted(every[:3])
    assert sorted(found(at(1001))) == sorted(every)


def test_only_copies_that_are_not_published_are_open_the_oldest_first(either_table: EitherTable) -> None:
    settle(either_table, "early", seconds=20)
    settle(either_table, "late", seconds=40)
    settle(either_table, "published", seconds=20)
    publish(either_table, "published")
    create(either_table, copy_id="open")
    job, _ = create(either_table, total_jobs=2, copy_id="half")
    either_table.mark_passed(run(either_table, job), passed(job), at(20))
    either_table.create_copy(replace(copy_of(copy_id="later"), submitted_at=timestamp(at(10))))
    copies = either_table.open_copies()
    assert copies[-1].copy_id == "later"
    assert sorted((each.copy_id, each.submitted_at, each.open_jobs) for each in copies) == [
        ("early", timestamp(at(0)), 0),
        ("half", timestamp(at(0)), 1),
        ("late", timestamp(at(0)), 0),
        ("later", timestamp(at(10)), 1),
        ("open", timestamp(at(0)), 1),
    ]

    def unpublished(settled_before: datetime) -> list[str]:
        return sorted(each.copy_id for each in copies if each.is_unpublished(settled_before))

    assert unpublished(at(20)) == []
    assert unpublished(at(40)) == ["early"]
    assert unpublished(at(41)) == ["early", "late"]


def test_only_copies_whose_jobs_may_not_all_be_written_are_found_to_be_unfinished(either_table: EitherTable) -> None:
    for copy_id in ("unfinished", "ingested"):
        create(either_table, copy_id=copy_id)
    either_table.mark_ingested("ingested", at(1))
    either_table.create_copy(replace(copy_of(copy_id="later"), submitted_at=timestamp(at(10))))
    settle(either_table, "published")
    publish(either_table, "published")
    assert either_table.unfinished_copies(at(0)) == []
    assert either_table.unfinished_copies(at(10)) == ["unfinished"]
    assert either_table.unfinished_copies(at(11)) == ["unfinished", "later"]


# --- one at a time ---------------------------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_until_it_has_run_out(either_table: EitherTable) -> None:
    assert either_table.hold_lease("poller", "one", at(0), at(60))
    before = everything(either_table)
    for seconds in (0, 59, 60):
        assert not either_table.hold_lease("poller", "two", at(seconds), at(seconds + 60))
    assert everything(either_table) == before
    assert either_table.hold_lease("poller", "two", at(60.001), at(120))
    assert not either_table.hold_lease("poller", "one", at(61), at(121))


def test_a_lease_is_renewed_by_its_owner_before_it_has_run_out(either_table: EitherTable) -> None:
    assert either_table.hold_lease("poller", "one", at(0), at(60))
    assert either_table.hold_lease("poller", "one", at(30), at(90))
    assert not either_table.hold_lease("poller", "two", at(61), at(121))


def test_leases_of_different_names_have_nothing_to_do_with_each_other(either_table: EitherTable) -> None:
    assert either_table.hold_lease("poller", "one", at(0), at(60))
    assert either_table.hold_lease("another", "two", at(0), at(90))
    assert [either_table.lease_until(name) for name in ("poller", "another", "no such lease")] == [
        timestamp(at(60)),
        timestamp(at(90)),
        None,
    ]


def test_a_dropped_lease_is_free(either_table: EitherTable) -> None:
    assert either_table.hold_lease("poller", "one", at(0), at(60))
    either_table.drop_lease("poller", "one")
    assert everything(either_table) == []
    assert either_table.lease_until("poller") is None
    assert either_table.hold_lease("poller", "two", at(1), at(61))


def test_a_lease_is_not_dropped_by_one_who_has_lost_it(either_table: EitherTable) -> None:
    assert either_table.hold_lease("poller", "one", at(0), at(60))
    assert either_table.hold_lease("poller", "two", at(61), at(121))
    before = everything(either_table)
    either_table.drop_lease("poller", "one")
    assert everything(either_table) == before
    either_table.drop_lease("no such lease", "one")
    assert everything(either_table) == before


# --- how attempts end ------------------------------------------------------------------------------------------------


def test_how_the_last_attempts_into_a_project_have_ended_is_kept(either_table: EitherTable) -> None:
    assert either_table.outcomes("p") == Outcomes()
    first = Outcomes().plus(1, 2, at(10))
    assert either_table.replace_outcomes("p", Outcomes(), first)
    assert either_table.outcomes("p") == first
    assert either_table.outcomes("another") == Outcomes()
    second = first.plus(0, 1, at(20))
    assert either_table.replace_outcomes("p", first, second)
    assert either_table.outcomes("p") == second


@pytest.mark.parametrize("seen", [Outcomes(), Outcomes().plus(0, 2, at(10)), Outcomes().plus(6, 0, at(9))])
@pytest.mark.parametrize("when", [10, 11])
def test_of_two_that_add_to_the_same_outcomes_at_once_the_second_has_to_look_again(
    either_table: EitherTable, seen: Outcomes, when: float
) -> None:
    """Also in the same millisecond, and where what is remembered looks the same."""
    if seen.recent:
        assert either_table.replace_outcomes("p", Outcomes(), seen)
    by_another = seen.plus(1, 0, at(when))
    assert either_table.replace_outcomes("p", seen, by_another)
    before = everything(either_table)
    assert not either_table.replace_outcomes("p", seen, seen.plus(0, 1, at(when)))
    assert everything(either_table) == before
    assert either_table.replace_outcomes("p", by_another, by_another.plus(0, 1, at(when)))


def test_what_belongs_to_no_copy_shows_in_no_question_about_copies(either_table: EitherTable) -> None:
    either_table.hold_lease("poller", "one", at(0), at(60))
    either_table.replace_outcomes("p", Outcomes(), Outcomes().plus(0, 1, at(0)))
    (job,) = create(either_table)
    assert requeue(either_table, run(either_table, job))
    either_table.mark_ingested("c", at(1))
    assert [copy.copy_id for copy in either_table.open_copies()] == ["c"]
    assert either_table.unfinished_copies(at(10_000)) == []
    assert [job.copy_id for status in JobStatus for job in either_table.jobs_in(status)] == ["c"]


# --- how fast ICA may be called --------------------------------------------------------------------------------------


def test_nobody_knows_of_a_pace_until_one_is_written(either_table: EitherTable) -> None:
    assert either_table.pace() is None
    pace = first_pace(3, at(0), retry_after=2.5)
    assert either_table.write_pace(pace, seen=None)
    assert either_table.pace() == pace


def test_a_pace_is_read_as_it_was_written(either_table: EitherTable) -> None:
    searching = first_pace(3, at(0), None)
    found = searching.with_answered(7).lowered(at(100), at(100.123456), None)
    moved, _ = found.take(5, at(101.654321))
    for seen, pace in ((None, searching), (searching, found), (found, moved)):
        assert either_table.write_pace(pace, seen)
        assert either_table.pace() == pace


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_that_have_seen_the_same_pace_one_writes(either_table: EitherTable, is_first: bool) -> None:
    """Else two would call at the same moments."""
    seen = None if is_first else first_pace(3, at(0), None)
    if seen:
        assert either_table.write_pace(seen, None)
    one = first_pace(4, at(1), None, seen)
    other = first_pace(5, at(1), None, seen)
    assert either_table.write_pace(one, seen)
    assert not either_table.write_pace(other, seen)
    assert either_table.pace() == one


def test_the_pace_is_not_written_upon_one_that_is_gone(either_table: EitherTable) -> None:
    """DynamoDB may have removed it."""
    gone = first_pace(3, at(0), None)
    assert not either_table.write_pace(first_pace(4, at(1), None, gone), gone)
    assert either_table.pace() is None
