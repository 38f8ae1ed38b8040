"""The rest of AWS on moto: queues, the bucket, the bus, task tokens, the secret, and the poller's name called."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from botocore.session import get_session

from icav2_copy_batch.adapters.aws import (
    TASK_TROUBLES,
    EventBus,
    LaunchQueue,
    Poller,
    SecretToken,
    SendFailed,
    SourceQueue,
    TaskTokens,
    TaskTrouble,
)
from icav2_copy_batch.adapters.bucket import PART_BYTES, ManifestBucket
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.token import UnusableSecret
from tests.doubles.simulated_ica import until
from tests.integration import clients
from tests.integration.aws_calls import AwsCalls, json_answer, s3_error, text_of

ROLE = "arn:aws:iam::123456789012:role/any"


def create_queue(name: str = "queue", visibility_seconds: int = 30) -> str:
    attributes = {"VisibilityTimeout": str(visibility_seconds)}
    return clients.sqs().create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]


def taken(queue_url: str) -> list[dict[str, Any]]:
    """All messages that can be received now."""
    messages = []
    while (
        received := clients.sqs()
        .receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
        .get("Messages")
    ):
        messages += received
    return [dict(message) for message in messages]


def requests(count: int, copy_id: str = "c") -> list[LaunchRequest]:
    return [LaunchRequest(copy_id, f"{number:06d}", attempt=1) for number in range(count)]


def launch_requests(messages: Iterable[dict[str, Any]]) -> list[LaunchRequest]:
    return sorted((LaunchRequest(**json.loads(message["Body"])) for message in messages), key=lambda it: it.job_id)


# --- the launch queue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "batches"), [(0, 0), (1, 1), (10, 1), (11, 2), (95, 10)])
def test_every_launch_message_is_sent_once_in_batches_of_ten(aws: AwsCalls, count: int, batches: int) -> None:
    url = create_queue()
    LaunchQueue(url).send(iter(requests(count)))
    assert aws.count("SendMessageBatch") == batches
    assert launch_requests(taken(url)) == requests(count)


def test_a_launch_message_says_all_of_its_request(aws: AwsCalls) -> None:
    url = create_queue()
    LaunchQueue(url).send([LaunchRequest("c", "000007", attempt=3)])
    (message,) = taken(url)
    assert json.loads(message["Body"]) == {"copy_id": "c", "job_id": "000007", "attempt": 3}


def test_launch_messages_of_one_copy_are_one_group(aws: AwsCalls) -> None:
    """So that SQS lets no large copy stand in the way of a small one."""
    url = create_queue()
    LaunchQueue(url).send([*requests(3, "large"), *requests(1, "small")])
    groups = [message["Attributes"]["MessageGroupId"] for message in taken(url)]
    assert sorted(groups) == ["large", "large", "large", "small"]


def entries_of(request: AWSPreparedRequest) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(text_of(request))["Entries"]
    return entries


def test_more_than_one_batch_is_sent_in_parallel(aws: AwsCalls) -> None:
    """Two batches wait for each other, which only two at once can do."""
    url, both = create_queue(), Barrier(2)

    def wait_for_the_other(_: AWSPreparedRequest) -> None:
        both.wait(5)

    aws.answer("SendMessageBatch", wait_for_the_other)
    LaunchQueue(url).send(requests(20))
    assert launch_requests(taken(url)) == requests(20)


@pytest.mark.parametrize("count", [3, 33])
def test_a_launch_message_that_sqs_did_not_take_is_an_error(aws: AwsCalls, count: int) -> None:
    """SQS answers 200 and lists what failed."""

    def take_all_but_one(request: AWSPreparedRequest) -> AWSResponse | None:
        if "000002" not in text_of(request):
            return None
        fault = {"Id": "2", "SenderFault": False, "Code": "InternalError", "Message": "made by the test"}
        return json_answer(request, {"Successful": [], "Failed": [fault]})

    url = create_queue()
    aws.answer("SendMessageBatch", take_all_but_one)
    with pytest.raises(SendFailed, match=rf"1 of {min(count, 10)} launch messages were not taken: .*InternalError"):
        LaunchQueue(url).send(requests(count))


@pytest.mark.parametrize("count", [3, 33])
def test_a_queue_that_cannot_be_sent_to_is_an_error(aws: AwsCalls, count: int) -> None:
    create_queue()
    with pytest.raises(ClientError, match="NonExistentQueue"):
        LaunchQueue("https://sqs.us-east-1.amazonaws.com/123456789012/another").send(requests(count))


# --- the queue that a message came from ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("received", "seconds"), [(None, 20), (1, 20), (2, 40), (3, 80), (5, 320), (7, 900), (20, 900)]
)
def test_a_message_that_failed_comes_again_later_and_later(aws: AwsCalls, received: int | None, seconds: int) -> None:
    url = create_queue(visibility_seconds=5400)
    clients.sqs().send_message(QueueUrl=url, MessageBody="{}")
    (message,) = taken(url)
    attributes = {"ApproximateReceiveCount": str(received)} if received else {}
    SourceQueue(url).deliver_again_soon({"receiptHandle": message["ReceiptHandle"], "attributes": attributes})
    (request,) = aws.requests("ChangeMessageVisibility")
    assert json.loads(text_of(request))["VisibilityTimeout"] == seconds


def test_a_message_that_is_gone_is_not_worth_an_error(aws: AwsCalls, caplog: pytest.LogCaptureFixture) -> None:
    SourceQueue(create_queue()).deliver_again_soon({"receiptHandle": "none"})
    assert aws.count("ChangeMessageVisibility") == 1
    assert "comes again only after its visibility time-out" in caplog.text


# --- the bucket ------------------------------------------------------------------------------------------------------

KEYS = ["manifests/a.json", "manifests/a b+c#d?e%41 é 日本.json"]


def create_bucket(name: str = "manifests", versions: bool = True) -> ManifestBucket:
    clients.s3().create_bucket(Bucket=name)
    if versions:
        clients.s3().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return ManifestBucket(name)


def upload(key: str, content: bytes, bucket: str = "manifests") -> str | None:
    """The id of the new version, where the bucket has versions."""
    return clients.s3().put_object(Bucket=bucket, Key=key, Body=content).get("VersionId")


def content_of(uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return clients.s3().get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("key", KEYS)
def test_an_object_is_read_in_the_version_that_was_uploaded(aws: AwsCalls, key: str) -> None:
    bucket = create_bucket()
    versions = [upload(key, content) for content in (b"first", b"second")]
    assert [bucket.read("manifests", key, version, 100) for version in versions] == [b"first", b"second"]
    assert bucket.read("manifests", key, None, 100) == b"second"


def test_a_version_can_be_read_although_the_object_was_deleted(aws: AwsCalls) -> None:
    bucket = create_bucket()
    version = upload(KEYS[0], b"{}")
    clients.s3().delete_object(Bucket="manifests", Key=KEYS[0])
    assert bucket.read("manifests", KEYS[0], version, 100) == b"{}"
    with pytest.raises(Refused, match="does not exist"):
        bucket.read("manifests", KEYS[0], None, 100)


def test_an_object_of_another_bucket_is_read(aws: AwsCalls) -> None:
    bucket = create_bucket()
    create_bucket("another", versions=False)
    upload("run.json", b"{}", bucket="another")
    assert bucket.read("another", "run.json", None, 100) == b"{}"


@pytest.mark.parametrize(
    ("name", "key"), [("manifests", "manifests/none.json"), ("nowhere", "manifests/a.json")], ids=["key", "bucket"]
)
def test_an_object_that_is_not_there_is_refused_by_its_uri(aws: AwsCalls, name: str, key: str) -> None:
    with pytest.raises(Refused) as raised:
        create_bucket().read(name, key, None, 100)
    (problem,) = raised.value.problems
    assert (problem.about, problem.problem) == (f"s3://{name}/{key}", "does not exist, or not any more")


def test_a_version_that_is_not_there_is_refused(aws: AwsCalls) -> None:
    bucket = create_bucket()
    version = upload(KEYS[0], b"{}")
    assert version
    clients.s3().delete_object(Bucket="manifests", Key=KEYS[0], VersionId=version)
    upload(KEYS[0], b"{}")
    with pytest.raises(Refused, match="does not exist"):
        bucket.read("manifests", KEYS[0], version, 100)


def test_an_object_of_just_the_limit_is_read_and_one_byte_more_refused(aws: AwsCalls) -> None:
    bucket = create_bucket()
    upload(KEYS[0], b"x" * 1000)
    assert len(bucket.read("manifests", KEYS[0], None, 1000)) == 1000
    with pytest.raises(Refused, match=r"s3://manifests/manifests/a\.json: is larger than 999 bytes"):
        bucket.read("manifests", KEYS[0], None, 999)


def test_a_bucket_that_may_not_be_read_is_refused_with_what_to_do(aws: AwsCalls) -> None:
    aws.refuse("GetObject", "AccessDenied")
    with pytest.raises(
        Refused, match="put it into manifests, or name its bucket in the parameter ManifestSourceBucket"
    ):
        create_bucket().read("another", "run.json", None, 100)


@pytest.mark.parametrize("code", ["InvalidBucketName", "KeyTooLongError", "InvalidArgument", "InvalidURI"])
def test_what_s3_takes_for_no_name_of_an_object_is_refused(aws: AwsCalls, code: str) -> None:
    aws.refuse("GetObject", code)
    with pytest.raises(Refused, match="cannot be the name of an object in S3"):
        create_bucket().read("a..b", "k", None, 100)


def test_what_not_even_the_client_takes_for_a_name_is_refused(aws: AwsCalls) -> None:
    with pytest.raises(Refused, match="cannot be the name of an object in S3"):
        create_bucket().read("a bucket", "k", None, 100)
    assert aws.count("GetObject") == 0


def test_a_version_that_marks_a_deletion_is_refused_as_gone(aws: AwsCalls) -> None:
    bucket = create_bucket()
    upload(KEYS[0], b"{}")
    marker = clients.s3().delete_object(Bucket="manifests", Key=KEYS[0])["VersionId"]
    with pytest.raises(Refused, match="does not exist, or not any more"):
        bucket.read("manifests", KEYS[0], marker, 100)


def test_an_object_that_is_archived_is_refused_with_what_to_do(aws: AwsCalls) -> None:
    aws.refuse("GetObject", "InvalidObjectState")
    with pytest.raises(Refused, match="is archived; restore it first"):
        create_bucket().read("manifests", KEYS[0], None, 100)


def test_our_own_bucket_that_may_not_be_read_is_our_error_and_not_the_clients(aws: AwsCalls) -> None:
    aws.refuse("GetObject", "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        create_bucket().read("manifests", KEYS[0], None, 100)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_put_can_be_read_under_the_uri_that_comes_back(aws: AwsCalls, key: str) -> None:
    uri = create_bucket().put(key, b"{}")
    assert uri == f"s3://manifests/{key}"
    assert content_of(uri) == b"{}"
    head = clients.s3().head_object(Bucket="manifests", Key=key)
    assert head["ContentType"] == "application/json"


def test_what_cannot_be_put_is_an_error(aws: AwsCalls) -> None:
    aws.refuse("PutObject", "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        create_bucket().put("results/c.json", b"{}")


def many(pieces: int, size: int) -> Iterator[str]:
    return (f"{number:08d}".ljust(size, "é") for number in range(pieces))


@pytest.mark.parametrize(("pieces", "parts"), [(0, 0), (1, 0), (10, 0), (1000, 3)])
def test_what_is_written_in_pieces_can_be_read_as_a_whole(aws: AwsCalls, pieces: int, parts: int) -> None:
    """Of small ones as they are, of large ones in parts of which S3 takes 10,000."""
    size = 10_000
    uri = create_bucket().write("results/c.json", many(pieces, size))
    assert uri == "s3://manifests/results/c.json"
    assert content_of(uri) == "".join(many(pieces, size)).encode()
    assert clients.s3().head_object(Bucket="manifests", Key="results/c.json")["ContentType"] == "application/json"
    assert aws.count("UploadPart") == parts
    assert aws.count("PutObject") == (not parts)


def test_parts_are_as_large_as_s3_asks_for() -> None:
    assert PART_BYTES >= 5 * 1024**2
    assert PART_BYTES * 10_000 > 50 * 1024**3


def test_of_what_cannot_be_written_to_its_end_nothing_is_left(aws: AwsCalls) -> None:
    def breaks() -> Iterator[str]:
        yield from many(1000, 10_000)
        raise RuntimeError("made by the test")

    bucket = create_bucket()
    with pytest.raises(RuntimeError, match="made by the test"):
        bucket.write("results/c.json", breaks())
    assert aws.count("AbortMultipartUpload") == 1
    assert "Uploads" not in clients.s3().list_multipart_uploads(Bucket="manifests")
    assert clients.s3().list_objects_v2(Bucket="manifests")["KeyCount"] == 0


def test_an_object_under_way_is_there_once_it_is_finished(aws: AwsCalls) -> None:
    """Several may be under way at once; one that is abandoned leaves nothing, also if that is said twice."""
    bucket = create_bucket()
    whole, small, abandoned = (bucket.upload(f"results/{name}", "text/csv; charset=utf-8") for name in "abc")
    for piece in many(1000, 10_000):
        whole.add(piece)
        abandoned.add(piece)
    small.add("é")
    assert clients.s3().list_objects_v2(Bucket="manifests")["KeyCount"] == 0
    abandoned.abandon()
    abandoned.abandon()
    assert (whole.finish(), small.finish()) == ("s3://manifests/results/a", "s3://manifests/results/b")
    assert content_of("s3://manifests/results/a") == "".join(many(1000, 10_000)).encode()
    assert content_of("s3://manifests/results/b") == "é".encode()
    for name in "ab":
        head = clients.s3().head_object(Bucket="manifests", Key=f"results/{name}")
        assert head["ContentType"] == "text/csv; charset=utf-8"
    assert aws.count("AbortMultipartUpload") == 1
    assert "Uploads" not in clients.s3().list_multipart_uploads(Bucket="manifests")


def test_a_part_that_s3_does_not_take_is_an_error_and_ends_the_rest(aws: AwsCalls) -> None:
    aws.refuse("UploadPart", "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        create_bucket().write("results/c.json", many(1000, 10_000))
    assert aws.count("AbortMultipartUpload") == 1


@pytest.mark.parametrize("key", KEYS)
def test_a_submission_is_kept_in_the_version_that_was_refused(aws: AwsCalls, key: str) -> None:
    bucket = create_bucket()
    version = upload(key, b"first")
    upload(key, b"second")
    uri = bucket.keep("manifests", key, version, "rejected/one/submission")
    assert uri == "s3://manifests/rejected/one/submission"
    assert content_of(uri) == b"first"
    latest = bucket.keep("manifests", key, None, "rejected/two/submission")
    assert latest
    assert content_of(latest) == b"second"


@pytest.mark.parametrize(("name", "key"), [("manifests", "manifests/none.json"), ("nowhere", KEYS[0])])
def test_a_submission_that_is_gone_cannot_be_kept(aws: AwsCalls, name: str, key: str) -> None:
    assert create_bucket().keep(name, key, None, "rejected/one/submission") is None


NOT_COPIED = {
    "tags that may not be copied": (403, "AccessDenied"),
    "more than 5 GB": (400, "InvalidRequest"),
    "a KMS key that may not be used": (403, "AccessDenied"),
    "a KMS key that is disabled": (400, "KMS.DisabledException"),
    "an object that is in an archive": (403, "InvalidObjectState"),
}


def copy_refused(aws: AwsCalls, status: int, code: str) -> None:
    aws.answer("CopyObject", lambda request: s3_error(request, status, code))


@pytest.mark.parametrize(("status", "code"), NOT_COPIED.values(), ids=NOT_COPIED)
def test_a_submission_that_cannot_be_copied_is_kept_where_it_is_by_its_version(
    aws: AwsCalls, status: int, code: str
) -> None:
    bucket = create_bucket()
    version = upload(KEYS[0], b"refused")
    copy_refused(aws, status, code)
    uri = bucket.keep("manifests", KEYS[0], version, "rejected/one/submission")
    assert uri == f"s3://manifests/{KEYS[0]}?versionId={version}"
    assert bucket.keep("another", "run.json", None, "rejected/one/submission") == "s3://another/run.json"


def test_a_copy_that_s3_fails_to_make_is_an_error(aws: AwsCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message comes again, and the submission is rejected then."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    bucket = create_bucket()
    upload(KEYS[0], b"refused")
    copy_refused(aws, 500, "InternalError")
    with pytest.raises(ClientError, match="InternalError"):
        bucket.keep("manifests", KEYS[0], None, "rejected/one/submission")


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (400, "KMS.DisabledException")])
def test_an_upload_under_a_key_that_may_not_be_used_is_refused_with_what_to_do(
    aws: AwsCalls, status: int, code: str
) -> None:
    bucket = create_bucket()
    clients.s3().put_object(
        Bucket="manifests", Key=KEYS[0], Body=b"{}", ServerSideEncryption="aws:kms", SSEKMSKeyId="their-key"
    )
    aws.answer("GetObject", lambda request: s3_error(request, status, code))
    with pytest.raises(Refused, match="is encrypted under a KMS key that this stack may not use"):
        bucket.read("manifests", KEYS[0], None, 100)


# --- the bus ---------------------------------------------------------------------------------------------------------


def listen(bus: str, pattern: dict[str, Any]) -> str:
    """A queue that gets what the bus carries."""
    url = create_queue("heard")
    arn = clients.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    clients.events().put_rule(Name="hear", EventBusName=bus, EventPattern=json.dumps(pattern))
    clients.events().put_targets(Rule="hear", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url


@pytest.mark.parametrize("bus", ["default", "pipeline"])
def test_an_event_is_carried_by_the_bus_of_that_name(aws: AwsCalls, bus: str) -> None:
    if bus != "default":
        clients.events().create_event_bus(Name=bus)
    heard = listen(bus, {"source": ["icav2-copy-batch"], "detail-type": ["CopyStarted"]})
    detail = {"copy_id": "é 日本", "total_jobs": 2}
    EventBus(bus).put("CopyStarted", detail)
    (message,) = taken(heard)
    assert json.loads(message["Body"])["detail"] == detail


def test_an_event_that_the_bus_did_not_take_is_an_error(aws: AwsCalls) -> None:
    """EventBridge answers 200 and says which entries failed."""
    entry = {"ErrorCode": "InternalFailure", "ErrorMessage": "made by the test"}
    aws.answer("PutEvents", lambda request: json_answer(request, {"FailedEntryCount": 1, "Entries": [entry]}))
    with pytest.raises(SendFailed, match=r"did not take the event CopyStarted: .*InternalFailure"):
        EventBus("default").put("CopyStarted", {})


def test_a_bus_that_may_not_be_sent_to_is_an_error(aws: AwsCalls) -> None:
    aws.refuse("PutEvents", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        EventBus("default").put("CopyStarted", {})


# --- task tokens -----------------------------------------------------------------------------------------------------


def waiting_execution() -> tuple[str, str]:
    """An execution that waits for its task, and the task's token."""
    url = create_queue("tasks")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": url, "MessageBody.$": "$$.Task.Token"},
        "End": True,
    }
    definition = json.dumps({"StartAt": "Copy", "States": {"Copy": task}})
    machine = clients.sfn().create_state_machine(name="machine", definition=definition, roleArn=ROLE)
    execution = clients.sfn().start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
    messages: list[dict[str, Any]] = []
    until(lambda: messages.extend(taken(url)) or messages)  # type: ignore[func-returns-value]
    return execution, messages[0]["Body"]


