"""The copy table on moto: every move that is allowed, every one that is not, and the races between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Barrier, Event, Lock
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from pynamodb.exceptions import PutError, QueryError, TransactWriteError, UpdateError

from icav2_copy_batch.adapters.table import CopyItem, CopyTable, DueIndex, JobItem, LeaseItem
from icav2_copy_batch.domain.job import MOVES, Attempt, Copy, CopyStatus, Job, JobStatus, timestamp
from icav2_copy_batch.domain.manifest import CopyOptions, PlannedJob, pack_sources
from tests.integration import clients
from tests.integration.aws_calls import AwsCalls, json_answer, moto
from tests.integration.template import TABLE_NAME, create_copy_table, properties

SOURCES = ["icav2://from/run 1/a.txt", "icav2://from/run 1/é#?%+日本.txt"]
DESTINATION = "icav2://to/run 1/"


def at(seconds: float) -> datetime:
    """So many seconds into the test."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def copy_of(total_jobs: int = 1, copy_id: str = "c", task_tokens: Sequence[str] = ()) -> Copy:
    return Copy(
        copy_id, "digest", timestamp(at(0)), total_jobs, total_jobs, "s3://b/m", task_tokens=frozenset(task_tokens)
    )


def create(table: CopyTable, total_jobs: int = 1, copy_id: str = "c", task_tokens: Sequence[str] = ()) -> list[Job]:
    """A copy with its jobs, all of them queued."""
    table.create_copy(copy_of(total_jobs, copy_id, task_tokens))
    planned = [PlannedJob(f"{DESTINATION}{number}/", pack_sources(SOURCES)) for number in range(total_jobs)]
    table.create_jobs(copy_id, planned, CopyOptions(), at(0), due_at=at(900))
    return list(table.jobs(copy_id))


def now(table: CopyTable, job: Job) -> Job:
    """The job as it is now."""
    read = table.get_job(job.copy_id, job.job_id)
    assert read
    return read


def launch(table: CopyTable, job: Job, seconds: float = 10) -> Job:
    """From QUEUED to LAUNCHING."""
    claimed = table.claim_for_launch(job.copy_id, job.job_id, job.attempt, at(seconds), at(seconds + 1200))
    assert claimed
    return claimed


def run(table: CopyTable, job: Job, seconds: float = 10) -> Job:
    """From QUEUED to RUNNING."""
    claimed = launch(table, job, seconds)
    ica_ids = (f"ica-project-{job.attempt}", f"ica-job-{job.attempt}", f"ica-batch-{job.attempt}")
    assert table.mark_running(claimed, *ica_ids, at(seconds + 1), at(seconds + 1))
    return now(table, job)


def failed(job: Job, seconds: float = 20, reason: str | None = "it failed") -> Attempt:
    return job.ended_attempt("FAILED", reason, at(seconds))


def passed(job: Job, seconds: float = 20) -> Attempt:
    return job.ended_attempt("SUCCEEDED", None, at(seconds))


def settle(table: CopyTable, copy_id: str = "c", task_tokens: Sequence[str] = (), seconds: float = 20) -> None:
    """A copy of one job that has passed."""
    (job,) = create(table, copy_id=copy_id, task_tokens=task_tokens)
    assert table.mark_passed(run(table, job), passed(job), at(seconds))


def everything() -> list[str]:
    """Each item of the table, as it is stored."""
    items = clients.dynamodb().scan(TableName=TABLE_NAME)["Items"]
    return sorted(json.dumps(item, sort_keys=True, default=repr) for item in items)


# --- the moves -------------------------------------------------------------------------------------------------------

MOVE: dict[str, Callable[[CopyTable, Job], object]] = {
    "claim_for_launch": lambda table, job: table.claim_for_launch(
        job.copy_id, job.job_id, job.attempt, at(100), at(1300)
    ),
    "release": lambda table, job: table.release(job, at(100), at(200)),
    "mark_running": lambda table, job: table.mark_running(job, "project", "job", "batch", at(100), at(100)),
    "requeue": lambda table, job: table.requeue(job, failed(job, 100), at(100), at(200)),
    "mark_passed": lambda table, job: table.mark_passed(job, passed(job, 100), at(100)),
    "give_up": lambda table, job: table.give_up(job, failed(job, 100), at(100)),
}
ENDED = (JobStatus.PASSED, JobStatus.FAILED)


