"""The other AWS services, one small class each. Clients are made when first needed, never at import.

They are botocore's: boto3 makes the same ones, and its import would only lengthen a cold start.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from enum import Enum
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from botocore.session import Session, get_session

from icav2_copy_batch.domain.events import EVENT_SOURCE, Detail, encode
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.token import UnusableSecret, bare_token

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

SQS_BATCH = 10
PARALLEL_SENDS = 8
FIRST_REDELIVERY_SECONDS, LONGEST_REDELIVERY_SECONDS = 20, 900
GONE, NO_OBJECT = "does not exist, or not any more", "cannot be the name of an object in S3"
FAULTS = {
    "NoSuchKey": GONE,
    "NoSuchVersion": GONE,
    "NoSuchBucket": GONE,
    "MethodNotAllowed": GONE,  # the version is the mark of a deletion
    "InvalidBucketName": NO_OBJECT,
    "KeyTooLongError": NO_OBJECT,
    "InvalidArgument": NO_OBJECT,  # as of a version
    "InvalidURI": NO_OBJECT,
    "InvalidObjectState": "is archived; restore it first",
}
"""By S3's code for a failed read (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html): what is wrong
with an object, for who has named it."""
PART_BYTES = 8 * 1024**2
"""Of an object that is written in parts. S3 takes parts of 5 MiB to 5 GiB, and 10,000 of them: 78 GiB in all.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""


class TaskTrouble(Enum):
    """What an error of Step Functions' about a task token means; one that is not in ``TASK_TROUBLES`` is tried again.

    Such are KmsThrottlingException, ThrottlingException, InternalFailure, ServiceUnavailable, and no answer at all.
    """

    NOBODY_WAITS = "nobody waits"
    NEVER = "it can never be answered"


TASK_TROUBLES = {
    # The task was answered before, has timed out, or its execution was stopped: there is nobody to tell.
    "TaskTimedOut": TaskTrouble.NOBODY_WAITS,
    "TaskDoesNotExist": TaskTrouble.NOBODY_WAITS,
    # Malformed, of another account or another Region: it was never good.
    "InvalidToken": TaskTrouble.NEVER,
    "ValidationException": TaskTrouble.NEVER,
    # The answer is no JSON or too large: it would be the same the next time.
    "InvalidOutput": TaskTrouble.NEVER,
    # The state machine is under a customer's key that this role may not use; or its key is disabled or to be deleted.
    "KmsAccessDeniedException": TaskTrouble.NEVER,
    "KmsInvalidStateException": TaskTrouble.NEVER,
    # A policy, be it of this role or of an organization, does not let us.
    "AccessDeniedException": TaskTrouble.NEVER,
}
"""https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html#API_SendTaskSuccess_Errors"""

logger = logging.getLogger(__name__)

_CONFIG = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=3, read_timeout=20)


@cache
def _session() -> Session:
    return get_session()


def _client(service: str) -> Any:
    return _session().create_client(service, config=_CONFIG)


class SendFailed(RuntimeError):
    """SQS or EventBridge took the request and not all of its entries; whoever called will be called again."""


class LaunchQueue:
    """Where launch messages wait. Standard queue; the copy is its message group, so that SQS treats copies fairly."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url

    @cached_property
    def _sqs(self) -> SQSClient:
        client: SQSClient = _client("sqs")
        return client

    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None:
        """Send one message each, or raise ``SendFailed``; ``delay_seconds`` up to 900."""
        client = self._sqs  # made before the threads need it
        messages = [_launch_entry(request, delay_seconds) for request in requests]

        def send_batch(start: int) -> None:
            batch = messages[start : start + SQS_BATCH]
            entries = [{"Id": str(index), **message} for index, message in enumerate(batch)]
            answer = client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)  # type: ignore[arg-type]
            if failed := answer.get("Failed"):
                raise SendFailed(f"{len(failed)} of {len(entries)} launch messages were not taken: {failed[0]}")

        starts = range(0, len(messages), SQS_BATCH)
        if len(starts) <= 1:
            for start in starts:
                send_batch(start)
            return
        with ThreadPoolExecutor(PARALLEL_SENDS) as pool:
            list(pool.map(send_batch, starts))


def _launch_entry(request: LaunchRequest, delay_seconds: int) -> dict[str, Any]:
    return {
        "MessageBody": json.dumps(asdict(request)),
        "DelaySeconds": delay_seconds,
        "MessageGroupId": request.copy_id,
    }


class SourceQueue:
    """The queue whose messages a function was called with."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url

    @cached_property
    def _sqs(self) -> SQSClient:
        client: SQSClient = _client("sqs")
        return client

    def deliver_again_soon(self, record: Mapping[str, Any]) -> None:
        """Have a message that failed delivered again in its own time, and not after its queue's visibility time-out.

        Later and later: it ends in the dead-letter queue only after about an hour.
        """
        seconds = redelivery_seconds(int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)))
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=seconds
            )
        except Exception:
            logger.warning("message comes again only after its visibility time-out", exc_info=True)


