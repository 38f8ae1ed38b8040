"""What ICA's job statuses mean to us, and what a call that failed means."""

from __future__ import annotations

import json

import pytest

from icav2_copy_batch.domain.ica import (
    ERRORS_OF_FAILURES,
    VERDICTS,
    CallFailure,
    CopyBatchItem,
    IcaAnswerLost,
    IcaError,
    IcaRefused,
    IcaUnavailable,
    Verdict,
    ended_job_of,
    failure_of,
    verdict_of,
)
from local.simulator.model import ItemStatus, JobStatus


@pytest.mark.parametrize(
    ("ica_status", "verdict"),
    [
        ("INITIALIZED", Verdict.STILL_RUNNING),
        ("WAITING_FOR_RESOURCES", Verdict.STILL_RUNNING),
        ("RUNNING", Verdict.STILL_RUNNING),
        ("SUCCEEDED", Verdict.SUCCEEDED),
        ("PARTIALLY_SUCCEEDED", Verdict.FAILED),
        ("FAILED", Verdict.FAILED),
        ("STOPPED", Verdict.FAILED),
    ],
)
def test_each_status_of_ica_has_its_verdict(ica_status: str, verdict: Verdict) -> None:
    assert verdict_of(ica_status) is verdict


def test_the_simulated_ica_knows_the_same_statuses_and_which_of_them_are_final() -> None:
    assert set(VERDICTS) == {status.value for status in JobStatus}
    assert {status for status in VERDICTS if VERDICTS[status] is not Verdict.STILL_RUNNING} == {
        status.value for status in JobStatus if status.final
    }


@pytest.mark.parametrize("ica_status", ["", "ABORTED", "succeeded", "SUCCEEDED ", "FAILED_FINAL"])
def test_a_status_that_is_new_to_us_counts_as_still_running(ica_status: str) -> None:
    assert verdict_of(ica_status) is Verdict.STILL_RUNNING


# --- items -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*(status.value for status in ItemStatus), "", "copied", "NEW_TO_US"])
def test_an_item_is_copied_when_ica_says_just_that(status: str) -> None:
    """What is new to us is launched again, which a SKIP makes harmless."""
    assert CopyBatchItem("fil.1", status).is_copied is (status == "COPIED")


# --- calls that failed -----------------------------------------------------------------------------------------------

TRANSIENT, UNKNOWN, PERMANENT = IcaUnavailable, IcaAnswerLost, IcaRefused


def test_each_way_to_fail_has_its_consequence() -> None:
    assert set(ERRORS_OF_FAILURES) == set(CallFailure)


@pytest.mark.parametrize("failure", CallFailure)
def test_only_the_start_of_a_copy_batch_can_be_unknown(failure: CallFailure) -> None:
    of_a_look, of_a_start = ERRORS_OF_FAILURES[failure]
    assert of_a_look in (TRANSIENT, PERMANENT)
    assert of_a_start is (of_a_look if of_a_start is not UNKNOWN else UNKNOWN)
    assert of_a_look is TRANSIENT or of_a_start is PERMANENT, "what is refused is refused of every call"


@pytest.mark.parametrize(
    ("statuses", "failure", "of_a_look", "of_a_start"),
    [
        ([400, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 418, 422, 451, 499], "REFUSED", PERMANENT, PERMANENT),
        ([401, 409, 425, 429], "TURNED_AWAY", TRANSIENT, TRANSIENT),
        ([408], "NO_ANSWER", TRANSIENT, UNKNOWN),
        ([500, 501, 502, 503, 504, 520, 599], "SERVER_ERROR", TRANSIENT, UNKNOWN),
        ([100, 101, 300, 301, 302, 303, 304, 307, 308, 399], "UNREADABLE", TRANSIENT, UNKNOWN),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_status_that_is_no_success_says_what_has_happened(
    statuses: list[int], failure: str, of_a_look: type[IcaError], of_a_start: type[IcaError]
) -> None:
    for status in statuses:
        assert failure_of(status) is CallFailure[failure], status
        assert ERRORS_OF_FAILURES[failure_of(status)] == (of_a_look, of_a_start), status


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422, 451])
def test_a_4xx_without_the_apis_problem_document_may_be_somebody_elses_and_says_nothing_for_good(status: int) -> None:
    assert failure_of(status, is_problem=False) is CallFailure.UNREADABLE
    assert ERRORS_OF_FAILURES[CallFailure.UNREADABLE] == (TRANSIENT, UNKNOWN)


@pytest.mark.parametrize("status", [401, 408, 409, 413, 414, 425, 429, 431, 500, 503])
def test_some_statuses_say_the_same_whoever_answers(status: int) -> None:
    assert failure_of(status, is_problem=False) is failure_of(status)


def test_a_connection_that_was_never_made_has_done_nothing_and_one_that_was_dropped_may_have() -> None:
    assert ERRORS_OF_FAILURES[CallFailure.NOT_REACHED] == (TRANSIENT, TRANSIENT)
    assert ERRORS_OF_FAILURES[CallFailure.NO_ANSWER] == (TRANSIENT, UNKNOWN)


@pytest.mark.parametrize("http_status", [None, 401, 409, 429, 503])
def test_only_a_429_asks_for_fewer_calls(http_status: int | None) -> None:
    assert IcaUnavailable("", http_status=http_status).is_throttling is (http_status == 429)


# --- notifications ---------------------------------------------------------------------------------------------------


def notification(status: object, job_id: object = "a-job", code: object = "ICA_JOB_001") -> str:
    return json.dumps({"eventCode": code, "payload": {"id": job_id, "status": status}})


@pytest.mark.parametrize("status", VERDICTS)
def test_a_notification_is_a_hint_where_it_says_that_a_job_has_ended(status: str) -> None:
    ended = VERDICTS[status] is not Verdict.STILL_RUNNING
    assert ended_job_of(notification(status)) == ("a-job" if ended else None)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "This is a test message",
        "[]",
        "null",
        "{}",
        '"ICA_JOB_001"',
        '{"eventCode": "ICA_JOB_001"}',
        '{"eventCode": "ICA_JOB_001", "payload": null}',
        '{"eventCode": "ICA_JOB_001", "payload": {"id": "a-job"}}',
        notification("SUCCEEDED", code="ICA_EXEC_028"),
        notification("SUCCEEDED", job_id=7),
        notification("SUCCEEDED", job_id=None),
        notification(["SUCCEEDED"]),
        notification("FROBNICATED"),
    ],
)
def test_a_notification_that_says_anything_else_is_none(body: str) -> None:
    assert ended_job_of(body) is None
