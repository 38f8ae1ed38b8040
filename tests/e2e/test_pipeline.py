"""The deployed template on a local AWS (IAM enforced), against the simulated ICA, as a user meets it."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest

from local.demo import subscribed
from local.manifests import Manifest, bclconvert_manifest
from local.stack import TOKEN, LocalStack, Simulator
from tests.e2e.conftest import GIVE_UP_SECONDS, Subscriber

Detail = dict[str, Any]


def test_an_uploaded_manifest_is_copied_whole(stack: LocalStack, subscriber: Subscriber) -> None:
    manifest = stocked(stack, bclconvert_manifest(seed=101))
    upload(stack, "manifests/a run/with spaces & signs+#.json", json.dumps(manifest).encode())

    started = subscriber.wait_for(lambda event: event["detail"].get("total_jobs") == 44)
    event = subscriber.settled(started["detail"]["copy_id"])

    assert event["detail-type"] == "CopyCompleted"
    assert_copied_whole(stack, manifest, event["detail"])
    assert stored(stack, event["detail"]["result_uri"]) == event["detail"]
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
    manifest = stocked(stack, first_folders(bclconvert_manifest(seed=104), 5))
    doomed = next(iter(manifest.values()))[0]
    _, _, project, folder = doomed.split("/", 3)
    script = {"project": project, "folder": f"/{folder}", "outcomes": ["FAILED"], "repeat_last": True}
    simulator(stack).post("/script", script)
    execution = start_execution(stack, {"manifest": manifest, "copy_id": "doomed"})

    event = subscriber.settled("doomed")
    ended = end_of(stack, execution)

    assert event["detail-type"] == "CopyFailed"
    assert event["detail"]["counters"] == {"jobs_failed": 1, "jobs_running": 0, "jobs_passed": 4}
    (failed,) = event["detail"]["failed_jobs"]
    assert failed["dest_uri"] == doomed
    assert failed["attempts"] == 6
    ica_jobs = {job["job_id"]: job for job in simulator(stack).get("/jobs") if job["project"] == project}
    into_doomed = {job_id: job for job_id, job in ica_jobs.items() if job["folder"] == f"/{folder}"}
    assert set(failed["failed_jobs_list"]) == into_doomed.keys()
    assert len(into_doomed) == 6
    assert ica_jobs[failed["failed_jobs_list"][-1]]["reason"] in failed["reason"]
    assert [job["job_status"] for job in event["detail"]["job_list_with_attempt_counter"]].count(True) == 4
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


def test_the_same_upload_announced_twice_is_one_copy(stack: LocalStack, subscriber: Subscriber) -> None:
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
def test_a_refused_message_is_kept_with_its_reasons_and_announced(
    stack: LocalStack, subscriber: Subscriber, refusal: str
) -> None:
    body, reason = REFUSALS[refusal]
    message_id = send(stack, body)

    detail = rejection(subscriber, f"sqs-{message_id}")

    reasons = [f"{each['about']}: {each['problem']}" for each in detail["problems"]]
    assert any(part in text for text in reasons for part in reason.split("|")), reasons
    assert stored(stack, detail["submission_uri"]) == body
    assert stored(stack, detail["problems_uri"])["problem_count"] == detail["problem_count"] == len(reasons)


def test_what_cannot_even_be_read_is_kept_and_announced(stack: LocalStack, subscriber: Subscriber) -> None:
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

    event = subscriber.wait_for(lambda event: "stands more than once" in str(event["detail"].get("problems")))

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
    assert "is a copy_id in use for another manifest" in ended["cause"]


def test_no_files_were_written_by_two_jobs_and_the_token_was_never_logged(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    assert simulator(stack).get("/state")["violations"] == []
    assert simulator(stack).get("/state")["totals"]["jobs"] > 0
    assert TOKEN not in stack.log.read_text()


# --- what the tests do to the stack -----------------------------------------------------------------------------------


def simulator(stack: LocalStack) -> Simulator:
    assert stack.simulator is not None
    return stack.simulator


def stocked(stack: LocalStack, manifest: Manifest) -> Manifest:
    simulator(stack).stock(manifest)
    return manifest


def first_folders(manifest: Manifest, folders: int) -> Manifest:
    """The part of a manifest that goes into its first destination folders."""
    kept = list(dict.fromkeys(destination for each in manifest.values() for destination in each))[:folders]
    return {source: to for source, to in manifest.items() if to[0] in kept}


def gzipped(manifest: Manifest) -> str:
    return b64encode(gzip.compress(json.dumps(manifest).encode())).decode()


def send(stack: LocalStack, message: object) -> str:
    body = json.dumps(message)
    sent = stack.client("sqs").send_message(QueueUrl=stack.outputs["IngestQueueUrl"], MessageBody=body)
    return str(sent["MessageId"])


def upload(stack: LocalStack, key: str, content: bytes) -> str:
    bucket = stack.outputs["ManifestBucketName"]
    return str(stack.client("s3").put_object(Bucket=bucket, Key=key, Body=content).get("VersionId"))


def start_execution(stack: LocalStack, state_input: Mapping[str, Any], arn: str | None = None) -> str:
    state_machine = arn or stack.outputs["StateMachineArn"]
    client = stack.client("stepfunctions")
    return str(client.start_execution(stateMachineArn=state_machine, input=json.dumps(state_input))["executionArn"])


def end_of(stack: LocalStack, execution: str) -> Detail:
    give_up_at = monotonic() + GIVE_UP_SECONDS
    while monotonic() < give_up_at:
        described: Detail = stack.client("stepfunctions").describe_execution(executionArn=execution)
        if described["status"] != "RUNNING":
            return described
        sleep(0.2)
    raise AssertionError(f"{execution} has not ended")


def await_empty(stack: LocalStack, *queues: str) -> None:
    """Wait until everything that was sent to these queues has been handled."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    give_up_at = monotonic() + GIVE_UP_SECONDS
    for queue in queues:
        url = stack.outputs[queue]
        while any(int(n) for n in _attributes(stack, url, names)):
            assert monotonic() < give_up_at, f"{queue} is not being emptied"
            sleep(0.2)