def in_status(table: CopyTable, status: JobStatus) -> Job:
    """A job in its second attempt, so that there is one before and one after."""
    (job,) = create(table)
    job = run(table, job)
    table.requeue(job, failed(job), at(20), due_at=at(920))
    job = now(table, job)
    if status is JobStatus.LAUNCHING:
        return launch(table, job, 30)
    if status is not JobStatus.QUEUED:
        job = run(table, job, 30)
    if status is JobStatus.PASSED:
        table.mark_passed(job, passed(job, 40), at(40))
    if status is JobStatus.FAILED:
        table.give_up(job, failed(job, 40), at(40))
    return now(table, job)


def test_every_move_has_one_write_of_its_name() -> None:
    assert MOVE.keys() == MOVES.keys()
    assert all(hasattr(CopyTable, verb) for verb in MOVES)


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("verb", MOVES)
def test_a_move_is_made_from_its_sources_in_the_attempt_under_way_and_else_changes_nothing(
    table: CopyTable, verb: str, status: JobStatus
) -> None:
    job = in_status(table, status)
    assert (job.status, job.attempt) == (status, 2)
    before = everything()
    for another_attempt in (1, 3):
        assert not MOVE[verb](table, replace(job, attempt=another_attempt))
        assert everything() == before
    if status in MOVES[verb].sources:
        assert MOVE[verb](table, job)
        assert now(table, job).status is MOVES[verb].target
    else:
        assert not MOVE[verb](table, job)
        assert everything() == before


@pytest.mark.parametrize("verb", MOVES)
def test_a_job_that_is_not_there_is_not_moved_and_not_made(table: CopyTable, verb: str) -> None:
    create(table)
    before = everything()
    assert not MOVE[verb](table, Job("c", "000002", JobStatus.QUEUED, attempt=1))
    assert everything() == before


@pytest.mark.parametrize("verb", MOVES)
def test_a_move_that_dynamodb_cannot_make_is_an_error_and_not_a_refusal(
    table: CopyTable, aws: AwsCalls, verb: str
) -> None:
    job = in_status(table, MOVES[verb].sources[0])
    before = everything()
    for operation in ("UpdateItem", "TransactWriteItems"):
        aws.refuse(operation, "AccessDeniedException")
    with pytest.raises((UpdateError, TransactWriteError)) as raised:
        MOVE[verb](table, job)
    assert raised.value.cause_response_code == "AccessDeniedException"
    assert everything() == before


def test_a_claim_brings_the_whole_job(table: CopyTable) -> None:
    options = CopyOptions("OVERWRITE", copy_user_tags=False, copy_technical_tags=True, copy_instrument_info=False)
    table.create_copy(copy_of())
    table.create_jobs("c", [PlannedJob(DESTINATION, pack_sources(SOURCES))], options, at(0), due_at=at(900))
    job = table.claim_for_launch("c", "000001", 1, at(10), at(1210))
    assert job == Job(
        copy_id="c",
        job_id="000001",
        status=JobStatus.LAUNCHING,
        attempt=1,
        destination=DESTINATION,
        packed_sources=pack_sources(SOURCES),
        options=options,
        queued_at=timestamp(at(0)),
        claimed_at=timestamp(at(10)),
        due_at=timestamp(at(1210)),
    )
    assert job.sources == SOURCES
    assert table.get_job("c", "000001") == job


@pytest.mark.parametrize("action", ["SKIP", "OVERWRITE", "RENAME"])
@pytest.mark.parametrize("flag", ["copy_user_tags", "copy_technical_tags", "copy_instrument_info"])
def test_options_come_back_as_they_were_written(table: CopyTable, action: str, flag: str) -> None:
    options = replace(CopyOptions(action), **{flag: False})  # type: ignore[arg-type]
    table.create_jobs("c", [PlannedJob(DESTINATION, b"")], options, at(0), at(900))
    assert [job.options for job in table.jobs("c")] == [options]