def redelivery_seconds(received: int) -> int:
    """How long a message waits that has failed each of the times that it was received."""
    return int(min(FIRST_REDELIVERY_SECONDS * 2 ** (received - 1), LONGEST_REDELIVERY_SECONDS))


class DeadLetterQueue:
    """Where the publish function leaves what it could not do: the stream's own dead letters name no copy."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url

    @cached_property
    def _sqs(self) -> SQSClient:
        client: SQSClient = _client("sqs")
        return client

    def put(self, copy_id: str, error: str) -> None:
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps({"copy_id": copy_id, "error": error}))


class ManifestBucket:
    """The bucket: uploads under ``manifests/``, and what the product itself keeps under other prefixes."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _s3(self) -> S3Client:
        client: S3Client = _client("s3")
        return client

    def read(self, bucket: str, key: str, version_id: str | None, max_bytes: int) -> bytes:
        """An object's content. Refuses one that is not there, cannot be, is too large, or may not be read by us."""
        uri = f"s3://{bucket}/{key}"
        version = {"VersionId": version_id} if version_id else {}
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, **version)  # type: ignore[arg-type]
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if fault := FAULTS.get(code):
                raise Refused([Problem(uri, fault)]) from None
            if code == "AccessDenied" and bucket != self.name:
                hint = f"put it into {self.name}, or name its bucket in the parameter ManifestSourceBucket"
                raise Refused([Problem(uri, f"may not be read by this stack; {hint}")]) from None
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500 and self._is_under_a_key(
                bucket, key, version
            ):
                hint = "put it there under the bucket's own encryption, which is the default"
                raise Refused(
                    [Problem(uri, f"is encrypted under a KMS key that this stack may not use; {hint}")]
                ) from None
            raise
        except ParamValidationError:
            raise Refused([Problem(uri, NO_OBJECT)]) from None
        if answer["ContentLength"] > max_bytes:
            raise Refused([Problem(uri, f"is larger than {max_bytes:,} bytes; split the manifest")])
        return answer["Body"].read()

    def put(self, key: str, content: bytes, content_type: str = "application/json") -> str:
        """Store an object of our own and return its URI."""
        self._s3.put_object(Bucket=self.name, Key=key, Body=content, ContentType=content_type)
        return f"s3://{self.name}/{key}"

    def _is_under_a_key(self, bucket: str, key: str, version: Mapping[str, str]) -> bool:
        """Whether an object is encrypted by KMS, as S3 tells also those who may not use the key."""
        try:
            head = self._s3.head_object(Bucket=bucket, Key=key, **version)  # type: ignore[arg-type]
        except ClientError:
            return False
        return head.get("ServerSideEncryption", "AES256") != "AES256"

    def write(self, key: str, pieces: Iterable[str], content_type: str = "application/json") -> str:
        """Store an object of our own, of whatever size, and return its URI. Two parts of it are in memory at most."""
        parts = _parts(pieces)
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            return self.put(key, first, content_type)
        upload = {"Bucket": self.name, "Key": key}
        upload["UploadId"] = self._s3.create_multipart_upload(**upload, ContentType=content_type)["UploadId"]  # type: ignore[arg-type]
        try:
            done: list[CompletedPartTypeDef] = []
            for number, part in enumerate(chain([first, second], parts), start=1):
                answer = self._s3.upload_part(**upload, PartNumber=number, Body=part)  # type: ignore[arg-type]
                done.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})  # type: ignore[arg-type]
        except BaseException:
            self._s3.abort_multipart_upload(**upload)  # type: ignore[arg-type]
            raise
        return f"s3://{self.name}/{key}"

    def keep(self, bucket: str, key: str, version_id: str | None, target_key: str) -> str | None:
        """Copy an object, as it was sent, to a key of our own; None when it is not there to be copied.

        Where S3 refuses the copy, the object is kept where it is, and that is returned: one with tags, which take
        further permissions to copy, one of more than 5 GB, under a KMS key that this stack may not use, or in another
        bucket (docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html).
        """
        source = {"Bucket": bucket, "Key": key} | ({"VersionId": version_id} if version_id else {})
        try:
            self._s3.copy_object(Bucket=self.name, Key=target_key, CopySource=source)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"].get("Code") in ("NoSuchKey", "NoSuchVersion", "NoSuchBucket"):
                return None
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise  # trouble of S3's, which passes
            logger.warning("submission kept where it is", extra={"code": error.response["Error"].get("Code")})
            return f"s3://{bucket}/{key}" + (f"?versionId={version_id}" if version_id else "")
        return f"s3://{self.name}/{target_key}"