def ended(execution: str) -> dict[str, Any]:
    until(lambda: clients.sfn().describe_execution(executionArn=execution)["status"] != "RUNNING")
    return dict(clients.sfn().describe_execution(executionArn=execution))


def test_a_task_that_succeeds_returns_the_document(aws: AwsCalls) -> None:
    execution, token = waiting_execution()
    TaskTokens().succeed(token, {"copy_id": "é 日本", "counters": {"jobs_passed": 1}})
    result = ended(execution)
    assert result["status"] == "SUCCEEDED"
    assert json.loads(result["output"]) == {"copy_id": "é 日本", "counters": {"jobs_passed": 1}}


def test_a_task_that_fails_says_with_what_and_why(aws: AwsCalls) -> None:
    execution, token = waiting_execution()
    TaskTokens().fail(token, "CopyFailed", {"failed_jobs": ["one"]})
    result = ended(execution)
    assert (result["status"], result["error"]) == ("FAILED", "CopyFailed")
    (request,) = aws.requests("SendTaskFailure")  # moto forgets the cause
    assert json.loads(json.loads(text_of(request))["cause"]) == {"failed_jobs": ["one"]}


def test_a_task_that_was_answered_before_is_let_be(aws: AwsCalls) -> None:
    execution, token = waiting_execution()
    TaskTokens().succeed(token, {"answer": 1})
    result = ended(execution)
    TaskTokens().succeed(token, {"answer": 2})
    TaskTokens().fail(token, "CopyFailed", {})
    assert ended(execution)["output"] == result["output"]