def _attributes(stack: LocalStack, queue_url: str, names: list[str]) -> Iterable[str]:
    answer = stack.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    values: dict[str, str] = answer["Attributes"]
    return values.values()


def rejection(subscriber: Subscriber, submission_id: str) -> Detail:
    event = subscriber.wait_for(
        lambda event: event["detail-type"] == "CopyRejected" and event["detail"]["submission_id"] == submission_id
    )
    return dict(event["detail"])


def stored_bytes(stack: LocalStack, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bytes(stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def stored(stack: LocalStack, uri: str) -> Any:
    return json.loads(stored_bytes(stack, uri))


def assert_copied_whole(stack: LocalStack, manifest: Manifest, detail: Detail) -> None:
    """Every file is there, every job passed, and the jobs' ICA jobs are just those that ICA ran for the manifest."""
    wanted, available = simulator(stack).copied(manifest)
    assert wanted == available == len(manifest)
    destinations = {destination for each in manifest.values() for destination in each}
    jobs = detail["job_list_with_attempt_counter"]
    assert {job["dest_uri"] for job in jobs} == destinations
    assert all(job["job_status"] is True for job in jobs)
    assert detail["counters"] == {"jobs_failed": 0, "jobs_running": 0, "jobs_passed": len(destinations)}
    assert sorted(source for job in jobs for source in job["source_uris"]) == sorted(manifest)
    (project,) = {destination.split("/")[2] for destination in destinations}
    ran = {job["job_id"]: job["status"] for job in simulator(stack).get("/jobs") if job["project"] == project}
    told = {job["job_id"]: "SUCCEEDED" for job in jobs}
    failed = {job_id for job in jobs for job_id in job["failed_jobs_list"]}
    assert {job_id for job_id, status in ran.items() if status == "SUCCEEDED"} == told.keys()
    assert {job_id for job_id, status in ran.items() if status != "SUCCEEDED"} == failed
    assert all(job["job_attempt_counter"] == 1 + len(job["failed_jobs_list"]) for job in jobs)