def test_a_released_job_is_queued_in_the_same_attempt(table: CopyTable) -> None:
    (job,) = create(table)
    claimed = launch(table, job)
    assert table.release(claimed, at(30), due_at=at(930))
    expected = replace(job, queued_at=timestamp(at(30)), due_at=timestamp(at(930)))
    assert now(table, job) == expected
    assert launch(table, expected, 40).claimed_at == timestamp(at(40))


@pytest.mark.parametrize("status", [status for status in JobStatus if status not in ENDED])
def test_a_postponed_job_is_due_at_another_moment_and_else_the_same(table: CopyTable, status: JobStatus) -> None:
    job = in_status(table, status)
    assert table.postpone(job, at(5000))
    assert now(table, job) == replace(job, due_at=timestamp(at(5000)))


def test_a_job_that_has_ended_since_it_was_seen_is_not_due_again(table: CopyTable) -> None:
    seen = in_status(table, JobStatus.LAUNCHING)
    table.give_up(seen, failed(seen), at(50))
    before = everything()
    assert not table.postpone(seen, at(5000))
    assert everything() == before


@pytest.mark.parametrize(
    "otherwise",
    [{"status": JobStatus.LAUNCHING}, {"attempt": 1}, {"attempt": 3}, {"due_at": timestamp(at(1))}],
    ids=str,
)
def test_a_job_that_is_not_as_it_was_seen_is_not_postponed(table: CopyTable, otherwise: dict[str, Any]) -> None:
    job = in_status(table, JobStatus.QUEUED)
    before = everything()
    assert not table.postpone(replace(job, **otherwise), at(5000))
    assert everything() == before


def test_of_two_pollers_that_find_a_job_overdue_one_sees_to_it(table: CopyTable) -> None:
    (job,) = create(table)
    assert [table.postpone(job, at(5000)), table.postpone(job, at(5001))] == [True, False]
    assert now(table, job).due_at == timestamp(at(5000))


def test_a_running_job_knows_its_copy_batch(table: CopyTable) -> None:
    (job,) = create(table)
    claimed = launch(table, job)
    assert table.mark_running(claimed, "ica-project", "ica-job", "ica-batch", at(11), due_at=at(12))
    assert now(table, job) == replace(
        claimed,
        status=JobStatus.RUNNING,
        ica_project_id="ica-project",
        ica_job_id="ica-job",
        ica_batch_id="ica-batch",
        running_at=timestamp(at(11)),
        due_at=timestamp(at(12)),
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
    )


def test_a_requeued_job_is_as_new_but_for_its_history(table: CopyTable) -> None:
    (job,) = create(table)
    running = run(table, job, 10)
    assert table.requeue(running, failed(running, 20), at(21), due_at=at(921))
    assert now(table, job) == replace(
        job,
        attempt=2,
        attempts=(attempt_of(1, "FAILED", 0, 10, "it failed"),),
        queued_at=timestamp(at(21)),
        due_at=timestamp(at(921)),
        ica_project_id="ica-project-1",
    )


@pytest.mark.parametrize("first_attempts", [0, 1, 2])
@pytest.mark.parametrize("end", [JobStatus.PASSED, JobStatus.FAILED])
def test_the_history_holds_every_attempt_with_all_its_times(
    table: CopyTable, end: JobStatus, first_attempts: int
) -> None:
    (job,) = create(table)
    expected, queued = [], 0.0
    for number in range(1, first_attempts + 1):
        running = run(table, job, number * 100)
        assert table.requeue(running, failed(running, number * 100 + 10), at(number * 100 + 11), at(5000))
        expected.append(attempt_of(number, "FAILED", queued, number * 100, "it failed"))
        job, queued = now(table, job), number * 100 + 11
    last = first_attempts + 1
    running = run(table, job, last * 100)
    if end is JobStatus.PASSED:
        assert table.mark_passed(running, passed(running, last * 100 + 10), at(last * 100 + 12))
        expected.append(attempt_of(last, "SUCCEEDED", queued, last * 100, None))
    else:
        assert table.give_up(running, failed(running, last * 100 + 10, "for good"), at(last * 100 + 12))
        expected.append(attempt_of(last, "FAILED", queued, last * 100, "for good"))
    assert '"NULL"' not in "".join(everything()), "what is not known is not stored"
    assert now(table, job) == replace(
        running,
        status=end,
        attempts=tuple(expected),
        ended_at=timestamp(at(last * 100 + 12)),
        due_at=None,
        reason=None if end is JobStatus.PASSED else "for good",
    )