def _parts(pieces: Iterable[str]) -> Iterator[bytes]:
    """The text in parts of ``PART_BYTES``; the last may be smaller."""
    part = bytearray()
    for piece in pieces:
        part += piece.encode()
        while len(part) >= PART_BYTES:
            yield bytes(part[:PART_BYTES])
            del part[:PART_BYTES]
    if part:
        yield bytes(part)


class EventBus:
    """The bus that carries our events."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _events(self) -> EventBridgeClient:
        client: EventBridgeClient = _client("events")
        return client

    def put(self, detail_type: str, detail: Detail) -> None:
        answer = self._events.put_events(
            Entries=[
                {
                    "Source": EVENT_SOURCE,
                    "DetailType": detail_type,
                    "Detail": encode(detail),
                    "EventBusName": self._name,
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise SendFailed(f"EventBridge did not take the event {detail_type}: {answer['Entries'][0]}")


class TaskTokens:
    """Step Functions tasks that wait for a copy."""

    def __init__(self, count_never_answered: Callable[[], None] = lambda: None) -> None:
        """``count_never_answered`` is called for each token that is given up."""
        self._count_never_answered = count_never_answered

    @cached_property
    def _sfn(self) -> SFNClient:
        client: SFNClient = _client("stepfunctions")
        return client

    def succeed(self, task_token: str, output: Detail) -> None:
        """Answer a task. Raises what is worth another try; a token that can never be answered is let be."""
        self._answer("send_task_success", taskToken=task_token, output=encode(output))

    def fail(self, task_token: str, error: str, cause: Detail) -> None:
        """The same, of a task that failed."""
        self._answer("send_task_failure", taskToken=task_token, error=error, cause=encode(cause))

    def send_heartbeat(self, task_token: str) -> bool:
        """Have a task wait on; False where nobody waits any more, so that its token can be dropped.

        Raises what is worth another try. Where it can never be done, that is told of by the answer that comes later:
        what is in the way may be mended by then.
        """
        return self._ask("send_task_heartbeat", taskToken=task_token) is not TaskTrouble.NOBODY_WAITS

    def _answer(self, operation: str, **parameters: str) -> None:
        if self._ask(operation, **parameters) is TaskTrouble.NEVER:
            logger.error("a task can never be answered")
            self._count_never_answered()

    def _ask(self, operation: str, **parameters: str) -> TaskTrouble | None:
        try:
            getattr(self._sfn, operation)(**parameters)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code not in TASK_TROUBLES:
                raise
            logger.info("task token not taken", extra={"operation": operation, "code": code})
            return TASK_TROUBLES[code]
        return None


class Poller:
    """The poll function, to be told that there is something to look at before its schedule comes round."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    @cached_property
    def _lambda(self) -> LambdaClient:
        client: LambdaClient = _client("lambda")
        return client

    def trigger(self) -> None:
        """A hint: where it fails, the schedule does the same within the minute."""
        try:
            self._lambda.invoke(FunctionName=self._function_name, InvocationType="Event", Payload=b"{}")
        except Exception:
            logger.warning("poller not triggered; its schedule will do", exc_info=True)


class SecretToken:
    """The JWT, from Secrets Manager: rotated by somebody else, remembered for some minutes."""

    def __init__(self, secret_arn: str, max_age_seconds: int = 300) -> None:
        self._secret_arn = secret_arn
        self._max_age_seconds = max_age_seconds
        self._token, self._read_at = "", float("-inf")

    @cached_property
    def _secrets(self) -> SecretsManagerClient:
        client: SecretsManagerClient = _client("secretsmanager")
        return client

    def token(self, *, fresh: bool = False) -> str:
        """The bare token. Raises ``UnusableSecret`` where the secret holds none for certain."""
        if fresh or time.monotonic() - self._read_at >= self._max_age_seconds:
            secret = self._secrets.get_secret_value(SecretId=self._secret_arn)
            if "SecretString" not in secret:
                raise UnusableSecret("the secret is binary; store the bare token as the secret's text")
            self._token = bare_token(secret["SecretString"])
            self._read_at = time.monotonic()
        return self._token
