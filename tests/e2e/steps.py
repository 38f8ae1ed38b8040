"""What the end-to-end tests do to the deployed stack and to the simulated ICA, and what they see there."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, sleep
from typing import Any

from local.manifests import Manifest
from local.stack import STACK_NAME, LocalStack, Simulator
from tests.e2e.conftest import GIVE_UP_SECONDS, Subscriber

Detail = dict[str, Any]


def simulator(stack: LocalStack) -> Simulator:
    assert stack.simulator is not None
    return stack.simulator


def stocked(stack: LocalStack, manifest: Manifest, file_size: int | None = None) -> Manifest:
    """The manifest, once there are its projects and sources; where no size is given, each file has one of its own."""
    simulator(stack).post("/seed", {"manifest": manifest, "file_size": file_size})
    return manifest


def first_folders(manifest: Manifest, folders: int) -> Manifest:
    """The part of a manifest that goes into its first destination folders."""
    kept = destinations(manifest)[:folders]
    return {source: to for source, to in manifest.items() if to[0] in kept}


def gzipped(manifest: Manifest) -> str:
    return b64encode(gzip.compress(json.dumps(manifest).encode())).decode()


def destinations(manifest: Manifest) -> list[str]:
    """Its destination folders, each once and in order."""
    return list(dict.fromkeys(destination for each in manifest.values() for destination in each))


def place(uri: str) -> tuple[str, str]:
    """Project and path of an ``icav2://`` URI."""
    project, _, path = uri.removeprefix("icav2://").partition("/")
    return project, f"/{path}"


def script(stack: LocalStack, destination: str, *outcomes: str | Mapping[str, Any], for_ever: bool = False) -> None:
    """How the next ICA jobs into a folder end."""
    project, folder = place(destination)
    simulator(stack).post(
        "/script", {"project": project, "folder": folder, "outcomes": outcomes, "repeat_last": for_ever}
    )


def folder_of(ica_job: Mapping[str, Any]) -> str:
    """The URI of the folder that a job of the simulated ICA copies into."""
    return f"icav2://{ica_job['project']}{ica_job['folder']}"


def ica_jobs(stack: LocalStack, manifest: Manifest) -> list[int]:
    """How many ICA jobs there were into each of a manifest's destinations."""
    ran = Counter(map(folder_of, simulator(stack).get("/jobs")))
    return [ran[destination] for destination in destinations(manifest)]


def function_name(stack: LocalStack, logical_id: str) -> str:
    described = stack.client("cloudformation").describe_stack_resource(
        StackName=STACK_NAME, LogicalResourceId=logical_id
    )
    return str(described["StackResourceDetail"]["PhysicalResourceId"])


def poll(stack: LocalStack) -> None:
    """What the schedule does each minute."""
    stack.client("lambda").invoke(
        FunctionName=function_name(stack, "PollFunction"),
        InvocationType="Event",
        Payload=json.dumps({"source": "aws.events"}),
    )


def until(condition: Callable[[], object], what: str) -> None:
    give_up_at = monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert monotonic() < give_up_at, f"in vain waited until {what}"
        sleep(0.05)


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
    jobs = detail["job_list_with_attempt_counter"]
    assert {job["dest_uri"] for job in jobs} == set(destinations(manifest))
    assert all(job["job_status"] is True for job in jobs)
    assert detail["counters"] == {"jobs_failed": 0, "jobs_running": 0, "jobs_passed": len(destinations(manifest))}
    assert sorted(source for job in jobs for source in job["source_uris"]) == sorted(manifest)
    jobs_of_ica = simulator(stack).get("/jobs")
    ran = {job["job_id"]: job["status"] for job in jobs_of_ica if folder_of(job) in destinations(manifest)}
    told = {job["job_id"] for job in jobs}
    failed = {job_id for job in jobs for job_id in job["failed_jobs_list"]}
    assert {ran[job_id] for job_id in told} == {"SUCCEEDED"}
    assert ran.keys() - told == failed
    assert all(job["job_attempt_counter"] == 1 + len(job["failed_jobs_list"]) for job in jobs)


def lease_until(stack: LocalStack, name: str) -> str:
    """Until when the lease of that name was last taken; an empty text where it never was."""
    key = {"copy_id": {"S": f"#{name}"}, "item": {"S": "LEASE"}}
    item = stack.client("dynamodb").get_item(TableName=stack.outputs["CopyTableName"], Key=key).get("Item", {})
    return str(item.get("until", {}).get("S", ""))
