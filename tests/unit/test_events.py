"""What comes out: the details of the events, and what is done where they would be too large."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import repeat
from uuid import UUID

import pytest

from icav2_copy_batch.domain import events as documents
from icav2_copy_batch.domain.events import MAX_CAUSE_BYTES, MAX_DETAIL_BYTES, Detail, Sendable, encode, event_id
from icav2_copy_batch.domain.job import Attempt, Copy, CopyStatus, Job, JobStatus, timestamp
from icav2_copy_batch.domain.outcomes import SourceOutcome
from icav2_copy_batch.domain.problems import Problem, Refused
from tests import doubles
from tests.event_files import schema_faults, undocumented_keys
from tests.outgoing_events import ONLY_IN_A_RESULT, ONLY_OF_A_JOB_IN_A_RESULT, as_sent, settled_result

STARTED_AT, SETTLED_AT = "2024-05-28T03:11:58.500Z", "2024-05-28T03:21:05.750Z"
RESULT_URI, REPORT_URI = "s3://bucket/results/run-288.json", "s3://bucket/results/run-288.html"
STORED = {
    "upload_uri": "s3://bucket/manifests/a b#.json",
    "submission_uri": "s3://bucket/rejected/sqs-1/submission",
    "problems_uri": "s3://bucket/rejected/sqs-1/problems.json",
}


def copy(passed: int = 0, failed: int = 0, open_jobs: int = 0) -> Copy:
    return Copy(
        copy_id="run-288",
        digest="digest",
        submitted_at=STARTED_AT,
        total_jobs=passed + failed + open_jobs,
        open_jobs=open_jobs,
        passed_jobs=passed,
        failed_jobs=failed,
        manifest_uri="s3://bucket/manifests/run-288.json",
        settled_at=None if open_jobs else SETTLED_AT,
    )


def attempt(number: int, outcome: str, ica_job_id: str | None = None, reason: str | None = None) -> Attempt:
    return Attempt(number, outcome, SETTLED_AT, ica_job_id=ica_job_id, reason=reason)


def job(destination: str, sources: list[str], *attempts: Attempt) -> Job:
    passed = attempts[-1].outcome == "SUCCEEDED"
    return Job(
        copy_id="run-288",
        job_id="000001",
        status=JobStatus.PASSED if passed else JobStatus.FAILED,
        attempt=len(attempts),
        destination=destination,
        sources=tuple(sources),
        attempts=attempts,
        reason=attempts[-1].reason,
    )


PASSED_AT_ONCE = job("icav2://to/a/", ["icav2://from/2", "icav2://from/1"], attempt(1, "SUCCEEDED", "ica-1"))
PASSED_IN_THE_END = job(
    "icav2://to/b/",
    ["icav2://from/ü #1/"],
    attempt(1, "FAILED", "ica-2", "disk full"),
    attempt(2, "PARTIALLY_SUCCEEDED", "ica-3", "some are missing"),
    attempt(3, "SUCCEEDED", "ica-4"),
)
GIVEN_UP = job(
    "icav2://to/c/",
    ["icav2://from/3"],
    attempt(1, "STOPPED", "ica-5", "stopped"),
    attempt(2, "FAILED", "ica-6", "ICA job ica-6 ended FAILED"),
)
NEVER_STARTED = job(
    "icav2://to/d/", ["icav2://from/4"], attempt(1, "REFUSED", None, "the source icav2://from/4 was not found")
)


def settled_detail(settled: Copy, jobs: list[Job], result_uri: str) -> Detail:
    """What is stored, and sent where it fits."""
    return as_sent(settled_result(settled, jobs, result_uri)[0])


def sent(settled: Copy, jobs: list[Job]) -> Detail:
    return settled_result(settled, jobs, RESULT_URI)[1].detail()


def with_outcomes(ended: Attempt, wrong: list[SourceOutcome]) -> Attempt:
    return replace(ended, outcomes=tuple(wrong))


def long_failed_job(number: int, reason: str) -> Job:
    return job(f"icav2://to/{number:06d}/", [f"icav2://from/{number}"], attempt(1, "FAILED", f"ica-{number}", reason))


# --- the six events --------------------------------------------------------------------------------------------------


def test_the_detail_of_a_started_copy() -> None:
    assert documents.started_detail(replace(copy(open_jobs=3), tags={"run": "288"})) == {
        "schema_version": "1.1",
        "event_id": event_id("run-288", "CopyStarted"),
        "copy_id": "run-288",
        "status": "OPEN",
        "submitted_at": STARTED_AT,
        "manifest_uri": "s3://bucket/manifests/run-288.json",
        "total_jobs": 3,
        "tags": {"run": "288"},
        "redrive_of": None,
    }


def test_the_detail_of_a_completed_copy_holds_the_replaced_tools_document() -> None:
    detail = settled_detail(copy(passed=2), [PASSED_AT_ONCE, PASSED_IN_THE_END], RESULT_URI)
    assert detail == {
        "schema_version": "1.1",
        "event_id": event_id("run-288", "CopyCompleted"),
        "copy_id": "run-288",
        "status": "COMPLETED",
        "submitted_at": STARTED_AT,
        "settled_at": SETTLED_AT,
        "manifest_uri": "s3://bucket/manifests/run-288.json",
        "result_uri": RESULT_URI,
        "report_uri": REPORT_URI,
        "cancelled_jobs": 0,
        "tags": {},
        "redrive_of": None,
        "truncated": False,
        "failed_jobs": [],
        "job_status_iterable_parameter": {"job_status_iterable": 1},
        "wait_parameter": {"wait": True},
        "counters": {"jobs_failed": 0, "jobs_running": 0, "jobs_passed": 2},
        "job_list_with_attempt_counter": [
            {
                "job_attempt_counter": 1,
                "job_id": "ica-1",
                "failed_jobs_list": [],
                "dest_uri": "icav2://to/a/",
                "source_uris": ["icav2://from/2", "icav2://from/1"],
                "job_status": True,
            },
            {
                "job_attempt_counter": 3,
                "job_id": "ica-4",
                "failed_jobs_list": ["ica-2", "ica-3"],
                "dest_uri": "icav2://to/b/",
                "source_uris": ["icav2://from/ü #1/"],
                "job_status": True,
            },
        ],
    }


def test_the_detail_of_a_failed_copy_names_the_failed_jobs_with_their_reasons() -> None:
    detail = settled_detail(copy(passed=1, failed=2), [PASSED_AT_ONCE, GIVEN_UP, NEVER_STARTED], RESULT_URI)
    assert detail["status"] == "FAILED"
    assert detail["counters"] == {"jobs_failed": 2, "jobs_running": 0, "jobs_passed": 1}
    assert detail["failed_jobs"] == [
        {
            "dest_uri": "icav2://to/c/",
            "attempts": 2,
            "failed_jobs_list": ["ica-5", "ica-6"],
            "reason": "ICA job ica-6 ended FAILED",
            "failed_sources": [],
        },
        {
            "dest_uri": "icav2://to/d/",
            "attempts": 1,
            "failed_jobs_list": [],
            "reason": "the source icav2://from/4 was not found",
            "failed_sources": [],
        },
    ]
    assert detail["job_list_with_attempt_counter"][1:] == [
        {
            "job_attempt_counter": 2,
            "job_id": "ica-6",
            "failed_jobs_list": ["ica-5", "ica-6"],
            "dest_uri": "icav2://to/c/",
            "source_uris": ["icav2://from/3"],
            "job_status": False,
        },
        {
            "job_attempt_counter": 1,
            "job_id": None,
            "failed_jobs_list": [],
            "dest_uri": "icav2://to/d/",
            "source_uris": ["icav2://from/4"],
            "job_status": False,
        },
    ]


def test_the_result_has_the_history_of_each_job_and_what_all_add_up_to() -> None:
    first = replace(
        attempt(1, "FAILED", "ica-1", "disk full"), queued_at=STARTED_AT, running_at="2024-05-28T03:12:01.000Z"
    )
    ended = job("icav2://to/a/", ["icav2://from/1", "icav2://from/2/"], first, attempt(2, "SUCCEEDED", "ica-2"))
    detail, sendable = settled_result(
        copy(passed=1, failed=1), [replace(ended, ended_at=SETTLED_AT), GIVEN_UP], RESULT_URI
    )
    assert {key: detail[key] for key in ONLY_IN_A_RESULT} == {
        "first_launched_at": "2024-05-28T03:12:01.000Z",
        "attempts": 4,
        "ica_jobs": 4,
        "files": 2,
        "folders": 1,
        "bytes": 0,
        "outcomes": {"COPIED": 2, "FAILED": 1},
    }
    history = detail["job_list_with_attempt_counter"][0]
    common = {"queued_at": None, "claimed_at": None, "running_at": None, "ended_at": SETTLED_AT}
    assert {key: history[key] for key in ONLY_OF_A_JOB_IN_A_RESULT} == {
        "job_number": 1,
        "status": "PASSED",
        "queued_at": STARTED_AT,
        "ended_at": SETTLED_AT,
        "attempts": [
            {"outcome": "FAILED", "ica_job_id": "ica-1", "reason": "disk full"}
            | common
            | {"queued_at": STARTED_AT, "running_at": "2024-05-28T03:12:01.000Z"},
            {"outcome": "SUCCEEDED", "ica_job_id": "ica-2", "reason": None} | common,
        ],
    }
    assert undocumented_keys("copy-settled", {**detail, "outcomes": {}}) == []
    assert sendable.detail() == as_sent(detail)


@pytest.mark.parametrize(("failed", "reads"), [(0, 1), (3, 1), (4000, 2)])
def test_the_jobs_are_read_once_unless_very_many_have_failed(failed: int, reads: int) -> None:
    """The list of failed jobs comes after all jobs, and is held until then if it is not too long."""
    jobs = [long_failed_job(number, "disk full " * 180) for number in range(failed)]
    calls: list[int] = []

    def read() -> list[Job]:
        calls.append(1)
        return [PASSED_AT_ONCE, *jobs]

    of_copy = copy(passed=1, failed=failed)
    stored = json.loads("".join(documents.result(of_copy, read, RESULT_URI, Sendable(of_copy, RESULT_URI))))
    assert len(calls) == reads
    assert [each["dest_uri"] for each in stored["failed_jobs"]] == [each.destination for each in jobs]


def test_a_failed_job_names_the_sources_that_its_last_attempt_did_not_copy() -> None:
    sources = ["icav2://from/1", "icav2://from/2", "icav2://from/3"]
    wrong = [SourceOutcome(sources[0], "FAILED", "disk full"), SourceOutcome(sources[2], "MISSING")]
    lost = job("icav2://to/c/", sources, with_outcomes(attempt(1, "FAILED", "ica-6", "2 of 3"), wrong))
    (failed,) = settled_detail(copy(failed=1), [lost], RESULT_URI)["failed_jobs"]
    assert failed["failed_sources"] == [
        {"source_uri": "icav2://from/1", "outcome": "FAILED", "reason": "disk full"},
        {"source_uri": "icav2://from/3", "outcome": "MISSING", "reason": None},
    ]


def test_a_failed_job_names_twenty_failed_sources_at_most() -> None:
    sources = [f"icav2://from/{number}" for number in range(25)]
    wrong = [SourceOutcome(source, "FAILED", "disk full") for source in sources]
    lost = job("icav2://to/c/", sources, with_outcomes(attempt(1, "FAILED", "ica-6", "all"), wrong))
    detail = settled_detail(copy(failed=1), [lost], RESULT_URI)
    assert [each["source_uri"] for each in detail["failed_jobs"][0]["failed_sources"]] == sources[:20]
    assert schema_faults("copy-settled", detail) == []


NOW = datetime(2024, 5, 28, 4, 12, 1, tzinfo=UTC)
RUNNING = Job(
    "run-288",
    "000001",
    JobStatus.RUNNING,
    2,
    "icav2://to/a/",
    queued_at=STARTED_AT,
    claimed_at="2024-05-28T03:12:00.000Z",
    running_at="2024-05-28T03:12:01.000Z",
    ica_job_id="ica-1",
)
LAUNCHING = replace(RUNNING, status=JobStatus.LAUNCHING, ica_job_id=None)
QUEUED = replace(RUNNING, status=JobStatus.QUEUED, ica_job_id=None, hold=doubles.hold("ICA answered 503"))


def test_the_detail_of_a_delayed_copy_says_what_is_waited_for() -> None:
    detail = documents.delayed_detail(
        replace(copy(open_jobs=3), redrive_of="run-287"), [RUNNING, LAUNCHING, QUEUED], NOW
    )
    jobs = detail.pop("delayed_jobs")
    assert detail == {
        "schema_version": "1.1",
        "event_id": event_id("run-288", "CopyDelayed"),
        "copy_id": "run-288",
        "status": "OPEN",
        "submitted_at": STARTED_AT,
        "delayed_at": "2024-05-28T04:12:01.000Z",
        "manifest_uri": "s3://bucket/manifests/run-288.json",
        "open_jobs": 3,
        "all_jobs_written": False,
        "tags": {},
        "redrive_of": "run-287",
    }
    assert jobs[0] == {
        "job_id": "000001",
        "dest_uri": "icav2://to/a/",
        "job_status": "RUNNING",
        "since": "2024-05-28T03:12:01.000Z",
        "attempt": 2,
        "ica_job_id": "ica-1",
        "reason": "ICA job ica-1 has not ended, or ICA does not show it",
    }
    assert [(each["job_status"], each["since"], each["ica_job_id"], each["reason"]) for each in jobs[1:]] == [
        ("LAUNCHING", LAUNCHING.claimed_at, None, "it is not known yet whether ICA has started a copy batch for it"),
        ("QUEUED", STARTED_AT, None, "ICA answered 503"),
    ]


def test_a_copy_whose_jobs_were_never_all_written_is_delayed_without_a_job() -> None:
    detail = documents.delayed_detail(copy(open_jobs=3), [], NOW)
    assert (detail["all_jobs_written"], detail["delayed_jobs"]) == (False, [])
    ingested = documents.delayed_detail(replace(copy(open_jobs=3), ingested_at=STARTED_AT), [], NOW)
    assert ingested["all_jobs_written"] is True


def test_a_delayed_job_is_told_with_its_project_called_as_its_client_does() -> None:
    project, _, path = RUNNING.destination.removeprefix("icav2://").partition("/")
    named = replace(copy(open_jobs=1), project_names={project: "a [project]"})
    (delayed,) = documents.delayed_detail(named, [RUNNING], NOW)["delayed_jobs"]
    assert delayed["dest_uri"] == f"icav2://a [project]/{path}"


@pytest.mark.parametrize("job", [RUNNING, LAUNCHING, QUEUED, replace(QUEUED, hold=None)])
def test_the_detail_of_a_delayed_copy_is_as_its_schema_says(job: Job) -> None:
    assert schema_faults("copy-delayed", documents.delayed_detail(copy(open_jobs=1), [job], NOW)) == []


@pytest.mark.parametrize(("number", "reason"), [(5000, "disk full"), (300, "概" * 5000)])
def test_the_detail_of_a_delayed_copy_fits(number: int, reason: str) -> None:
    jobs = [replace(QUEUED, job_id=f"{index:06d}", hold=doubles.hold(reason)) for index in range(number)]
    detail = documents.delayed_detail(copy(open_jobs=number), jobs, NOW)
    assert len(encode(detail)) <= MAX_CAUSE_BYTES
    assert detail["delayed_jobs"]
    assert detail["open_jobs"] == number
    assert schema_faults("copy-delayed", detail) == []


@pytest.mark.parametrize(("failed", "detail_type"), [(0, "CopyCompleted"), (1, "CopyFailed")])
def test_a_settled_copy_is_published_as_completed_or_failed(failed: int, detail_type: str) -> None:
    settled = copy(passed=1, failed=failed)
    assert documents.settled_type(settled) == detail_type
    assert settled_detail(settled, [], RESULT_URI)["event_id"] == event_id("run-288", detail_type)


def test_the_detail_is_of_the_end_also_while_it_is_not_noted_yet() -> None:
    open_still = settled_detail(copy(passed=1), [PASSED_AT_ONCE], RESULT_URI)
    noted = settled_detail(replace(copy(passed=1), status=CopyStatus.COMPLETED), [PASSED_AT_ONCE], RESULT_URI)
    assert open_still == noted


def test_the_detail_of_a_rejected_submission_names_its_problems() -> None:
    refused = Refused([Problem("icav2://a", "is wrong"), Problem("typo", "is not a known key")], total=7)
    detail = documents.rejected_detail("sqs-1", "run-288", refused, STARTED_AT, STORED, tags={}, redrive_of=None)
    assert detail == {
        "schema_version": "1.1",
        "event_id": event_id("sqs-1", "CopyRejected"),
        "submission_id": "sqs-1",
        "copy_id": "run-288",
        "rejected_at": STARTED_AT,
        "problem_count": 7,
        "problems": [
            {"about": "icav2://a", "problem": "is wrong"},
            {"about": "typo", "problem": "is not a known key"},
        ],
        **STORED,
        "tags": {},
        "redrive_of": None,
    }


# --- event ids -------------------------------------------------------------------------------------------------------


def test_an_event_id_never_changes_since_consumers_know_repetitions_by_it() -> None:
    assert event_id("run-288", "CopyCompleted") == "8834204e-1ff1-51fc-899c-e5ea8e6378da"
    assert UUID(event_id("run-288", "CopyCompleted")).version == 5


def test_each_event_of_each_subject_has_an_id_of_its_own() -> None:
    types = [
        documents.COPY_STARTED,
        documents.COPY_DELAYED,
        documents.COPY_COMPLETED,
        documents.COPY_FAILED,
        documents.COPY_REJECTED,
    ]
    assert len({event_id(subject, each) for subject in ("run-288", "run-289") for each in types}) == 10


# --- limits ----------------------------------------------------------------------------------------------------------


def job_of_size(size: int) -> Job:
    """A job with which the whole detail of its copy takes so many bytes."""
    (source,) = GIVEN_UP.sources
    short = len(encode(settled_detail(copy(failed=1), [GIVEN_UP], RESULT_URI)))
    return replace(GIVEN_UP, sources=(source + "x" * (size - short),))


def test_a_detail_up_to_the_limit_is_sent_whole_and_one_byte_more_without_its_jobs() -> None:
    fitting, larger = job_of_size(MAX_DETAIL_BYTES), job_of_size(MAX_DETAIL_BYTES + 1)
    whole = settled_detail(copy(failed=1), [fitting], RESULT_URI)
    assert len(encode(whole)) == MAX_DETAIL_BYTES
    assert sent(copy(failed=1), [fitting]) == whole
    stored = settled_detail(copy(failed=1), [larger], RESULT_URI)
    assert stored["truncated"] is False, "what is stored is whole"
    assert sent(copy(failed=1), [larger]) == {
        key: value for key, value in stored.items() if key != "job_list_with_attempt_counter"
    } | {"truncated": True}


def test_a_limit_is_of_bytes_as_they_are_sent() -> None:
    sources = [f"icav2://from/概要{number}" for number in range(MAX_DETAIL_BYTES // 25)]
    passed = replace(PASSED_AT_ONCE, sources=tuple(sources))
    detail = settled_detail(copy(passed=1), [passed], RESULT_URI)
    assert len(str(detail)) < MAX_DETAIL_BYTES < len(encode(detail))
    assert sent(copy(passed=1), [passed])["truncated"] is True


def test_the_result_is_written_job_by_job() -> None:
    """So that only one is in memory, however many there are."""
    read: list[int] = []

    def jobs() -> Iterator[Job]:
        for number in range(1000):
            read.append(number)
            yield PASSED_AT_ONCE

    pieces = documents.result(copy(passed=1000), jobs, RESULT_URI, Sendable(copy(passed=1000), RESULT_URI))
    for number in range(10):
        next(pieces)
        assert len(read) <= number
    assert len("".join(pieces)) > 1000


@pytest.mark.parametrize("status", [JobStatus.PASSED, JobStatus.FAILED])
def test_what_is_sent_holds_no_more_of_a_copy_than_can_be_sent(status: JobStatus) -> None:
    """A copy of 1,500 jobs of 100 sources each: tens of megabytes."""
    sources = [f"icav2://from/{number:03d}/{'x' * 100}" for number in range(100)]
    one = replace(GIVEN_UP, status=status, sources=tuple(sources))
    failed = 1500 if status is JobStatus.FAILED else 0
    of_copy = copy(passed=1500 - failed, failed=failed)
    sendable = Sendable(of_copy, RESULT_URI)
    tracemalloc.start()
    try:
        written = sum(
            len(piece) for piece in documents.result(of_copy, lambda: repeat(one, 1500), RESULT_URI, sendable)
        )
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written > 15_000_000
    assert most < 5_000_000
    assert sendable.is_full
    assert sendable.detail()["counters"]["jobs_failed"] == failed


@pytest.mark.parametrize("number", [1000, 5000])
def test_a_detail_that_was_cut_names_the_first_hundred_failed_jobs(number: int) -> None:
    jobs = [long_failed_job(index, "disk full " * 20) for index in range(number)]
    detail = sent(copy(failed=number), jobs)
    assert detail["truncated"] is True
    assert [each["dest_uri"] for each in detail["failed_jobs"]] == [each.destination for each in jobs[:100]]
    assert detail["counters"]["jobs_failed"] == number


def test_a_detail_fits_however_long_its_reasons_are() -> None:
    jobs = [long_failed_job(index, "概" * 5000) for index in range(300)]
    detail = sent(copy(failed=300), jobs)
    assert len(encode(detail).encode()) <= MAX_DETAIL_BYTES
    assert detail["failed_jobs"]
    assert schema_faults("copy-settled", detail) == []


def test_a_long_reason_is_cut() -> None:
    detail = settled_detail(copy(failed=1), [long_failed_job(1, "x" * 1001)], RESULT_URI)
    assert detail["failed_jobs"][0]["reason"] == "x" * 999 + "…"


def test_a_failed_job_without_a_reason_has_an_unknown_one() -> None:
    detail = settled_detail(copy(failed=1), [replace(GIVEN_UP, reason=None)], RESULT_URI)
    assert detail["failed_jobs"][0]["reason"] == "unknown"


def test_the_cause_of_a_failed_task_names_the_failed_jobs_and_where_the_result_is() -> None:
    detail, sendable = settled_result(copy(passed=1, failed=1), [PASSED_AT_ONCE, GIVEN_UP], RESULT_URI)
    assert sendable.cause() == {
        "copy_id": "run-288",
        "status": "FAILED",
        "settled_at": SETTLED_AT,
        "result_uri": RESULT_URI,
        "report_uri": REPORT_URI,
        "counters": {"jobs_failed": 1, "jobs_running": 0, "jobs_passed": 1},
        "failed_jobs": detail["failed_jobs"],
    }


@pytest.mark.parametrize(("number", "reason"), [(10, "disk full"), (1000, "disk full"), (300, "概" * 5000)])
def test_the_cause_of_a_failed_task_fits(number: int, reason: str) -> None:
    jobs = [long_failed_job(index, reason) for index in range(number)]
    detail, sendable = settled_result(copy(failed=number), jobs, RESULT_URI)
    cause = sendable.cause()
    assert len(encode(cause)) <= MAX_CAUSE_BYTES
    assert cause["failed_jobs"] == detail["failed_jobs"][: len(cause["failed_jobs"])] != []
    assert cause["counters"]["jobs_failed"] == number


@pytest.mark.parametrize(
    ("number", "text", "kept"),
    [
        (1, "x" * 100_000, "x" * 999 + "…"),
        (100, "x", "x"),
        (100, "x" * 5000, "x" * 999 + "…"),
        (100, "概" * 5000, "概" * 999 + "…"),
    ],
)
def test_the_detail_of_a_rejected_submission_fits_a_cause(number: int, text: str, kept: str) -> None:
    refused = Refused([Problem(text, text)] * number, total=12_345)
    detail = documents.rejected_detail("sqs-1", None, refused, STARTED_AT, STORED, tags={}, redrive_of=None)
    assert len(encode(detail)) <= MAX_CAUSE_BYTES
    assert detail["problems"][0] == {"about": kept, "problem": kept}
    assert detail["problem_count"] == 12_345
    assert schema_faults("copy-rejected", detail) == []


def test_the_detail_of_a_rejected_submission_fits_however_long_its_copy_id_is() -> None:
    refused = Refused(
        [Problem("copy_id", "must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or digit")]
    )
    detail = documents.rejected_detail("sqs-1", "x" * 300_000, refused, STARTED_AT, STORED, tags={}, redrive_of=None)
    assert len(encode(detail)) <= MAX_CAUSE_BYTES


@pytest.mark.parametrize(("characters", "kept"), [(100, True), (256, False)])
def test_the_tags_of_a_rejected_submission_leave_room_for_a_problem(characters: int, kept: bool) -> None:
    tags = {f"{number}": "概" * characters for number in range(10)}
    refused = Refused([Problem("概" * 5000, "概" * 5000)])
    detail = documents.rejected_detail("sqs-1", "概" * 5000, refused, STARTED_AT, STORED, tags=tags, redrive_of=None)
    assert detail["tags"] == (tags if kept else {})
    assert len(detail["problems"]) == 1
    assert len(encode(detail)) <= MAX_CAUSE_BYTES
    assert schema_faults("copy-rejected", detail) == []


def test_what_is_sent_is_ascii_without_needless_space() -> None:
    assert encode({"a": ["ü", 1], "b": None}) == '{"a":["\\u00fc",1],"b":null}'


# --- every detail is as its schema says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jobs",
    [
        [PASSED_AT_ONCE],
        [PASSED_AT_ONCE, PASSED_IN_THE_END],
        [GIVEN_UP],
        [NEVER_STARTED, PASSED_IN_THE_END, GIVEN_UP],
        [long_failed_job(number, "disk full") for number in range(2000)],
    ],
    ids=["one passed", "all passed", "one failed", "some failed", "truncated"],
)
def test_every_detail_of_a_settled_copy_is_as_its_schema_says(jobs: list[Job]) -> None:
    failed = sum(job.status is JobStatus.FAILED for job in jobs)
    detail, sendable = settled_result(copy(passed=len(jobs) - failed, failed=failed), jobs, RESULT_URI)
    assert schema_faults("copy-settled", detail) == []
    assert schema_faults("copy-settled", sendable.detail()) == []


def test_the_detail_of_a_started_copy_is_as_its_schema_says() -> None:
    assert schema_faults("copy-started", documents.started_detail(copy(open_jobs=1))) == []


WRONG = Refused([Problem("", "is wrong")])


@pytest.mark.parametrize("copy_id", ["run-288", "no copy id!", None])
@pytest.mark.parametrize("submission_uri", [STORED["submission_uri"], None])
def test_the_detail_of_a_rejected_submission_is_as_its_schema_says(
    copy_id: str | None, submission_uri: str | None
) -> None:
    stored = {**STORED, "submission_uri": submission_uri}
    now = timestamp(datetime.now(UTC))
    detail = documents.rejected_detail("sqs-1", copy_id, WRONG, now, stored, tags={"run": "1"}, redrive_of="x")
    assert schema_faults("copy-rejected", detail) == []