def test_a_job_that_was_refused_ends_without_ever_running(table: CopyTable) -> None:
    (job,) = create(table)
    claimed = launch(table, job)
    assert table.give_up(claimed, claimed.ended_attempt("REFUSED", "no such source", at(12)), at(12))
    ended = now(table, job)
    assert (ended.status, ended.reason, ended.ended_at) == (JobStatus.FAILED, "no such source", timestamp(at(12)))
    assert ended.attempts == (
        Attempt(1, "REFUSED", timestamp(at(12)), timestamp(at(0)), timestamp(at(10)), reason="no such source"),
    )


# --- counting --------------------------------------------------------------------------------------------------------


def counts(table: CopyTable, copy_id: str = "c") -> tuple[int, int, int, int]:
    """Jobs in all, open, passed and failed."""
    copy = table.get_copy(copy_id)
    assert copy
    return copy.total_jobs, copy.open_jobs, copy.passed_jobs, copy.failed_jobs


def test_each_end_of_a_job_is_counted_with_it(table: CopyTable) -> None:
    first, second, third = create(table, total_jobs=3)
    assert counts(table) == (3, 3, 0, 0)
    assert table.mark_passed(run(table, first), passed(first), at(20))
    assert counts(table) == (3, 2, 1, 0)
    assert table.give_up(run(table, second), failed(second), at(21))
    assert counts(table) == (3, 1, 1, 1)
    assert table.give_up(launch(table, third), failed(third), at(22))
    assert counts(table) == (3, 0, 1, 2)
    copy = table.get_copy("c")
    assert copy
    assert (copy.is_settled, copy.settled_at, copy.settled_status) == (True, timestamp(at(22)), CopyStatus.FAILED)


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_a_job_that_ends_twice_is_counted_once(table: CopyTable, verb: str) -> None:
    job, _ = create(table, total_jobs=2)
    running = run(table, job)
    assert MOVE[verb](table, running)
    before = everything()
    assert not MOVE[verb](table, running)
    assert everything() == before
    assert counts(table)[1] == 1


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_open_jobs_never_go_below_zero(table: CopyTable, verb: str) -> None:
    """A second job where only one was counted: neither is it ended nor does the count go on."""
    job, uncounted = create(table, total_jobs=2)
    CopyItem("c").update([CopyItem.open_jobs.set(1)])
    assert table.mark_passed(run(table, job), passed(job), at(20))
    running = run(table, uncounted)
    before = everything()
    assert not MOVE[verb](table, running)
    assert everything() == before
    assert counts(table)[1] == 0


@pytest.mark.parametrize("verb", ["mark_passed", "give_up"])
def test_a_job_without_a_copy_does_not_end_and_makes_no_copy(table: CopyTable, verb: str) -> None:
    table.create_jobs("c", [PlannedJob(DESTINATION, b"")], CopyOptions(), at(0), at(900))
    (job,) = table.jobs("c")
    running = run(table, job)
    before = everything()
    assert not MOVE[verb](table, running)
    assert everything() == before
    assert table.get_copy("c") is None


def conflict(request: AWSPreparedRequest) -> AWSResponse:
    """What DynamoDB answers a transaction while another one is at work on one of its items."""
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    message = (
        "Transaction cancelled, please refer cancellation reasons for specific reasons [None, TransactionConflict]"
    )
    body = {"__type": "TransactionCanceledException", "message": message, "CancellationReasons": reasons}
    return json_answer(request, body, 400)