ASKED: dict[str, Callable[[TaskTokens], object]] = {
    "SendTaskSuccess": lambda tasks: tasks.succeed("token", {}),
    "SendTaskFailure": lambda tasks: tasks.fail("token", "CopyFailed", {}),
    "SendTaskHeartbeat": lambda tasks: tasks.send_heartbeat("token"),
}
NEVER = [code for code, trouble in TASK_TROUBLES.items() if trouble is TaskTrouble.NEVER]


@dataclass
class Given:
    """Up: how often a task was."""

    up: int = 0

    def count(self) -> None:
        self.up += 1


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist"])
@pytest.mark.parametrize("operation", ASKED)
def test_a_task_for_which_nobody_waits_any_more_is_let_be(aws: AwsCalls, operation: str, code: str) -> None:
    aws.refuse(operation, code)
    given = Given()
    assert not ASKED[operation](TaskTokens(given.count))
    assert (aws.count(operation), given.up) == (1, 0)


@pytest.mark.parametrize("code", NEVER)
@pytest.mark.parametrize("operation", ["SendTaskSuccess", "SendTaskFailure"])
def test_a_task_that_can_never_be_answered_is_told_of_once_and_let_be(
    aws: AwsCalls, caplog: pytest.LogCaptureFixture, operation: str, code: str
) -> None:
    aws.refuse(operation, code)
    given = Given()
    ASKED[operation](TaskTokens(given.count))
    assert (aws.count(operation), given.up) == (1, 1)
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.message == "a task can never be answered"


