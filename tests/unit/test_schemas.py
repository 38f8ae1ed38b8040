"""The published schemas and samples: what we promise of what goes in and of what comes out."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from copy import deepcopy
from dataclasses import asdict, fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from icav2_copy_batch.adapters.table.models import CopyItem
from icav2_copy_batch.adapters.table.packing import REASON_CHARACTERS
from icav2_copy_batch.domain.events import EVENT_SOURCE, FAILED_SOURCES_LISTED
from icav2_copy_batch.domain.ica import ended_job_of
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.manifest import Limits, flip
from icav2_copy_batch.domain.problems import PROBLEMS_LISTED
from icav2_copy_batch.domain.requests import BY_QUEUE, REQUESTS, read_request
from icav2_copy_batch.domain.submission import uploads_in
from icav2_copy_batch.domain.submit import ACTIONS_ON_EXIST, MESSAGE_KEYS, TAG_FLAGS, CopyOptions, read_submit
from icav2_copy_batch.domain.uri import MAX_URI_CHARACTERS
from tests.event_files import (
    EVENTS,
    invocation,
    invocation_names,
    sample,
    sample_names,
    schema_faults,
    schemas,
    undocumented_keys,
)
from tests.outgoing_events import outgoing_events

COMMANDS = ["command-cancel", "command-pause"]
MESSAGES = ["message-manifest", "message-manifest-b64gz", "message-manifest-uri", "message-with-all-options"]
NOTIFICATIONS = ["s3-object-created", "s3-notification", "s3-test-event"]
INVOCATIONS = [
    "sqs-ingest-event",
    "sqs-launch-event",
    "sqs-notification-event",
    "schedule-poll-event",
    "stream-settled-event",
]
SCHEMA_OF_OUTGOING = {
    "copy-started": "copy-started",
    "copy-delayed": "copy-delayed",
    "copy-completed": "copy-settled",
    "copy-failed": "copy-settled",
    "copy-cancelled": "copy-settled",
    "copy-rejected": "copy-rejected",
}


def test_every_sample_is_tested_here() -> None:
    known = {"manifest", "state-machine-input", *COMMANDS, *MESSAGES}
    assert sample_names() == known | {f"out/{name}" for name in SCHEMA_OF_OUTGOING}
    assert invocation_names() == {*NOTIFICATIONS, *INVOCATIONS}


def test_what_is_published_is_described_beside_it() -> None:
    described = (EVENTS / "README.md").read_text()
    names = {f"{name}.json" for name in sample_names()} | {path.name for path in (EVENTS / "schemas").iterdir()}
    assert not [name for name in names if f"`{name}`" not in described and f"`schemas/{name}`" not in described]


# --- the schemas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(schemas()))
def test_each_schema_is_one_of_draft_2020_12_and_says_what_it_is(name: str) -> None:
    schema = schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"https://icav2-copy-batch/schemas/{name}.schema.json"
    assert schema["title"]
    assert schema["description"]
    for key, described in schema.get("properties", {}).items():
        resolved = schema.get("$defs", {}).get(str(described.get("$ref")).removeprefix("#/$defs/"), {})
        assert "description" in described or "description" in resolved, key


def test_a_definition_that_stands_in_several_schemas_is_the_same_in_all() -> None:
    definitions: dict[str, Any] = {}
    for schema in schemas().values():
        for name, definition in schema.get("$defs", {}).items():
            assert definitions.setdefault(name, definition) == definition


@pytest.mark.parametrize("name", ["copy-started", "copy-delayed", "copy-settled", "copy-rejected", "launch-message"])
def test_the_schema_of_what_comes_out_can_be_used_alone(name: str) -> None:
    references = [line for line in json.dumps(schemas()[name], indent=0).splitlines() if '"$ref"' in line]
    assert references
    assert all('"#/' in line for line in references)


def test_the_schema_of_messages_has_the_keys_and_defaults_of_messages() -> None:
    properties = schemas()["message"]["properties"]
    assert set(properties) == set(MESSAGE_KEYS)
    assert tuple(properties["action_on_exist"]["enum"]) == ACTIONS_ON_EXIST
    assert {key: properties[key]["default"] for key in ("action_on_exist", *TAG_FLAGS)} == asdict(CopyOptions())


def test_the_schemas_have_the_limits_of_the_code() -> None:
    assert schemas()["manifest"]["$defs"]["source"]["maxLength"] == MAX_URI_CHARACTERS
    assert schemas()["manifest"]["$defs"]["destination"]["maxLength"] == MAX_URI_CHARACTERS
    assert schemas()["copy-rejected"]["properties"]["problems"]["maxItems"] == PROBLEMS_LISTED
    failed_jobs = schemas()["copy-settled"]["properties"]["failed_jobs"]["items"]["properties"]
    assert failed_jobs["failed_sources"]["maxItems"] == FAILED_SOURCES_LISTED
    reason = failed_jobs["failed_sources"]["items"]["properties"]["reason"]
    assert reason["maxLength"] == max(REASON_CHARACTERS)


def test_the_schema_of_launch_messages_has_the_keys_and_defaults_of_a_launch_request() -> None:
    schema = schemas()["launch-message"]
    assert list(schema["properties"]) == [field.name for field in fields(LaunchRequest)]
    assert schema_faults("launch-message", asdict(LaunchRequest("run-288", "000001", 1))) == []


# --- the samples of what goes in -------------------------------------------------------------------------------------


def test_the_sample_of_a_manifest_can_be_copied_and_shows_what_paths_may_hold() -> None:
    manifest = sample("manifest")
    assert schema_faults("manifest", manifest) == []
    assert flip(manifest, Limits())
    names = "".join(source.rsplit("/", 1)[-1] for source in manifest)
    assert {" ", "#", "%", "+", "?"} <= set(names)
    assert not names.isascii()
    assert any(source.endswith("/") for source in manifest)
    assert any(len(destinations) > 1 for destinations in manifest.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_sample_of_a_command_is_one(name: str) -> None:
    assert schema_faults("command", sample(name)) == []
    assert isinstance(read_request(sample(name)), BY_QUEUE)


def test_a_command_names_a_project_by_its_id() -> None:
    """A pause of a name would hold nothing."""
    pause = sample("command-pause")
    for project_id in (pause["project_id"], pause["project_id"].upper()):
        assert schema_faults("command", {**pause, "project_id": project_id}) == []
    assert schema_faults("command", {**pause, "project_id": "archive-project"})


def test_the_schema_of_commands_has_the_commands_and_keys_that_ingest_takes() -> None:
    properties = schemas()["command"]["properties"]
    by_queue = {name: kind for name, kind in REQUESTS.items() if kind in BY_QUEUE}
    assert set(properties["command"]["enum"]) == set(by_queue)
    keys = {field.name for kind in by_queue.values() for field in fields(kind)}
    assert set(properties) == {"command"} | keys - {"project"}, "only the control function looks a project's name up"


@pytest.mark.parametrize("name", MESSAGES)
def test_each_sample_of_a_message_is_one(name: str) -> None:
    assert schema_faults("message", sample(name)) == []
    message = read_submit(sample(name), "message")
    assert message.manifest is None or flip(message.manifest, Limits())


def test_one_sample_of_a_message_shows_every_key_but_the_other_two_ways_to_bring_a_manifest() -> None:
    assert set(sample("message-with-all-options")) == set(MESSAGE_KEYS) - {"manifest_b64gz", "manifest_uri"}


def test_the_sample_in_base64_of_gzip_is_of_the_manifest_of_the_plain_one() -> None:
    packed = b64decode(sample("message-manifest-b64gz")["manifest_b64gz"], validate=True)
    assert json.loads(gzip.decompress(packed)) == sample("message-manifest")["manifest"]


def test_the_input_of_the_state_machine_is_a_message_once_it_has_its_task_token() -> None:
    assert "task_token" not in sample("state-machine-input")
    assert schema_faults("message", {**sample("state-machine-input"), "task_token": "token"}) == []


@pytest.mark.parametrize(("name", "uploads"), [("s3-object-created", 1), ("s3-notification", 2), ("s3-test-event", 0)])
def test_each_sample_of_a_notification_is_about_uploads_below_manifests(name: str, uploads: int) -> None:
    found = uploads_in(invocation(name))
    assert found is not None
    assert len(found) == uploads


def test_the_sample_of_an_invocation_of_ingest_holds_a_message() -> None:
    for record in invocation("sqs-ingest-event")["Records"]:
        assert schema_faults("message", json.loads(record["body"])) == []


def test_the_sample_of_an_invocation_of_launch_holds_launch_messages() -> None:
    records = invocation("sqs-launch-event")["Records"]
    assert len(records) == 2
    for record in records:
        body = json.loads(record["body"])
        assert schema_faults("launch-message", body) == []
        assert asdict(LaunchRequest(**body)) == body
        assert record["attributes"]["MessageGroupId"] == body["copy_id"]


def test_the_sample_of_an_invocation_of_notify_holds_a_notification() -> None:
    (record,) = invocation("sqs-notification-event")["Records"]
    assert ended_job_of(record["body"]) == json.loads(record["body"])["payload"]["id"]


def test_the_sample_of_an_invocation_of_poll_is_the_schedules() -> None:
    event = invocation("schedule-poll-event")
    assert (event["source"], event["detail-type"]) == ("aws.events", "Scheduled Event")


def test_the_sample_of_the_stream_is_of_the_write_that_ended_the_last_job_of_a_copy() -> None:
    (record,) = invocation("stream-settled-event")["Records"]
    written = record["dynamodb"]
    before, after = (CopyItem.from_raw_data(deepcopy(written[image])) for image in ("OldImage", "NewImage"))
    assert record["eventName"] == "MODIFY"
    assert written["Keys"] == {"copy_id": {"S": after.copy_id}, "item": {"S": "COPY"}}
    assert (before.open_jobs, after.open_jobs) == (1, 0)
    assert (after.passed_jobs, after.total_jobs, after.status) == (2, 2, "OPEN")
    assert set(written["NewImage"]) <= set(CopyItem.get_attributes())
    changed = {key for key in written["NewImage"] if written["NewImage"][key] != written["OldImage"][key]}
    assert changed == {"open_jobs", "passed_jobs", "settled_at"}


# --- the samples of what comes out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "schema"), SCHEMA_OF_OUTGOING.items())
def test_each_sample_of_an_event_is_what_the_code_makes_and_its_schema_says(name: str, schema: str) -> None:
    event = sample(f"out/{name}")
    assert event == outgoing_events()[name]
    assert event["source"] == EVENT_SOURCE
    assert event["detail-type"] == "".join(word.title() for word in name.split("-"))
    assert schema_faults(schema, event["detail"]) == []
    assert undocumented_keys(schema, event["detail"]) == []


# --- what the schemas let pass: within version 1 keys are only added -----------------------------------------------


@pytest.mark.parametrize("name", SCHEMA_OF_OUTGOING)
def test_a_consumer_takes_an_event_of_a_later_minor_version(name: str) -> None:
    detail = changed(sample(f"out/{name}")["detail"], "schema_version", "1.12")
    detail = changed(detail, "a_key_of_tomorrow", {"a": 1})
    assert schema_faults(SCHEMA_OF_OUTGOING[name], detail) == []
    assert undocumented_keys(SCHEMA_OF_OUTGOING[name], detail)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("delayed", "delayed_jobs.0.more"),
        ("completed", "counters.jobs_cancelled"),
        ("completed", "job_list_with_attempt_counter.0.bytes"),
        ("failed", "failed_jobs.1.failed_sources.0.more"),
    ],
)
def test_parts_of_an_event_may_get_further_keys(name: str, path: str) -> None:
    detail = changed(sample(f"out/copy-{name}")["detail"], path, 1)
    assert schema_faults(SCHEMA_OF_OUTGOING[f"copy-{name}"], detail) == []


# --- what the schemas refuse -----------------------------------------------------------------------------------------


def changed(document: Any, path: str, value: Any) -> Any:
    """The document with another value at a dotted path; without it, if the value is ``KeyError``."""
    document = deepcopy(document)
    *parents, key = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = document
    for parent in parents:
        inner = inner[parent]
    if value is KeyError:
        del inner[key]
    else:
        inner[key] = value
    return document


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("started", "status", "COMPLETED"),
        ("started", "schema_version", "2.0"),
        ("started", "schema_version", "1"),
        ("started", "event_id", "no uuid"),
        ("started", "total_jobs", 0),
        ("started", "submitted_at", "2024-05-28T03:11:58Z"),
        ("started", "submitted_at", "2024-13-28T03:11:58.000Z"),
        ("started", "manifest_uri", "https://bucket/key"),
        ("started", "copy_id", ""),
        ("delayed", "status", "COMPLETED"),
        ("delayed", "delayed_at", "2024-05-28T03:11:58Z"),
        ("delayed", "open_jobs", -1),
        ("delayed", "all_jobs_written", None),
        ("delayed", "delayed_jobs", None),
        ("delayed", "delayed_jobs.0.job_id", "1"),
        ("delayed", "delayed_jobs.0.dest_uri", "icav2://to/file"),
        ("delayed", "delayed_jobs.0.job_status", "PASSED"),
        ("delayed", "delayed_jobs.0.since", ""),
        ("delayed", "delayed_jobs.0.attempt", 0),
        ("delayed", "delayed_jobs.0.ica_job_id", None),
        ("delayed", "delayed_jobs.1.ica_job_id", "ica-1"),
        ("delayed", "delayed_jobs.0.reason", ""),
        ("delayed", "delayed_jobs.0.reason", "x" * 1001),
        ("completed", "status", "OPEN"),
        ("completed", "status", "FAILED"),
        ("completed", "truncated", True),
        ("completed", "job_list_with_attempt_counter", KeyError),
        ("completed", "counters.jobs_running", 1),
        ("completed", "counters.jobs_failed", 1),
        ("completed", "wait_parameter.wait", False),
        ("completed", "job_status_iterable_parameter.job_status_iterable", 0),
        ("completed", "job_list_with_attempt_counter.0.job_status", "PASSED"),
        ("completed", "job_list_with_attempt_counter.0.job_attempt_counter", 0),
        ("completed", "job_list_with_attempt_counter.0.dest_uri", "icav2://to/file"),
        ("completed", "job_list_with_attempt_counter.0.source_uris", []),
        ("failed", "status", "COMPLETED"),
        ("failed", "counters.jobs_failed", 0),
        ("failed", "failed_jobs.0.reason", ""),
        ("failed", "failed_jobs.0.reason", "x" * 1001),
        ("failed", "failed_jobs.0.attempts", 0),
        ("failed", "failed_jobs.0.failed_sources", KeyError),
        ("failed", "failed_jobs.1.failed_sources.0.source_uri", "from/a.txt"),
        ("failed", "failed_jobs.1.failed_sources.0.outcome", ""),
        ("failed", "failed_jobs.1.failed_sources.0.reason", ""),
        ("failed", "failed_jobs.1.failed_sources.0.reason", "x" * 301),
        ("failed", "failed_jobs.1.failed_sources.0.reason", KeyError),
        ("rejected", "problem_count", 0),
        ("rejected", "problems.0.about", None),
        ("rejected", "problems.0.problem", ""),
        ("rejected", "submission_id", "1"),
        ("rejected", "submission_uri", ""),
        ("rejected", "problems_uri", None),
        ("rejected", "copy_id", 1),
        ("rejected", "tags.run", 1),
        ("rejected", "redrive_of", ""),
    ],
)
def test_an_event_that_says_something_else_is_not_as_its_schema_says(name: str, path: str, value: Any) -> None:
    detail = changed(sample(f"out/copy-{name}")["detail"], path, value)
    assert schema_faults(SCHEMA_OF_OUTGOING[f"copy-{name}"], detail)


@pytest.mark.parametrize("name", SCHEMA_OF_OUTGOING)
def test_an_event_without_one_of_its_keys_is_not_as_its_schema_says(name: str) -> None:
    detail = sample(f"out/{name}")["detail"]
    for key in detail:
        assert schema_faults(SCHEMA_OF_OUTGOING[name], changed(detail, key, KeyError)), key


@pytest.mark.parametrize(("path", "value"), [("attempt", 0), ("job_id", "1"), ("copy_id", KeyError), ("more", 1)])
def test_a_launch_message_that_makes_no_sense_is_not_as_its_schema_says(path: str, value: Any) -> None:
    assert schema_faults("launch-message", changed(asdict(LaunchRequest("run-288", "000001", 1)), path, value))