def test_two_jobs_of_one_copy_may_end_at_the_same_moment(table: CopyTable, aws: AwsCalls) -> None:
    """The first transaction is held up until DynamoDB has cancelled the other, which is then made again."""
    jobs = [run(table, job) for job in create(table, total_jobs=2)]
    at_work, cancelled, start = Lock(), Event(), Barrier(2, timeout=5)

    def one_at_a_time(request: AWSPreparedRequest) -> AWSResponse:
        if not at_work.acquire(blocking=False):
            cancelled.set()
            return conflict(request)
        try:
            assert cancelled.wait(5)
            return moto(request)
        finally:
            at_work.release()

    def end(job: Job) -> bool:
        start.wait()
        return table.mark_passed(job, passed(job), at(20))

    aws.answer("TransactWriteItems", one_at_a_time)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(end, jobs)) == [True, True]
    assert cancelled.is_set()
    assert counts(table) == (2, 0, 2, 0)


def test_a_conflict_that_does_not_end_is_an_error_after_ten_attempts(
    table: CopyTable, aws: AwsCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = create(table)
    running = run(table, job)
    before = everything()
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    aws.answer("TransactWriteItems", conflict)
    with pytest.raises(TransactWriteError) as raised:
        table.mark_passed(running, passed(running), at(20))
    assert raised.value.cause_response_code == "TransactionCanceledException"
    assert aws.count("TransactWriteItems") == 10
    assert everything() == before


def test_a_refused_transaction_is_not_made_again(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    assert not table.mark_passed(job, passed(job), at(20))
    assert aws.count("TransactWriteItems") == 1


# --- accepting a copy ------------------------------------------------------------------------------------------------


def test_a_new_copy_is_written_whole(table: CopyTable) -> None:
    copy = copy_of(3, task_tokens=["one", "two"])
    assert table.create_copy(copy) is None
    assert table.get_copy("c") == copy
    assert (copy.status, copy.is_settled, copy.is_announced) == (CopyStatus.OPEN, False, False)
    table.mark_ingested("c", at(5))
    assert table.get_copy("c") == replace(copy, ingested_at=timestamp(at(5)))


def test_a_copy_that_is_there_is_handed_back_and_not_overwritten(table: CopyTable) -> None:
    first = copy_of(3, task_tokens=["one"])
    table.create_copy(first)
    before = everything()
    again = replace(first, digest="another", submitted_at=timestamp(at(9)), total_jobs=5, open_jobs=5)
    assert table.create_copy(again) == first
    assert everything() == before


def test_a_copy_that_cannot_be_written_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    aws.refuse("PutItem", "AccessDeniedException")
    with pytest.raises(PutError, match="AccessDenied"):
        table.create_copy(copy_of())
    assert everything() == []


def test_there_may_be_no_such_copy_or_job(table: CopyTable) -> None:
    assert table.get_copy("c") is None
    assert table.get_job("c", "000001") is None
    assert list(table.jobs("c")) == []


def test_jobs_are_numbered_in_their_order_however_they_are_written(table: CopyTable) -> None:
    planned = [PlannedJob(f"icav2://to/{number}/", pack_sources([f"icav2://from/{number}"])) for number in range(25)]
    ids = table.create_jobs("c", planned, CopyOptions(), at(0), due_at=at(900))
    assert ids == [f"{number:06d}" for number in range(1, 26)]
    jobs = list(table.jobs("c"))
    assert [job.job_id for job in jobs] == ids
    assert [(job.destination, job.sources) for job in jobs] == [
        (f"icav2://to/{number}/", [f"icav2://from/{number}"]) for number in range(25)
    ]
    assert {(job.status, job.attempt, job.queued_at, job.due_at) for job in jobs} == {
        (JobStatus.QUEUED, 1, timestamp(at(0)), timestamp(at(900)))
    }


def test_jobs_are_never_written_over(table: CopyTable) -> None:
    """A redelivered submission finds one job running and one ended, and writes the one that was not there."""
    first, second = create(table, total_jobs=2)
    run(table, first)
    assert table.mark_passed(run(table, second), passed(second), at(20))
    before = everything()
    planned = [PlannedJob(f"icav2://elsewhere/{number}/", pack_sources(SOURCES)) for number in range(3)]
    assert table.create_jobs("c", planned, CopyOptions(), at(50), at(950)) == ["000001", "000002", "000003"]
    assert set(before) < set(everything())
    assert [job.destination for job in table.jobs("c")][2] == "icav2://elsewhere/2/"


def test_a_job_that_cannot_be_written_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    aws.refuse("PutItem", "AccessDeniedException", only="JOB#000002")
    planned = [PlannedJob(DESTINATION, b"")] * 3
    with pytest.raises(PutError, match="AccessDenied"):
        table.create_jobs("c", planned, CopyOptions(), at(0), at(900))


def test_only_a_copy_that_is_there_is_marked_ingested(table: CopyTable) -> None:
    with pytest.raises(UpdateError):
        table.mark_ingested("c", at(5))
    assert everything() == []


def test_a_task_token_is_added_while_the_copy_is_open(table: CopyTable) -> None:
    settle(table)
    for token in ("one", "two", "one"):
        assert table.add_task_token("c", token)
    copy = table.get_copy("c")
    assert copy
    assert copy.task_tokens == {"one", "two"}


@pytest.mark.parametrize("end", [CopyStatus.COMPLETED, CopyStatus.FAILED])
def test_a_task_token_is_refused_once_the_copy_is_announced(table: CopyTable, end: CopyStatus) -> None:
    (job,) = create(table)
    running = run(table, job)
    if end is CopyStatus.COMPLETED:
        table.mark_passed(running, passed(running), at(20))
    else:
        table.give_up(running, failed(running), at(20))
    announce(table)
    copy = table.get_copy("c")
    assert copy
    assert copy.status is end
    before = everything()
    assert not table.add_task_token("c", "late")
    assert everything() == before


def test_a_task_token_does_not_make_a_copy(table: CopyTable) -> None:
    assert not table.add_task_token("c", "token")
    assert everything() == []


# --- announcing ------------------------------------------------------------------------------------------------------


def announce(table: CopyTable, copy_id: str = "c") -> None:
    copy = table.begin_announcement(copy_id, at(30), at(210))
    assert copy
    assert table.mark_announced(copy, at(31))


def test_a_settled_copy_is_announced_once(table: CopyTable) -> None:
    settle(table, task_tokens=["one"])
    copy = table.begin_announcement("c", at(30), at(210))
    assert copy
    assert (copy.open_jobs, copy.passed_jobs, copy.task_tokens) == (0, 1, frozenset(["one"]))
    assert copy.status is CopyStatus.OPEN
    assert table.mark_announced(copy, at(31))
    item = clients.dynamodb().get_item(TableName=TABLE_NAME, Key={"copy_id": {"S": "c"}, "item": {"S": "COPY"}})["Item"]
    assert (item["status"], item["announced_at"]) == ({"S": "COMPLETED"}, {"S": timestamp(at(31))})
    assert not item.keys() & {"due_at", "announcing_until"}
    before = everything()
    assert table.begin_announcement("c", at(1000), at(1180)) is None
    assert everything() == before


def test_a_copy_with_an_open_job_is_not_announced(table: CopyTable) -> None:
    job, _ = create(table, total_jobs=2)
    table.mark_passed(run(table, job), passed(job), at(20))
    before = everything()
    assert table.begin_announcement("c", at(30), at(210)) is None
    assert everything() == before


def test_a_copy_that_is_not_there_is_not_announced_and_not_made(table: CopyTable) -> None:
    assert table.begin_announcement("c", at(30), at(210)) is None
    with pytest.raises(UpdateError):
        table.abandon_announcement("c")
    assert everything() == []


def test_an_announcement_is_claimed_by_one_until_its_claim_has_run_out(table: CopyTable) -> None:
    settle(table)
    assert table.begin_announcement("c", at(30), at(210))
    before = everything()
    for seconds in (30, 209, 210):
        assert table.begin_announcement("c", at(seconds), at(390)) is None
    assert everything() == before
    assert table.begin_announcement("c", at(210.001), at(390))
    assert table.begin_announcement("c", at(300), at(480)) is None


def test_an_abandoned_announcement_may_be_claimed_at_once(table: CopyTable) -> None:
    settle(table)
    before = everything()
    assert table.begin_announcement("c", at(30), at(210))
    table.abandon_announcement("c")
    assert everything() == before
    assert table.begin_announcement("c", at(31), at(211))


@pytest.mark.parametrize("known", [[], ["one"], ["one", "two"]])
def test_a_copy_is_not_marked_announced_while_a_task_token_is_not_answered(table: CopyTable, known: list[str]) -> None:
    settle(table, task_tokens=known)
    copy = table.begin_announcement("c", at(30), at(210))
    assert copy
    assert table.add_task_token("c", "late")
    before = everything()
    assert not table.mark_announced(copy, at(31))
    assert everything() == before
    reread = table.get_copy("c")
    assert reread
    assert reread.task_tokens == {*known, "late"}
    assert table.mark_announced(reread, at(32))


def test_an_announcement_that_cannot_be_noted_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    settle(table)
    copy = table.begin_announcement("c", at(30), at(210))
    assert copy
    aws.refuse("UpdateItem", "AccessDeniedException")
    with pytest.raises(UpdateError, match="AccessDenied"):
        table.mark_announced(copy, at(31))


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", JobStatus)
def test_the_index_holds_the_open_jobs_and_what_the_poller_needs_of_them(table: CopyTable, status: JobStatus) -> None:
    job = in_status(table, status)
    unread = {"packed_sources": b"", "options": CopyOptions(), "attempts": ()}
    found = [] if status in ENDED else [replace(job, **unread)]  # type: ignore[arg-type]
    assert {each: table.jobs_in(each) for each in JobStatus} == {each: [] for each in JobStatus} | {status: found}


def test_jobs_of_all_copies_are_found_by_when_they_are_due(table: CopyTable) -> None:
    for copy_id in ("c", "d"):
        create(table, total_jobs=2, copy_id=copy_id)
    first, second = table.jobs("d")
    table.postpone(first, at(1000))
    table.postpone(second, at(100))

    def found(due_before: datetime | None) -> list[tuple[str, str]]:
        return [(job.copy_id, job.job_id) for job in table.jobs_in(JobStatus.QUEUED, due_before)]

    every = [("d", "000002"), *sorted([("c", "000001"), ("c", "000002")]), ("d", "000001")]
    assert sorted(found(None)) == sorted(every)
    assert found(at(100)) == []
    assert found(at(101)) == [("d", "000002")]
    assert sorted(found(at(901))) == sorted(every[:3])
    assert sorted(found(at(1001))) == sorted(every)


def test_only_settled_copies_that_are_not_announced_are_found(table: CopyTable) -> None:
    settle(table, "early", seconds=20)
    settle(table, "late", seconds=40)
    settle(table, "announced", seconds=20)
    announce(table, "announced")
    create(table, copy_id="open")
    job, _ = create(table, total_jobs=2, copy_id="half")
    table.mark_passed(run(table, job), passed(job), at(20))
    assert table.unannounced_copies(at(20)) == []
    assert table.unannounced_copies(at(40)) == ["early"]
    assert sorted(table.unannounced_copies(at(41))) == ["early", "late"]


def test_a_copy_of_more_than_one_page_of_jobs_is_read_to_the_end(table: CopyTable, aws: AwsCalls) -> None:
    """DynamoDB answers with 1 MB at a time."""
    chance = Random(1)
    sources = [f"icav2://from/{chance.randbytes(20).hex()}" for _ in range(1200)]
    packed = pack_sources(sources)
    assert len(packed) * 45 > 1_100_000
    table.create_jobs("c", [PlannedJob(DESTINATION, packed)] * 45, CopyOptions(), at(0), at(900))
    jobs = list(table.jobs("c"))
    assert [job.job_id for job in jobs] == [f"{number:06d}" for number in range(1, 46)]
    assert aws.count("Query") > 1
    assert jobs[44].sources == sources


def test_a_read_that_fails_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    aws.refuse("Query", "AccessDeniedException")
    with pytest.raises(QueryError, match="AccessDenied"):
        list(table.jobs("c"))
    with pytest.raises(QueryError, match="AccessDenied"):
        table.jobs_in(JobStatus.RUNNING)


# --- one at a time ---------------------------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_until_it_has_run_out(table: CopyTable) -> None:
    assert table.hold_lease("poller", "one", at(0), at(60))
    before = everything()
    for seconds in (0, 59, 60):
        assert not table.hold_lease("poller", "two", at(seconds), at(seconds + 60))
    assert everything() == before
    assert table.hold_lease("poller", "two", at(60.001), at(120))
    assert not table.hold_lease("poller", "one", at(61), at(121))


def test_a_lease_is_renewed_by_its_owner_before_it_has_run_out(table: CopyTable) -> None:
    assert table.hold_lease("poller", "one", at(0), at(60))
    assert table.hold_lease("poller", "one", at(30), at(90))
    assert not table.hold_lease("poller", "two", at(61), at(121))


def test_leases_of_different_names_have_nothing_to_do_with_each_other(table: CopyTable) -> None:
    assert table.hold_lease("poller", "one", at(0), at(60))
    assert table.hold_lease("another", "two", at(0), at(60))


def test_a_dropped_lease_is_free(table: CopyTable) -> None:
    assert table.hold_lease("poller", "one", at(0), at(60))
    table.drop_lease("poller", "one")
    assert everything() == []
    assert table.hold_lease("poller", "two", at(1), at(61))


def test_a_lease_is_not_dropped_by_one_who_has_lost_it(table: CopyTable) -> None:
    assert table.hold_lease("poller", "one", at(0), at(60))
    assert table.hold_lease("poller", "two", at(61), at(121))
    before = everything()
    table.drop_lease("poller", "one")
    assert everything() == before
    table.drop_lease("no such lease", "one")
    assert everything() == before


def test_a_lease_shows_in_no_other_question(table: CopyTable) -> None:
    table.hold_lease("poller", "one", at(0), at(60))
    assert table.unannounced_copies(at(1000)) == []
    assert [job for status in JobStatus for job in table.jobs_in(status)] == []


# --- the template ----------------------------------------------------------------------------------------------------


def test_the_index_is_the_templates(table: CopyTable) -> None:
    (described,) = properties("CopyTable")["GlobalSecondaryIndexes"]
    projection = DueIndex.Meta.projection
    assert DueIndex.Meta.index_name == described["IndexName"]
    assert projection.projection_type == described["Projection"]["ProjectionType"]
    assert projection.non_key_attributes == described["Projection"]["NonKeyAttributes"]
    assert [DueIndex.status.attr_name, DueIndex.due_at.attr_name] == [
        key["AttributeName"] for key in described["KeySchema"]
    ]


def test_every_item_has_the_templates_keys() -> None:
    keys = {key["KeyType"]: key["AttributeName"] for key in properties("CopyTable")["KeySchema"]}
    for model in (CopyItem, JobItem, LeaseItem):
        attributes = model.get_attributes().values()
        named = {"HASH" if each.is_hash_key else "RANGE": each.attr_name for each in attributes if is_key(each)}
        assert named == keys


def is_key(attribute: object) -> bool:
    return bool(getattr(attribute, "is_hash_key", False) or getattr(attribute, "is_range_key", False))


def test_the_table_of_these_tests_is_as_the_template_describes_it(aws: AwsCalls) -> None:
    create_copy_table()
    described = properties("CopyTable")
    made = clients.dynamodb().describe_table(TableName=TABLE_NAME)["Table"]
    assert made["KeySchema"] == described["KeySchema"]
    assert made["BillingModeSummary"]["BillingMode"] == described["BillingMode"]
    assert made["StreamSpecification"]["StreamViewType"] == described["StreamSpecification"]["StreamViewType"]
    (index,) = made["GlobalSecondaryIndexes"]
    assert index["Projection"] == described["GlobalSecondaryIndexes"][0]["Projection"]