@pytest.mark.parametrize("code", NEVER)
def test_a_task_that_gets_no_heartbeat_for_now_is_kept_to_be_answered(aws: AwsCalls, code: str) -> None:
    """What is in the way may be mended before its copy settles."""
    aws.refuse("SendTaskHeartbeat", code)
    given = Given()
    assert TaskTokens(given.count).send_heartbeat("token")
    assert given.up == 0


@pytest.mark.parametrize("code", ["KmsThrottlingException", "ThrottlingException", "InternalFailure", "ExpiredToken"])
@pytest.mark.parametrize("operation", ASKED)
def test_trouble_that_passes_is_for_the_caller_to_try_again(
    aws: AwsCalls, monkeypatch: pytest.MonkeyPatch, operation: str, code: str
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)  # between its own tries
    aws.refuse(operation, code)
    given = Given()
    with pytest.raises(ClientError, match=code):
        ASKED[operation](TaskTokens(given.count))
    assert given.up == 0


@pytest.mark.parametrize("operation", ASKED)
def test_every_error_that_step_functions_declares_has_its_meaning(operation: str) -> None:
    declared = get_session().get_service_model("stepfunctions").operation_model(operation).error_shapes
    assert {shape.name for shape in declared} - TASK_TROUBLES.keys() <= {"KmsThrottlingException"}


