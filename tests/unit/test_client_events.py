"""``parse_event``: what EventBridge delivers, as dataclasses."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from icav2_copy_batch.client import CopyDelayed, CopyFailed, CopyRejected, CopyStarted, Invalid, parse_event
from icav2_copy_batch.client.events import KINDS
from tests.event_files import sample, sample_names

SAMPLES = sorted(name for name in sample_names() if name.startswith("out/"))
LOOP_OF_OLD = {"job_status_iterable_parameter", "wait_parameter"}
"""Of the tool that this replaces: they say nothing."""


@pytest.mark.parametrize("name", SAMPLES)
def test_each_event_is_read_and_every_key_of_it_has_a_field(name: str) -> None:
    event = sample(name)
    parsed = parse_event(event)
    assert type(parsed).__name__ == event["detail-type"]
    assert set(event["detail"]) - LOOP_OF_OLD <= {each.name for each in fields(parsed)}
    for key in ("event_id", "copy_id", "schema_version"):
        assert getattr(parsed, key) == event["detail"][key]


def test_there_is_a_sample_of_each_kind() -> None:
    assert {sample(name)["detail-type"] for name in SAMPLES} == set(KINDS)


def test_a_failed_copy_says_which_files_failed_and_why() -> None:
    failed = parse_event(json.dumps(sample("out/copy-failed")))
    assert isinstance(failed, CopyFailed)
    assert (failed.counters.jobs_failed, failed.counters.jobs_passed) == (2, 1)
    assert failed.failed_jobs[1].failed_sources[0].reason == "read timed out"
    assert failed.failed_jobs[0].failed_jobs_list == ("3e8d1a4c-6b2f-4d9e-8c7a-5f0b2e4d6a18",)
    assert [job.job_status for job in failed.job_list_with_attempt_counter] == [True, False, False]


def test_a_delayed_copy_names_its_jobs() -> None:
    delayed = parse_event(sample("out/copy-delayed"))
    assert isinstance(delayed, CopyDelayed)
    assert [(job.job_id, job.job_status) for job in delayed.delayed_jobs] == [
        ("000001", "RUNNING"),
        ("000002", "QUEUED"),
    ]


def test_a_rejected_submission_has_its_problems() -> None:
    rejected = parse_event(sample("out/copy-rejected"))
    assert isinstance(rejected, CopyRejected)
    assert rejected.problem_count == len(rejected.problems)
    assert (rejected.tags, rejected.redrive_of) == ({"run": "240229_A00130_0288"}, None)
    assert [each.problem for each in rejected.problems] == [
        each["problem"] for each in sample("out/copy-rejected")["detail"]["problems"]
    ]


def test_keys_that_are_not_known_are_passed_over() -> None:
    event = sample("out/copy-started")
    event["detail"] |= {"new": 1, "tags": {"run": "42"}}
    event["new"] = True
    started = parse_event(event)
    assert isinstance(started, CopyStarted)
    assert started.tags == {"run": "42"}


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("{", "not an event: "),
        ({"source": "aws.s3", "detail-type": "Object Created", "detail": {}}, "its source has to be icav2-copy-batch"),
        ([], "its source has to be icav2-copy-batch"),
        ({"source": "icav2-copy-batch", "detail-type": "CopyPainted", "detail": {}}, "unknown kind CopyPainted; known"),
        ({"source": "icav2-copy-batch", "detail-type": "CopyStarted"}, "not an event of the kind CopyStarted"),
        ({"source": "icav2-copy-batch", "detail-type": "CopyStarted", "detail": {}}, "'event_id'"),
    ],
)
def test_what_is_no_event_of_ours_is_invalid(event: Any, why: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_event(event)
    assert why in str(error.value)
