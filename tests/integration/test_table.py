"""The copy table on moto: what only DynamoDB does. What the table promises is in ``test_table_contract.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from random import Random
from threading import Barrier, Event, Lock
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.session import Session
from pynamodb.exceptions import GetError, PutError, QueryError, TransactWriteError, UpdateError

from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.adapters.table.models import (
    CopyItem,
    DueIndex,
    FolderItem,
    JobItem,
    LeaseItem,
    ListedIndex,
    OutcomesItem,
    SlotsItem,
    WaitedForItem,
)
from icav2_copy_batch.adapters.table.packing import MAX_OUTCOMES_BYTES, pack_sources
from icav2_copy_batch.adapters.table.reads import LeftUnread
from icav2_copy_batch.adapters.table.writes import LONGEST_TROUBLE_SECONDS
from icav2_copy_batch.domain.job import (
    MOVES,
    NEXT_ATTEMPT,
    Attempt,
    Claim,
    Job,
    JobStatus,
    OpenJob,
    SubmittedCopy,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.schedule import Backlog, Slots
from icav2_copy_batch.domain.stops import Paused
from icav2_copy_batch.domain.submit import CopyOptions
from tests import doubles
from tests.integration import clients, template
from tests.integration.aws_calls import AwsCalls, error, json_answer, moto, text_of
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
    items,
    launch,
    now,
    passed,
    request,
    requeue,
    run,
    settle,
    size_of,
    taken,
)
from tests.integration.template import TABLE_NAME, create_copy_table, properties

# --- what DynamoDB cannot do is an error and not a refusal -----------------------------------------------------------


@pytest.mark.parametrize("verb", MOVES)
def test_a_move_that_dynamodb_cannot_make_is_an_error_and_not_a_refusal(
    table: CopyTable, aws: AwsCalls, verb: str
) -> None:
    job = in_status(table, MOVES[verb].sources[0])
    before = everything(table)
    for operation in ("UpdateItem", "TransactWriteItems"):
        aws.refuse(operation, "AccessDeniedException")
    with pytest.raises((UpdateError, TransactWriteError)) as raised:
        MOVE[verb](table, job)
    assert raised.value.cause_response_code == "AccessDeniedException"
    assert everything(table) == before


def test_a_job_that_cannot_be_made_to_wait_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    aws.refuse("UpdateItem", "AccessDeniedException")
    with pytest.raises(UpdateError, match="AccessDenied"):
        table.wait(request(job), at(100), doubles.hold("no slot"))
    with pytest.raises(UpdateError, match="AccessDenied"):
        table.postpone(job, at(100))


def test_a_copy_that_cannot_be_written_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    aws.refuse("PutItem", "AccessDeniedException")
    with pytest.raises(PutError, match="AccessDenied"):
        table.create_copy(copy_of())
    assert everything(table) == []


def test_a_job_that_cannot_be_written_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    aws.refuse("PutItem", "AccessDeniedException", only="JOB#000002")
    planned = [PlannedJob(DESTINATION, ())] * 3
    with pytest.raises(PutError, match="AccessDenied"):
        table.create_jobs("c", planned, CopyOptions(), at(0))


def test_a_publication_that_cannot_be_noted_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    settle(table)
    copy = table.begin_publication("c", at(30), at(210))
    assert copy
    aws.refuse("UpdateItem", "AccessDeniedException")
    with pytest.raises(UpdateError, match="AccessDenied"):
        table.mark_published(copy, at(31), frozenset())


def test_a_read_that_fails_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    for operation in ("Query", "GetItem"):
        aws.refuse(operation, "AccessDeniedException")
    reads: list[Callable[[], object]] = [
        lambda: list(table.jobs("c")),
        lambda: table.jobs_in(JobStatus.RUNNING),
        table.open_copies,
        lambda: table.unfinished_copies(at(0)),
        lambda: table.get_copy("c"),
        lambda: table.get_job("c", "000001"),
        lambda: table.lease_until("poller"),
        table.backlogs,
    ]
    for read in reads:
        with pytest.raises((QueryError, GetError), match="AccessDenied"):
            read()


def test_to_cancel_a_copy_its_jobs_are_read_and_not_their_sources(table: CopyTable, aws: AwsCalls) -> None:
    create(table)
    assert [job.job_id for job in table.unlaunched_jobs("c")] == ["000001"]
    *_, query = aws.requests("Query")
    assert "begins_with" in json.loads(text_of(query))["KeyConditionExpression"]


def test_what_must_not_be_missed_is_read_as_it_is_now(table: CopyTable, aws: AwsCalls) -> None:
    """The index alone may lag behind; DynamoDB reads it in no other way."""
    create(table)
    for read in (
        lambda: list(table.jobs("c")),
        lambda: table.jobs_written("c"),
        lambda: table.get_copy("c"),
        lambda: table.get_job("c", "000001"),
        lambda: table.lease_until("poller"),
        lambda: table.outcomes("p"),
        table.backlogs,
        lambda: table.copies_waited_for(at(0)),
    ):
        began = len(aws.sent)
        read()
        assert all(json.loads(text_of(request)).get("ConsistentRead") for _, request in aws.sent[began:])


# --- at the same moment ----------------------------------------------------------------------------------------------


def conflict(asked: AWSPreparedRequest) -> AWSResponse:
    """What DynamoDB answers a transaction while another one is at work on one of its items."""
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    message = (
        "Transaction cancelled, please refer cancellation reasons for specific reasons [None, TransactionConflict]"
    )
    body = {"__type": "TransactionCanceledException", "message": message, "CancellationReasons": reasons}
    return json_answer(asked, body, 400)


def test_two_jobs_of_one_copy_may_end_at_the_same_moment(table: CopyTable, aws: AwsCalls) -> None:
    """The first transaction is held up until DynamoDB has cancelled the other, which is then made again."""
    jobs = [run(table, job) for job in create(table, total_jobs=2)]
    at_work, cancelled, start = Lock(), Event(), Barrier(2, timeout=5)

    def one_at_a_time(asked: AWSPreparedRequest) -> AWSResponse:
        if not at_work.acquire(blocking=False):
            cancelled.set()
            return conflict(asked)
        try:
            assert cancelled.wait(5)
            return moto(asked)
        finally:
            at_work.release()

    def end(job: Job) -> bool:
        start.wait()
        return table.mark_passed(job, passed(job), at(20))

    aws.answer("TransactWriteItems", one_at_a_time)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(end, jobs)) == [True, True]
    assert cancelled.is_set()
    copy = table.get_copy("c")
    assert copy
    assert (copy.open_jobs, copy.passed_jobs) == (0, 2)
    assert taken(table) == NOTHING_TAKEN


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What our adapter sleeps between tries, in seconds of a clock of its own; botocore does not sleep at all."""
    naps: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=naps.append))
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: sum(naps)))
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    return naps


