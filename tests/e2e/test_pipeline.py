"""The deployed template on a local AWS (IAM enforced), against the simulated ICA, as a user meets it."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest

from icav2_copy_batch.stages.poll import NOTIFIED_LEASE_NAME
from local.demo import subscribed
from local.manifests import bclconvert_manifest
from local.stack import TOKEN, LocalStack
from tests.e2e.conftest import Subscriber
from tests.e2e.steps import (
    assert_copied_whole,
    await_empty,
    end_of,
    first_folders,
    gzipped,
    lease_until,
    rejection,
    send,
    simulator,
    start_execution,
    stocked,
    stored,
    stored_bytes,
    upload,
)
from tests.outgoing_events import as_sent


def test_an_uploaded_manifest_is_copied_whole(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, bclconvert_manifest(seed=101))
    upload(stack, "manifests/a run/with spaces & signs+#.json", json.dumps(manifest).encode())

    started = subscriber.wait_for(lambda event: event["detail"].get("total_jobs") == 44)
    event = subscriber.settled(started["detail"]["copy_id"])

    assert event["detail-type"] == "CopyCompleted"
    assert_copied_whole(stack, manifest, event["detail"])
    assert as_sent(stored(stack, event["detail"]["result_uri"])) == event["detail"]
    report = event["detail"]["report_uri"]
    assert f"Copy {event['detail']['copy_id']}: COMPLETED" in stored_bytes(stack, report).decode()
    assert len(stored_bytes(stack, report.removesuffix("html") + "csv").splitlines()) == 1 + len(manifest)
    assert event["detail"]["manifest_uri"].endswith("manifests/a run/with spaces & signs+#.json")


def test_a_message_with_a_gzipped_manifest_is_copied_whole(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, bclconvert_manifest(seed=102))
    send(stack, {"manifest_b64gz": gzipped(manifest), "copy_id": "by-message"})

    event = subscriber.settled("by-message")

    assert event["detail-type"] == "CopyCompleted"
    assert_copied_whole(stack, manifest, event["detail"])
    assert stored(stack, event["detail"]["manifest_uri"]) == manifest


def test_the_state_machine_takes_the_old_input_and_returns_the_old_output(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    manifest = stocked(stack, bclconvert_manifest(seed=103))
    arn = stack.client("ssm").get_parameter(Name="/icav2_copy_batch_utility/state_machine_arn")["Parameter"]["Value"]
    execution = start_execution(stack, {"manifest_b64gz": gzipped(manifest)}, arn)

    ended = end_of(stack, execution)

    assert ended["status"] == "SUCCEEDED"
    output = json.loads(ended["output"])
    assert_copied_whole(stack, manifest, output)
    assert output["job_status_iterable_parameter"] == {"job_status_iterable": 1}
    assert output["wait_parameter"] == {"wait": True}
    assert subscriber.settled(output["copy_id"])["detail"] == output


def test_a_job_that_always_fails_is_given_up_after_six_attempts_and_the_others_pass(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    """The others succeed one after the other meanwhile: else it could not be told from an outage, and would wait."""
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=104), 13))
    doomed, *others = dict.fromkeys(each for destinations in manifest.values() for each in destinations)
    _, _, project, folder = doomed.split("/", 3)
    script = {"project": project, "folder": f"/{folder}", "outcomes": ["FAILED"], "repeat_last": True}
    simulator(stack).post("/script", script)
    for number, other in enumerate(others, start=1):
        outcome = {"status": "SUCCEEDED", "seconds": 4.0 * number}
        folder_of_other = "/" + other.split("/", 3)[3]
        simulator(stack).post("/script", {"project": project, "folder": folder_of_other, "outcomes": [outcome]})
    execution = start_execution(stack, {"manifest": manifest, "copy_id": "doomed"})

    event = subscriber.settled("doomed")
    ended = end_of(stack, execution)

    assert event["detail-type"] == "CopyFailed"
    assert event["detail"]["counters"] == {"jobs_failed": 1, "jobs_running": 0, "jobs_passed": 12}
    (failed,) = event["detail"]["failed_jobs"]
    assert failed["dest_uri"] == doomed
    assert failed["attempts"] == 6
    ica_jobs = {job["job_id"]: job for job in simulator(stack).get("/jobs") if job["project"] == project}
    into_doomed = {job_id: job for job_id, job in ica_jobs.items() if job["folder"] == f"/{folder}"}
    assert set(failed["failed_jobs_list"]) == into_doomed.keys()
    assert len(into_doomed) == 6
    assert ica_jobs[failed["failed_jobs_list"][-1]]["reason"] in failed["reason"]
    assert [job["job_status"] for job in event["detail"]["job_list_with_attempt_counter"]].count(True) == 12
    assert ended["status"] == "FAILED"
    assert ended["error"] == "CopyFailed"
    assert doomed in ended["cause"]


def test_a_source_that_is_not_there_fails_its_job_at_once_with_a_sentence(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    manifest = first_folders(bclconvert_manifest(seed=105), 2)
    simulator(stack).stock({source: to for source, to in manifest.items() if not source.endswith("R2_001.fastq.gz")})
    jobs_before = len(simulator(stack).get("/jobs"))
    send(stack, {"manifest": manifest, "copy_id": "not-there"})

    event = subscriber.settled("not-there")

    assert event["detail-type"] == "CopyFailed"
    assert [failed["attempts"] for failed in event["detail"]["failed_jobs"]] == [1, 1]
    assert all("was not found" in failed["reason"] for failed in event["detail"]["failed_jobs"])
    assert len(simulator(stack).get("/jobs")) == jobs_before


def test_options_and_strange_names_reach_ica_unchanged(stack: LocalStack, subscriber: Subscriber) -> None:
    source, destination = f"source {uuid4()}", f"destination {uuid4()}"
    manifest = {
        f"icav2://{source}/a b/100% #1?+é 日本.txt": [f"icav2://{destination}/out put/#1?+é 日本/"],
        f"icav2://{source}/whole folder/": [f"icav2://{destination}/out put/#1?+é 日本/"],
    }
    simulator(stack).stock(manifest)
    send(stack, {"manifest": manifest, "copy_id": "strange", "action_on_exist": "OVERWRITE", "copy_user_tags": False})

    event = subscriber.settled("strange")

    assert event["detail-type"] == "CopyCompleted"
    wanted, available = simulator(stack).copied(manifest)
    assert wanted == available > 2
    (job,) = [job for job in simulator(stack).get("/jobs") if job["folder"] == "/out put/#1?+é 日本/"][-1:]
    assert job["action_on_exist"] == "OVERWRITE"


def test_whatever_is_sent_twice_launches_nothing_new(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=106), 8))
    message = {"manifest": manifest, "copy_id": "twice"}
    send(stack, message)
    subscriber.wait_for(lambda event: event["detail"]["copy_id"] == "twice")
    send(stack, message)
    requests = [{"copy_id": "twice", "job_id": f"{n:06d}", "attempt": a} for n in range(1, 9) for a in (1, 2, 3)]
    for request in requests:
        stack.client("sqs").send_message(QueueUrl=stack.outputs["LaunchQueueUrl"], MessageBody=json.dumps(request))

    event = subscriber.settled("twice")
    for request in requests:
        stack.client("sqs").send_message(QueueUrl=stack.outputs["LaunchQueueUrl"], MessageBody=json.dumps(request))
    await_empty(stack, "LaunchQueueUrl", "IngestQueueUrl")

    assert_copied_whole(stack, manifest, event["detail"])
    assert subscriber.of("twice") == ["CopyStarted", "CopyCompleted"]


def test_the_same_upload_notified_twice_is_one_copy(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=107), 2))
    with subscribed(stack, source="aws.s3") as uploads:
        upload(stack, "manifests/once.json.gz", gzip.compress(json.dumps(manifest).encode()))
        notice = next(notice for notice in uploads if notice)
    started = subscriber.wait_for(lambda event: event["detail"].get("manifest_uri", "").endswith("once.json.gz"))
    send(stack, notice)
    event = subscriber.settled(started["detail"]["copy_id"])
    await_empty(stack, "IngestQueueUrl")

    assert_copied_whole(stack, manifest, event["detail"])
    assert subscriber.of(started["detail"]["copy_id"]) == ["CopyStarted", "CopyCompleted"]


def test_a_submission_of_a_copy_that_has_settled_is_answered_by_it(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=108), 1))
    send(stack, {"manifest": manifest, "copy_id": "answered-later"})
    event = subscriber.settled("answered-later")

    ended = end_of(stack, start_execution(stack, {"manifest": manifest, "copy_id": "answered-later"}))

    assert json.loads(ended["output"]) == event["detail"]
    assert subscriber.of("answered-later") == ["CopyStarted", "CopyCompleted"]


A, B = "icav2://project-a", "icav2://project-b"
REFUSALS: dict[str, tuple[Any, str]] = {
    "not an object": ([1], "must be a JSON object"),
    "unknown key": ({"manifest": {f"{A}/x": [f"{B}/y/"]}, "colour": "red"}, "colour: is not a known key"),
    "no manifest": ({"copy_id": "x"}, "must have exactly one of"),
    "bad base64": ({"manifest_b64gz": "§"}, "is not base64"),
    "not gzip": ({"manifest_b64gz": b64encode(b"plain").decode()}, "not of gzipped data"),
    "empty map": ({"manifest": {}}, "is empty"),
    "no list": ({"manifest": {f"{A}/x": f"{B}/y/"}}, f"{A}/x: must have a non-empty list"),
    "bad URI": ({"manifest": {"s3://x/y": [f"{B}/y/"]}}, "s3://x/y: does not start with icav2://"),
    "no final slash": ({"manifest": {f"{A}/x": [f"{B}/y"]}}, f"{B}/y: is a destination, which must be a folder"),
    "same twice": ({"manifest": {f"{A}/x": [f"{B}/y/", f"{B}/y/"]}}, "more than once"),
    "same name": ({"manifest": {f"{A}/1/x": [f"{B}/y/"], f"{A}/2/x": [f"{B}/y/"]}}, "has the same name as"),
    "same project": ({"manifest": {f"{A}/x": [f"{A}/y/"]}}, "is in the same project as its destination"),
    "no such file": ({"manifest_uri": "s3://no-such-bucket-anywhere/x.json"}, "may not be read|does not exist"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_message_is_kept_with_its_reasons_and_published(
    stack: LocalStack, subscriber: Subscriber, refusal: str
) -> None:
    body, reason = REFUSALS[refusal]
    message_id = send(stack, body)

    detail = rejection(subscriber, f"sqs-{message_id}")

    reasons = [f"{each['about']}: {each['problem']}" for each in detail["problems"]]
    assert any(part in text for text in reasons for part in reason.split("|")), reasons
    assert stored(stack, detail["submission_uri"]) == body
    assert stored(stack, detail["problems_uri"])["problem_count"] == detail["problem_count"] == len(reasons)


def test_what_cannot_even_be_read_is_kept_and_published(stack: LocalStack, subscriber: Subscriber) -> None:
    sent = stack.client("sqs").send_message(QueueUrl=stack.outputs["IngestQueueUrl"], MessageBody="{no JSON")

    detail = rejection(subscriber, f"sqs-{sent['MessageId']}")

    assert "is not JSON" in detail["problems"][0]["problem"]
    assert stored_bytes(stack, detail["submission_uri"]) == b"{no JSON"


def test_a_refused_upload_is_kept_as_it_was_sent(stack: LocalStack, subscriber: Subscriber) -> None:
    bomb = gzip.compress(b" " * (300 * 1024 * 1024))
    upload(stack, "manifests/bomb.json", bomb)

    detail = subscriber.wait_for(
        lambda event: event["detail-type"] == "CopyRejected" and "bomb" in str(event["detail"]["problems"])
    )["detail"]

    assert "decompresses to more than" in detail["problems"][0]["problem"]
    assert stored_bytes(stack, detail["submission_uri"]) == bomb


def test_a_duplicate_source_is_refused_though_a_parser_would_drop_it(stack: LocalStack, subscriber: Subscriber) -> None:
    text = f'{{"{A}/x": ["{B}/1/"], "{A}/x": ["{B}/2/"]}}'
    upload(stack, "manifests/duplicate.json", text.encode())

    event = subscriber.wait_for(lambda event: "is a key more than once" in str(event["detail"].get("problems")))

    assert event["detail"]["problems"][0]["about"] == f"{A}/x"


def test_a_copy_id_in_use_for_other_content_is_refused_and_fails_the_execution(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=109), 1))
    other = stocked(stack, first_folders(bclconvert_manifest(seed=110), 1))
    send(stack, {"manifest": manifest, "copy_id": "taken"})
    subscriber.settled("taken")

    ended = end_of(stack, start_execution(stack, {"manifest": other, "copy_id": "taken"}))

    assert ended["status"] == "FAILED"
    assert ended["error"] == "CopyRejected"
    assert "is the copy_id of another manifest" in ended["cause"]


def test_notifications_of_icas_move_a_copy_on(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=111), 6))
    (project,) = {destination.split("/")[2] for each in manifest.values() for destination in each}
    assert [each.status for each in stack.copies.subscribe([project])] == ["subscribed"]
    send(stack, {"manifest": manifest, "copy_id": "notified"})

    event = subscriber.settled("notified")

    assert_copied_whole(stack, manifest, event["detail"])
    assert simulator(stack).get("/state")["notifications"]["sent"] > 0
    assert lease_until(stack, f"{NOTIFIED_LEASE_NAME} {project}") > event["detail"]["submitted_at"]


def test_no_files_were_written_by_two_jobs_and_the_token_was_never_logged(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    assert simulator(stack).get("/state")["violations"] == []
    assert simulator(stack).get("/state")["totals"]["jobs"] > 0
    assert TOKEN not in stack.log.read_text()