def test_a_task_that_waits_takes_a_heartbeat(aws: AwsCalls) -> None:
    aws.answer("SendTaskHeartbeat", lambda request: json_answer(request, {}))  # moto knows those of activities alone
    assert TaskTokens().send_heartbeat("token")
    (request,) = aws.requests("SendTaskHeartbeat")
    assert json.loads(text_of(request)) == {"taskToken": "token"}


# --- the token of ICA ------------------------------------------------------------------------------------------------


def create_secret(value: str) -> str:
    return clients.secrets().create_secret(Name="token", SecretString=value)["ARN"]


def rotate(arn: str, value: str) -> None:
    clients.secrets().put_secret_value(SecretId=arn, SecretString=value)


@pytest.mark.parametrize("stored", ["a.b.c", "a.b.c\n", "  a.b.c \r\n", '"a.b.c"', '{"token": "a.b.c"}'])
def test_the_token_comes_without_what_is_around_it(aws: AwsCalls, stored: str) -> None:
    assert SecretToken(create_secret(stored)).token() == "a.b.c"


def test_a_secret_without_a_token_is_an_error_that_says_so(aws: AwsCalls) -> None:
    with pytest.raises(UnusableSecret, match="has 2 lines of text"):
        SecretToken(create_secret("a.b.c\nrotated")).token()
    binary = clients.secrets().create_secret(Name="binary", SecretBinary=b"a.b.c")["ARN"]
    with pytest.raises(UnusableSecret, match="is binary; store the bare token"):
        SecretToken(binary).token()


