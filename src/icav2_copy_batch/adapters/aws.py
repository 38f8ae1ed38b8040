"""SQS, EventBridge, Step Functions, Lambda and Secrets Manager, one small class for each use. S3: see ``bucket``.

A client is made when it is first needed, never at import. The clients are botocore's: boto3 makes the same ones, and
importing it would only lengthen a cold start. botocore retries a failed call; an error that remains propagates unless
a method says otherwise.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from enum import Enum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session, get_session

from icav2_copy_batch.domain.events import EVENT_SOURCE, Detail, encode
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.token import UnusableSecret, bare_token

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

SQS_BATCH = 10
"""Messages in one request: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html"""
PARALLEL_SENDS = 8
FIRST_REDELIVERY_SECONDS, LONGEST_REDELIVERY_SECONDS = 20, 900


class TaskTrouble(Enum):
    """What an error from Step Functions means for a task token."""

    NOBODY_WAITS = "nobody waits"
    """The task has ended already."""
    NEVER = "it can never be answered"
    """The same call would fail again."""


TASK_TROUBLES = {
    # The task was answered before, has timed out, or its execution was stopped.
    "TaskTimedOut": TaskTrouble.NOBODY_WAITS,
    "TaskDoesNotExist": TaskTrouble.NOBODY_WAITS,
    # The token is malformed, or of another account or another Region.
    "InvalidToken": TaskTrouble.NEVER,
    "ValidationException": TaskTrouble.NEVER,
    # The answer is not JSON, or too large: it would be the same the next time.
    "InvalidOutput": TaskTrouble.NEVER,
    # The state machine is encrypted under a customer's key that this role may not use, or that is disabled.
    "KmsAccessDeniedException": TaskTrouble.NEVER,
    "KmsInvalidStateException": TaskTrouble.NEVER,
    # A policy of this role, or of an organization, forbids the call.
    "AccessDeniedException": TaskTrouble.NEVER,
}
"""What each error code means. A code that is not here may pass (ThrottlingException, for example): it propagates.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html#API_SendTaskSuccess_Errors
"""

logger = logging.getLogger(__name__)

_CONFIG = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=3, read_timeout=20)


@cache
def _session() -> Session:
    return get_session()


def client_of(service: str) -> Any:
    """A client of one of AWS's services."""
    return _session().create_client(service, config=_CONFIG)


class SendFailed(RuntimeError):
    """SQS or EventBridge accepted the request, but not all of its entries. The caller's own message comes again."""


class Queue:
    """An SQS queue, and the client for it."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url

    @cached_property
    def _sqs(self) -> SQSClient:
        client: SQSClient = client_of("sqs")
        return client


class LaunchQueue(Queue):
    """The queue of launch messages, which carry their copy as message group: SQS then serves all copies fairly.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
    """

    def send(self, requests: Iterable[LaunchRequest]) -> None:
        """Send a message for each request. Raises ``SendFailed``."""
        client = self._sqs  # made before the threads need it
        messages = [
            {"MessageBody": json.dumps(asdict(request)), "MessageGroupId": request.copy_id} for request in requests
        ]

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


class SourceQueue(Queue):
    """The queue whose messages invoke a function."""

    def deliver_again_soon(self, record: Mapping[str, Any]) -> None:
        """Have SQS deliver a failed message again before its queue's visibility time-out ends.

        The waits grow with each delivery, so that the message reaches the dead-letter queue after about an hour. Where
        this fails, SQS delivers the message after the visibility time-out.
        """
        seconds = redelivery_seconds(int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)))
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=seconds
            )
        except Exception:
            logger.warning("message comes again only after its visibility time-out", exc_info=True)


def redelivery_seconds(received: int) -> int:
    """How long a message waits for its next delivery after it has failed ``received`` times."""
    return int(min(FIRST_REDELIVERY_SECONDS * 2 ** (received - 1), LONGEST_REDELIVERY_SECONDS))


class IngestQueue(Queue):
    """The queue of submissions."""

    def send(self, body: str) -> None:
        """Send one message."""
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)


class DeadLetterQueue(Queue):
    """The queue of copies that could not be published: the dead letters of a DynamoDB stream do not name the copy."""

    def put(self, copy_id: str, error: str) -> None:
        """Keep the id of a copy, with the error that its publication met."""
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps({"copy_id": copy_id, "error": error}))


class EventBus:
    """The event bus that carries the product's events."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _events(self) -> EventBridgeClient:
        client: EventBridgeClient = client_of("events")
        return client

    def put(self, detail_type: str, detail: Detail) -> None:
        """Put an event on the bus. Raises ``SendFailed``."""
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
    """The Step Functions tasks that wait for a copy."""

    def __init__(self, count_never_answered: Callable[[], None] = lambda: None) -> None:
        """``count_never_answered`` is called for each task that can never be answered."""
        self._count_never_answered = count_never_answered

    @cached_property
    def _sfn(self) -> SFNClient:
        client: SFNClient = client_of("stepfunctions")
        return client

    def succeed(self, task_token: str, output: Detail) -> None:
        """End a task with an output. Raises ``ClientError`` where another try may help; other tokens are given up."""
        self._answer("send_task_success", taskToken=task_token, output=encode(output))

    def fail(self, task_token: str, error: str, cause: Detail) -> None:
        """End a task with an error. Raises ``ClientError`` where another try may help; other tokens are given up."""
        self._answer("send_task_failure", taskToken=task_token, error=error, cause=encode(cause))

    def send_heartbeat(self, task_token: str) -> bool:
        """Keep a task from timing out; False where it has ended, so that its token can be dropped.

        Raises ``ClientError`` where another try may help. True where the call can never succeed: the answer that comes
        later reports that, and its cause may be gone by then.
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
    """The poll function, which can be triggered before its next scheduled run."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    @cached_property
    def _lambda(self) -> LambdaClient:
        client: LambdaClient = client_of("lambda")
        return client

    def trigger(self) -> None:
        """Run the poll function, without waiting for it. Where that fails, its schedule runs it within the minute."""
        try:
            self._lambda.invoke(FunctionName=self._function_name, InvocationType="Event", Payload=b"{}")
        except Exception:
            logger.warning("poller not triggered; its schedule will do", exc_info=True)


class SecretToken:
    """ICA's token (a JWT) in Secrets Manager, which somebody else rotates. It is remembered for some minutes."""

    def __init__(self, secret_arn: str, max_age_seconds: int = 300) -> None:
        self._secret_arn = secret_arn
        self._max_age_seconds = max_age_seconds
        self._token, self._read_at = "", float("-inf")

    @cached_property
    def _secrets(self) -> SecretsManagerClient:
        client: SecretsManagerClient = client_of("secretsmanager")
        return client

    def token(self, *, fresh: bool = False) -> str:
        """The bare token; ``fresh`` reads the secret again. Raises ``UnusableSecret`` where it cannot hold a token."""
        if fresh or time.monotonic() - self._read_at >= self._max_age_seconds:
            secret = self._secrets.get_secret_value(SecretId=self._secret_arn)
            if "SecretString" not in secret:
                raise UnusableSecret("the secret is binary; store the bare token as the secret's text")
            self._token = bare_token(secret["SecretString"])
            self._read_at = time.monotonic()
        return self._token