def cancelled_by(code: str) -> Callable[[AWSPreparedRequest], AWSResponse]:
    """A transaction that DynamoDB cancels since it cannot make one of its writes now."""

    def answer(asked: AWSPreparedRequest) -> AWSResponse:
        reasons = [{"Code": "None"}, {"Code": code, "Message": "made by the test"}, {"Code": "None"}]
        body = {"__type": "TransactionCanceledException", "message": "cancelled", "CancellationReasons": reasons}
        return json_answer(asked, body, 400)

    return answer


def refused_by(code: str) -> Callable[[AWSPreparedRequest], AWSResponse]:
    return lambda asked: error(asked, code)


IN_A_TRANSACTION = [
    *map(cancelled_by, ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")),
    *map(refused_by, ("ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded")),
    refused_by("TransactionInProgressException"),
]
ALONE = [
    refused_by("TransactionConflictException"),
    *map(refused_by, ("ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded")),
]
BOTOCORES_TRIES = 4


def for_a_while(aws: AwsCalls, operation: str, answer: Callable[[AWSPreparedRequest], AWSResponse], times: int) -> None:
    """Answer an operation so many times like that, and then as moto does."""
    left = [None] * times
    aws.answer(operation, lambda asked: answer(asked) if left and not left.pop() else None)


@pytest.mark.parametrize("answer", IN_A_TRANSACTION)
def test_a_transaction_that_dynamodb_does_not_take_now_is_made_again(
    table: CopyTable, aws: AwsCalls, slept: list[float], answer: Callable[[AWSPreparedRequest], AWSResponse]
) -> None:
    (job,) = create(table)
    for_a_while(aws, "TransactWriteItems", answer, 2 * BOTOCORES_TRIES)
    assert claim(table, job) is Claim.CLAIMED
    for_a_while(aws, "TransactWriteItems", answer, 2 * BOTOCORES_TRIES)
    assert table.give_up(now(table, job), failed(job), at(20))
    assert taken(table) == NOTHING_TAKEN
    assert slept


@pytest.mark.parametrize("answer", ALONE)
def test_a_write_that_dynamodb_does_not_take_now_is_made_again(
    table: CopyTable, aws: AwsCalls, slept: list[float], answer: Callable[[AWSPreparedRequest], AWSResponse]
) -> None:
    for_a_while(aws, "PutItem", answer, 2 * BOTOCORES_TRIES)
    (job,) = create(table)
    for_a_while(aws, "UpdateItem", answer, 2 * BOTOCORES_TRIES)
    assert table.wait(request(job), at(50), doubles.hold("ICA is busy"))
    assert now(table, job).hold == doubles.hold("ICA is busy")
    for_a_while(aws, "PutItem", answer, 2 * BOTOCORES_TRIES)
    assert table.hold_lease("poller", "me", at(0), at(60))
    for_a_while(aws, "DeleteItem", answer, 2 * BOTOCORES_TRIES)
    table.drop_lease("poller", "me")
    table.create_backlogs([Backlog("c", "to", 1, 2, timestamp(at(0)))])
    for_a_while(aws, "DeleteItem", answer, 2 * BOTOCORES_TRIES)
    table.shorten_backlog(table.backlogs()[0], 3)
    assert table.backlogs() == []


@pytest.mark.parametrize("answer", IN_A_TRANSACTION)
def test_a_transaction_that_is_never_taken_is_an_error_after_some_seconds(
    table: CopyTable, aws: AwsCalls, slept: list[float], answer: Callable[[AWSPreparedRequest], AWSResponse]
) -> None:
    (job,) = create(table)
    running = run(table, job)
    before = everything(table)
    aws.answer("TransactWriteItems", answer)
    with pytest.raises(TransactWriteError):
        table.mark_passed(running, passed(running), at(20))
    assert LONGEST_TROUBLE_SECONDS <= sum(slept) < LONGEST_TROUBLE_SECONDS + 3
    assert everything(table) == before


def keys_left(asked: AWSPreparedRequest, processed: int) -> AWSResponse:
    """An answer to ``BatchGetItem`` that has read so many of the keys, and leaves the others."""
    (read,) = json.loads(text_of(asked))["RequestItems"].values()
    keys = read["Keys"]
    found = [{**key, **item} for key in keys[:processed] for item in items() if item.items() >= key.items()]
    left = {TABLE_NAME: {**read, "Keys": keys[processed:]}} if keys[processed:] else {}
    return json_answer(asked, {"Responses": {TABLE_NAME: found}, "UnprocessedKeys": left})


def test_copies_that_dynamodb_leaves_unread_are_asked_for_again(
    table: CopyTable, aws: AwsCalls, slept: list[float]
) -> None:
    for copy_id in "abcde":
        table.create_copy(copy_of(copy_id=copy_id))
    aws.answer("BatchGetItem", lambda asked: keys_left(asked, processed=2))
    assert [copy.copy_id for copy in table.get_copies(list("abcde"))] == list("abcde")
    assert aws.count("BatchGetItem") == 3
    assert len(slept) == 2


def test_copies_that_are_never_read_are_an_error_after_some_seconds(
    table: CopyTable, aws: AwsCalls, slept: list[float]
) -> None:
    table.create_copy(copy_of())
    aws.answer("BatchGetItem", lambda asked: keys_left(asked, processed=0))
    with pytest.raises(LeftUnread, match="1 of 1 items"):
        table.get_copies(["c"])
    assert LONGEST_TROUBLE_SECONDS <= sum(slept) < LONGEST_TROUBLE_SECONDS + 3


def test_a_hundred_copies_are_read_by_one_request(table: CopyTable, aws: AwsCalls) -> None:
    names = [f"copy-{number}" for number in range(101)]
    for copy_id in names:
        table.create_copy(copy_of(copy_id=copy_id))
    assert len(table.get_copies(names[:100])) == 100
    assert aws.count("BatchGetItem") == 1
    assert len(table.get_copies(names)) == 101
    assert aws.count("BatchGetItem") == 3


def test_a_condition_that_is_refused_is_an_answer_whatever_else_is_the_matter(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    reasons = [{"Code": "ConditionalCheckFailed"}, {"Code": "ThrottlingError"}, {"Code": "None"}]
    body = {"__type": "TransactionCanceledException", "message": "cancelled", "CancellationReasons": reasons}
    aws.answer("TransactWriteItems", lambda asked: json_answer(asked, body, 400))
    assert claim(table, job) is Claim.MOVED_ON
    assert aws.count("TransactWriteItems") == 1


def test_a_write_that_is_wrong_is_not_made_again(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    aws.refuse("UpdateItem", "ValidationException")
    with pytest.raises(UpdateError):
        table.wait(request(job), at(50), doubles.hold("ICA is busy"))
    assert aws.count("UpdateItem") == 2  # that which made the job due, and this


def serialized(aws: AwsCalls) -> None:
    """Moto is not made for threads: one transaction after the other, as DynamoDB has them."""
    at_work = Lock()

    def one_by_one(asked: AWSPreparedRequest) -> AWSResponse:
        with at_work:
            return moto(asked)

    aws.answer("TransactWriteItems", one_by_one)


def all_at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    start = Barrier(len(acts), timeout=5)

    def go(act: Callable[[], Any]) -> Any:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(go, acts))


@pytest.mark.parametrize("slots", [Slots(total=3), Slots(per_project=3)], ids=str)
def test_of_many_launches_at_the_same_moment_as_many_get_a_slot_as_there_are(
    table: CopyTable, aws: AwsCalls, slots: Slots
) -> None:
    jobs = create(table, total_jobs=8)
    serialized(aws)
    claims = all_at_once([lambda job=job: claim(table, job, slots=slots) for job in jobs])  # type: ignore[misc]
    assert sorted(each.value for each in claims) == ["claimed"] * 3 + ["no slot"] * 5
    assert taken(table).slots == 3


def test_of_two_messages_about_one_attempt_at_the_same_moment_one_claims_the_job(
    table: CopyTable, aws: AwsCalls
) -> None:
    (job,) = create(table)
    serialized(aws)
    claims = all_at_once([lambda: claim(table, job)] * 4)
    assert sorted(each.value for each in claims) == ["claimed", *["moved on"] * 3]
    assert taken(table).slots == 1


def test_of_two_copies_at_the_same_moment_one_gets_the_folder(table: CopyTable, aws: AwsCalls) -> None:
    jobs = [create_jobs(table, [DESTINATION], copy_id)[0] for copy_id in ("c", "d", "e")]
    serialized(aws)
    claims = all_at_once([lambda job=job: claim(table, job) for job in jobs])  # type: ignore[misc]
    assert sorted(each.value for each in claims) == ["claimed", "folder busy", "folder busy"]
    assert [len(jobs) for _, jobs in taken(table).folders] == [1]


def test_of_two_who_end_a_job_at_the_same_moment_one_gives_its_slot_back(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    running = run(table, job)
    serialized(aws)
    ended = all_at_once(
        [
            lambda: table.mark_passed(running, passed(running), at(20)),
            lambda: table.give_up(running, failed(running), at(20)),
            lambda: requeue(table, running),
        ]
    )
    assert sorted(ended) == [False, False, True]
    assert taken(table) == NOTHING_TAKEN


def test_a_claim_that_met_another_transaction_is_made_again(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    met: list[AWSPreparedRequest] = []

    def conflict_once(asked: AWSPreparedRequest) -> AWSResponse | None:
        met.append(asked)
        return conflict(asked) if len(met) == 1 else None

    aws.answer("TransactWriteItems", conflict_once)
    assert claim(table, job) is Claim.CLAIMED
    assert len(met) == 2
    assert taken(table).slots == 1


def test_a_claim_that_dynamodb_cancels_for_another_reason_is_an_error(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    aws.answer("TransactWriteItems", cancelled_by("ItemCollectionSizeLimitExceeded"))
    with pytest.raises(TransactWriteError):
        claim(table, job)
    with pytest.raises(TransactWriteError):
        table.give_up(job, failed(job), at(20))
    assert aws.count("TransactWriteItems") == 2


def test_a_refused_transaction_is_not_made_again(table: CopyTable, aws: AwsCalls) -> None:
    (job,) = create(table)
    assert not table.mark_passed(job, passed(job), at(20))
    assert aws.count("TransactWriteItems") == 1


# --- the double ------------------------------------------------------------------------------------------------------

Act = Callable[[EitherTable, Job, float, Attempt], object]
ACTS: dict[str, Act] = {
    "claim_for_launch": lambda table, job, second, ended: table.claim_for_launch(
        job,
        "other" if "other" in job.destination else PROJECT,
        at(second),
        at(second + 50),
        Slots(total=4, per_project=3),
    ),
    "mark_running": lambda table, job, second, ended: table.mark_running(job, "job", "batch", at(second), at(second)),
    "release": lambda table, job, second, ended: table.release(
        job, at(second), at(second + 9), doubles.hold("a reason")
    ),
    "requeue": lambda table, job, second, ended: table.requeue(
        job, ended, frozenset(SOURCES[:1]), at(second), at(second + 9), NEXT_ATTEMPT
    ),
    "mark_passed": lambda table, job, second, ended: table.mark_passed(job, ended, at(second)),
    "give_up": lambda table, job, second, ended: table.give_up(job, ended, at(second)),
    "cancel": lambda table, job, second, ended: table.cancel(job, at(second)),
    "pause": lambda table, job, second, ended: table.pause(Paused(f"copy {job.copy_id}", timestamp(at(second)))),
    "resume": lambda table, job, second, ended: table.resume(f"copy {job.copy_id}", at(second)),
    "wait": lambda table, job, second, ended: table.wait(request(job), at(second + 9), doubles.hold("why")),
    "postpone": lambda table, job, second, ended: table.postpone(job, at(second + 9)),
    "postpone with a reason": lambda table, job, second, ended: table.postpone(job, at(second + 9), doubles.hold("b")),
}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_table_and_double_answer_alike_and_hold_the_same(table: CopyTable, seed: int) -> None:
    """Two copies that share folders, few slots, and jobs as they are or as they were seen some time ago."""
    chance, double = Random(seed), doubles.Table()
    for each in (table, double):
        for copy_id in ("c", "d"):
            each.create_copy(copy_of(3, copy_id))
            create_jobs(each, [DESTINATION, f"{DESTINATION}{copy_id}/", "icav2://other/x/"], copy_id)
    seen = {key: [job] for key, job in double.job_items.items()}
    answers, second = set(), 100.0
    for _ in range(60):
        second += chance.choice((1, 30, 61))
        key = chance.choice(sorted(seen))
        job = chance.choice((seen[key][-1], *seen[key][-3:]))
        likely = [verb for verb, move in MOVES.items() if job.status in move.sources]
        act = chance.choice([*likely * 3, *ACTS])
        ended = job.ended_attempt("ENDED", "a reason", at(second))
        expected = ACTS[act](double, job, second, ended)
        assert ACTS[act](table, job, second, ended) == expected, (act, job)
        answers.add((act, expected))
        assert now(table, job) == now(double, job), (act, job)
        seen[key].append(now(double, job))
    assert taken(table) == taken(double)
    for copy_id in ("c", "d"):
        assert table.get_copy(copy_id) == double.get_copy(copy_id)
    for status in JobStatus:
        assert listed(table, status) == listed(double, status)
    assert len(answers) >= 10, "most is tried, and much both accepted and refused"


def listed(table: EitherTable, status: JobStatus) -> list[OpenJob]:
    return sorted(table.jobs_in(status), key=lambda job: (job.copy_id, job.job_id))


# --- how it is stored ------------------------------------------------------------------------------------------------


def stored(copy_id: str, item: str) -> dict[str, Any]:
    (found,) = [each for each in items() if (each["copy_id"]["S"], each["item"]["S"]) == (copy_id, item)]
    return found


def test_a_published_copy_is_not_due_any_more(table: CopyTable) -> None:
    settle(table)
    copy = table.begin_publication("c", at(30), at(210))
    assert copy
    assert table.mark_published(copy, at(31), frozenset())
    item = stored("c", "COPY")
    assert (item["status"], item["published_at"]) == ({"S": "COMPLETED"}, {"S": timestamp(at(31))})
    assert not item.keys() & {"due_at", "publishing_until"}


def test_a_folder_expires_more_than_a_year_after_it_was_last_claimed(table: CopyTable) -> None:
    (job,) = create(table)
    for attempt, second in ((1, 10), (2, 500)):
        running = run(table, replace(now(table, job), attempt=attempt), second)
        (folder,) = [item for item in items() if item["copy_id"]["S"].startswith("#folder ")]
        assert folder[properties("CopyTable")["TimeToLiveSpecification"]["AttributeName"]] == {
            "N": str(int(at(second).timestamp()) + 400 * 24 * 60 * 60)
        }
        assert requeue(table, running, second + 5)


def test_nothing_but_folders_expires(table: CopyTable) -> None:
    settle(table)
    table.hold_lease("poller", "one", at(0), at(60))
    expiring = {item["item"]["S"] for item in items() if "expires_at" in item}
    assert expiring == {"FOLDER"}


@pytest.mark.parametrize("path", ["/", f"/{'é' * 1500}/", "/a b/#1/[x]{y}/"])
def test_a_folder_may_have_any_path(table: CopyTable, path: str) -> None:
    """Of up to 4,096 characters, where a key of DynamoDB has 2,048 bytes."""
    table.create_copy(copy_of())
    (job,) = create_jobs(table, [f"icav2://to{path}"])
    assert requeue(table, run(table, job))
    assert taken(table) == NOTHING_TAKEN


def test_slots_are_counted_under_a_projects_id(table: CopyTable) -> None:
    project = "8a4c7e52-0b1f-4d3a-b6e9-5f2c8d7a6b10"
    (job,) = create(table)
    claimed = launch(table, job, project=project)
    assert taken(table).by_project == {project: 1}
    assert table.give_up(claimed, failed(claimed), at(20))
    assert taken(table) == NOTHING_TAKEN


def test_a_job_with_as_much_history_as_may_be_fits_into_its_item(table: CopyTable) -> None:
    """51 attempts, whose reasons and outcomes are as long as they may be, and the sources: DynamoDB takes 400 KB."""
    (job,) = create(table)
    running, chance = run(table, job), Random(1)
    assert table.give_up(running, failed(running, reason="é" * 5000), at(20))
    item = stored("c", "JOB#000001")
    (attempt,) = item["attempts"]["L"]
    attempt["M"]["packed_outcomes"] = {"B": chance.randbytes(MAX_OUTCOMES_BYTES)}
    item["attempts"]["L"] = [attempt] * (1 + template.template()["Parameters"]["MaxRedeploys"]["MaxValue"])
    assert 200 * 1024 < size_of({"M": item}) < 400 * 1024


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_copy_of_more_than_one_page_of_jobs_is_read_to_the_end(table: CopyTable, aws: AwsCalls) -> None:
    """DynamoDB answers with 1 MB at a time."""
    chance = Random(1)
    sources = [f"icav2://from/{chance.randbytes(20).hex()}" for _ in range(1200)]
    assert len(pack_sources(sources)) * 45 > 1_100_000
    table.create_jobs("c", [PlannedJob(DESTINATION, tuple(sources))] * 45, CopyOptions(), at(0))
    jobs = list(table.jobs("c"))
    assert [job.job_id for job in jobs] == [f"{number:06d}" for number in range(1, 46)]
    assert aws.count("Query") > 1
    assert jobs[44].sources == tuple(sources)
    assert {key_prefix(json.loads(text_of(request))) for request in aws.requests("Query")} == {"JOB#", "SOURCES#"}


def key_prefix(query: dict[str, Any]) -> str | None:
    """With what the sort keys begin that a query reads; None where it reads all."""
    texts = {each["S"] for each in query["ExpressionAttributeValues"].values()} - {"c"}
    return texts.pop() if texts else None


# --- the template ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "index"), [(0, DueIndex), (1, ListedIndex)])
def test_the_indexes_are_the_templates(number: int, index: type[DueIndex | ListedIndex]) -> None:
    described = properties("CopyTable")["GlobalSecondaryIndexes"][number]
    projection = index.Meta.projection
    assert index.Meta.index_name == described["IndexName"]
    assert projection.projection_type == described["Projection"]["ProjectionType"]
    assert projection.non_key_attributes == described["Projection"]["NonKeyAttributes"]
    keys = [each for each in vars(index).values() if is_key(each)]
    assert [each.attr_name for each in keys] == [key["AttributeName"] for key in described["KeySchema"]]


def test_an_open_job_is_what_the_index_shows_of_it() -> None:
    shown = {"copy_id", "status", "due_at", *DueIndex.Meta.projection.non_key_attributes}
    of_copies = {"open_jobs", "settled_at", "ingested_at"}
    fields_of_a_job = {each.name for each in fields(OpenJob)} - {"hold"} | {"hold_reason", "hold_detail"}
    assert fields_of_a_job == shown - of_copies


def test_a_submitted_copy_is_what_the_index_shows_of_it() -> None:
    shown = {"copy_id", "submitted_at", *ListedIndex.Meta.projection.non_key_attributes}
    assert {each.name for each in fields(SubmittedCopy)} == shown


def test_two_tables_of_one_process_do_not_meet(table: CopyTable) -> None:
    create_copy_table("another")
    another = CopyTable("another")
    create(table)
    create(another, copy_id="d")
    (job,) = another.jobs("d")
    running = run(another, job)
    assert [copy.copy_id for copy in table.submitted_copies(at(0), at(1), 9)] == ["c"]
    assert [copy.copy_id for copy in another.submitted_copies(at(0), at(1), 9)] == ["d"]
    assert [each.copy_id for each in table.jobs_in(JobStatus.QUEUED)] == ["c"]
    assert [each.key for each in another.jobs_in(JobStatus.RUNNING)] == [running.key]
    assert (table.get_copy("d"), another.get_copy("c")) == (None, None)
    assert (table.slots_in_use(), another.slots_in_use()) == ({}, {PROJECT: 1})


def test_a_table_makes_one_client_for_all_kinds_of_items(table: CopyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take a tenth of a second of a cold start."""
    made: list[str] = []
    create_client = Session.create_client

    def counted(self: Session, service: str, *args: Any, **more: Any) -> Any:
        made.append(service)
        return create_client(self, service, *args, **more)

    monkeypatch.setattr(Session, "create_client", counted)
    fresh = CopyTable(TABLE_NAME)
    create(fresh)
    (job,) = fresh.jobs("c")
    run(fresh, job)
    assert fresh.hold_lease("poller", "me", at(0), at(1))
    assert fresh.backlogs() == []
    assert made == ["dynamodb"]


def test_every_item_has_the_templates_keys() -> None:
    keys = {key["KeyType"]: key["AttributeName"] for key in properties("CopyTable")["KeySchema"]}
    for model in (CopyItem, JobItem, LeaseItem, SlotsItem, WaitedForItem, OutcomesItem, FolderItem):
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
    for index, of_template in zip(made["GlobalSecondaryIndexes"], described["GlobalSecondaryIndexes"], strict=True):
        assert (index["IndexName"], index["Projection"]) == (of_template["IndexName"], of_template["Projection"])