def test_the_token_is_remembered_until_a_fresh_one_is_asked_for(aws: AwsCalls) -> None:
    arn = create_secret("old")
    source = SecretToken(arn)
    assert [source.token() for _ in range(3)] == ["old"] * 3
    assert aws.count("GetSecretValue") == 1
    rotate(arn, "new")
    assert source.token() == "old"
    assert source.token(fresh=True) == "new"
    assert source.token() == "new"
    assert aws.count("GetSecretValue") == 2


def test_the_token_is_not_remembered_for_ever(aws: AwsCalls) -> None:
    arn = create_secret("old")
    source = SecretToken(arn, max_age_seconds=0)
    assert source.token() == "old"
    rotate(arn, "new")
    assert source.token() == "new"


def test_a_secret_that_cannot_be_read_is_an_error(aws: AwsCalls) -> None:
    with pytest.raises(Exception, match="ResourceNotFound"):
        SecretToken("none").token()


# --- the poller ------------------------------------------------------------------------------------------------------


def test_the_poller_is_called_and_not_waited_for(aws: AwsCalls) -> None:
    aws.answer("Invoke", lambda request: json_answer(request, {}, 202))
    Poller("poll-function").trigger()
    (request,) = aws.requests("Invoke")
    assert "/functions/poll-function/invocations" in request.url
    assert request.headers["X-Amz-Invocation-Type"] in ("Event", b"Event")
    assert json.loads(text_of(request)) == {}


def test_a_poller_that_cannot_be_called_is_no_error(aws: AwsCalls, caplog: pytest.LogCaptureFixture) -> None:
    def unforeseen(_: AWSPreparedRequest) -> None:
        raise RuntimeError("made by the test")

    Poller("no-such-function").trigger()
    aws.refuse("Invoke", "AccessDeniedException")
    Poller("poll-function").trigger()
    aws.answer("Invoke", unforeseen)
    Poller("poll-function").trigger()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert aws.count("Invoke") == 3


def test_a_poller_for_which_there_is_no_client_is_no_error(aws: AwsCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    Poller("poll-function").trigger()
    assert aws.count("Invoke") == 0
