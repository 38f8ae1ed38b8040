"""Copies, jobs and attempts: which moves there are, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from icav2_copy_batch.domain.job import (
    MOVES,
    WHAT_FOLLOWS,
    Attempt,
    Consequences,
    Copy,
    CopyStatus,
    Hold,
    HoldReason,
    Job,
    JobStatus,
    timestamp,
)
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.submit import CopyOptions

QUEUED, LAUNCHING, RUNNING, PASSED, FAILED, CANCELLED = JobStatus
NOW = datetime(2024, 5, 28, 3, 12, 0, 123_999, UTC)

DONE_BY_EACH_VERB = {
    "claim_for_launch": {(QUEUED, LAUNCHING)},
    "release": {(LAUNCHING, QUEUED)},
    "mark_running": {(LAUNCHING, RUNNING)},
    "requeue": {(RUNNING, QUEUED)},
    "mark_passed": {(RUNNING, PASSED)},
    "give_up": {(LAUNCHING, FAILED), (RUNNING, FAILED)},
    "cancel": {(QUEUED, CANCELLED), (LAUNCHING, CANCELLED)},
}
CHANGES = {(source, move.target) for move in MOVES.values() for source in move.sources}


@pytest.mark.parametrize("verb", sorted(DONE_BY_EACH_VERB.keys() | MOVES.keys()))
def test_each_verb_makes_these_moves_and_no_other(verb: str) -> None:
    assert {(source, MOVES[verb].target) for source in MOVES[verb].sources} == DONE_BY_EACH_VERB[verb]


@pytest.mark.parametrize("ended", [PASSED, FAILED, CANCELLED])
def test_a_job_that_has_ended_stays_as_it_is(ended: JobStatus) -> None:
    assert not [target for source, target in CHANGES if source is ended]


@pytest.mark.parametrize(
    ("status", "sources"),
    [
        (LAUNCHING, {QUEUED}),
        (RUNNING, {LAUNCHING}),
        (PASSED, {RUNNING}),
        (FAILED, {LAUNCHING, RUNNING}),
        (CANCELLED, {QUEUED, LAUNCHING}),
    ],
)
def test_each_status_is_reached_only_from_these(status: JobStatus, sources: set[JobStatus]) -> None:
    assert {source for source, target in CHANGES if target is status} == sources


@pytest.mark.parametrize("status", [QUEUED, LAUNCHING, RUNNING])
def test_an_open_job_can_pass_and_can_fail(status: JobStatus) -> None:
    reached = {status}
    while more := {target for source, target in CHANGES if source in reached} - reached:
        reached |= more
    assert {PASSED, FAILED} <= reached


def job(**changes: object) -> Job:
    return replace(Job("copy", "000001", QUEUED, 1), **changes)  # type: ignore[arg-type]


def test_an_attempt_that_ends_takes_along_its_times_and_its_ica_job() -> None:
    running = job(
        status=RUNNING,
        attempt=3,
        queued_at="queued",
        claimed_at="claimed",
        running_at="running",
        ica_job_id="ica-job",
        ica_batch_id="ica-batch",
        reason="of the job, not of the attempt",
    )
    assert running.ended_attempt("FAILED", "disk full", NOW) == Attempt(
        number=3,
        outcome="FAILED",
        ended_at="2024-05-28T03:12:00.123Z",
        queued_at="queued",
        claimed_at="claimed",
        running_at="running",
        ica_job_id="ica-job",
        ica_batch_id="ica-batch",
        reason="disk full",
    )


@pytest.mark.parametrize(("said", "kept"), [(None, None), ("x" * 1000, "x" * 1000), ("x" * 1001, "x" * 1000)])
def test_an_attempt_keeps_the_beginning_of_a_long_reason(said: str | None, kept: str | None) -> None:
    assert job().ended_attempt("FAILED", said, NOW).reason == kept


SOURCES = [f"icav2://p/{number}" for number in range(10)]


def test_an_attempt_has_to_copy_what_no_earlier_one_has() -> None:
    assert job(sources=tuple(SOURCES)).uncopied == SOURCES
    assert job(sources=tuple(SOURCES), copied=frozenset(SOURCES) - set(SOURCES[3:5])).uncopied == SOURCES[3:5]


def test_a_job_of_which_all_is_said_to_be_copied_copies_all_again() -> None:
    """ICA called it failed: a copy batch of nothing would not make it pass."""
    assert job(sources=tuple(SOURCES), copied=frozenset(SOURCES)).uncopied == SOURCES


def test_where_a_copy_batch_may_have_so_many_sources_an_attempt_has_the_first_of_those_left() -> None:
    third = job(sources=tuple(SOURCES), copied=frozenset(SOURCES[:4]), batch_limit=3)
    assert (third.uncopied, third.later, third.due_by_now) == (SOURCES[4:7], SOURCES[7:], SOURCES[:7])
    last = replace(third, copied=frozenset(SOURCES[:8]))
    assert (last.uncopied, last.later, last.due_by_now) == (SOURCES[8:], [], SOURCES)
    whole = replace(third, batch_limit=None)
    assert (whole.uncopied, whole.later, whole.due_by_now) == (SOURCES[4:], [], SOURCES)


def test_an_attempt_keeps_what_became_of_the_sources_that_it_has_not_copied() -> None:
    running = job(status=RUNNING, sources=tuple(SOURCES))
    wrong = [SourceOutcome(SOURCES[3], "FAILED", "disk full"), SourceOutcome(SOURCES[7], "MISSING")]
    ended = running.ended_attempt("FAILED", "2 of 10", NOW, wrong)
    assert replace(running, attempts=(ended,)).last_outcomes == wrong
    again = replace(running, attempts=(ended, running.ended_attempt("REFUSED", "no such project", NOW)))
    assert again.last_outcomes == [], "of the last attempt alone"


@pytest.mark.parametrize(
    ("status", "since"),
    [(QUEUED, "queued"), (LAUNCHING, "claimed"), (RUNNING, "running"), (PASSED, "queued"), (FAILED, "queued")],
)
def test_a_job_knows_since_when_it_is_in_its_status(status: JobStatus, since: str) -> None:
    times = {"queued_at": "queued", "claimed_at": "claimed", "running_at": "running"}
    assert job(status=status, **times).status_since == since


def copy(**changes: object) -> Copy:
    return replace(Copy("copy", "digest", timestamp(NOW), 2, 2, "s3://bucket/manifest"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("open_jobs", "is_settled"), [(2, False), (1, False), (0, True)])
def test_a_copy_is_settled_once_no_job_is_open(open_jobs: int, is_settled: bool) -> None:
    assert copy(open_jobs=open_jobs).is_settled is is_settled


@pytest.mark.parametrize("status", CopyStatus)
def test_a_copy_is_published_once_it_has_left_open(status: CopyStatus) -> None:
    assert copy(status=status).is_published is (status is not CopyStatus.OPEN)


@pytest.mark.parametrize(
    ("passed", "failed", "status"),
    [(2, 0, CopyStatus.COMPLETED), (1, 1, CopyStatus.FAILED), (0, 2, CopyStatus.FAILED)],
)
def test_one_failed_job_makes_a_settled_copy_a_failed_one(passed: int, failed: int, status: CopyStatus) -> None:
    assert copy(open_jobs=0, passed_jobs=passed, failed_jobs=failed).settled_status is status


def test_the_options_of_a_job_are_those_of_the_replaced_tool_unless_said_otherwise() -> None:
    assert job().options == CopyOptions(
        "SKIP", copy_user_tags=True, copy_technical_tags=True, copy_instrument_info=True
    )


def test_a_timestamp_is_utc_with_milliseconds_wherever_the_moment_was_taken() -> None:
    in_melbourne = NOW.astimezone(timezone(timedelta(hours=10)))
    assert timestamp(NOW) == timestamp(in_melbourne) == "2024-05-28T03:12:00.123Z"


def test_timestamps_sort_as_text_in_the_order_of_time() -> None:
    moments = [NOW + timedelta(milliseconds=step) for step in (-(10**9), -877, -1, 0, 1, 876, 10**9)]
    assert sorted(map(timestamp, moments)) == [timestamp(moment) for moment in moments]


def test_what_follows_is_known_of_each_reason_for_which_a_job_is_held() -> None:
    assert WHAT_FOLLOWS.keys() == set(HoldReason)
    assert job().held == Consequences(), "of a job that is not held, nothing follows"
    assert {reason: job(hold=Hold(reason, "")).held for reason in HoldReason} == WHAT_FOLLOWS


def test_a_long_sentence_is_cut_to_what_an_item_can_hold() -> None:
    assert Hold.of(HoldReason.ANSWER_LOST, "x" * 1001) == Hold(HoldReason.ANSWER_LOST, "x" * 1000)
