"""The client and the program in tests: a stack's parameters on moto, and a control function that a test scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from icav2_copy_batch.client import CopyClient
from icav2_copy_batch.client.aws import Aws
from icav2_copy_batch.client.stack import DEFAULT_PATH, find_stack
from icav2_copy_batch.client.waiting import Time
from tests.doubles.clock import Clock
from tests.integration import clients
from tests.integration.aws_calls import AwsCalls, json_answer, text_of, xml_answer

FUNCTION = "control-function"
BUCKET = "manifests"
Answered = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass
class ScriptedControl:
    """A control function that answers each command as the test says."""

    answers: dict[str, Answered] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: AWSPreparedRequest) -> AWSResponse:
        asked = json.loads(text_of(request))
        self.requests.append(asked)
        answer = self.answers.get(asked["command"], {"error": {"kind": "invalid", "message": "not scripted"}})
        return json_answer(request, answer(asked) if callable(answer) else answer)

    def ok(self, command: str, **answer: Any) -> None:
        self.answers[command] = {"ok": answer}

    def fail(self, command: str, kind: str, message: str) -> None:
        self.answers[command] = {"error": {"kind": kind, "message": message, "problems": []}}


@cache
def _clients() -> Aws:
    """Those of all programs under test: making them takes longer than most tests run."""
    return Aws({}, clients.session())


def client_of(stack: str | None, time: Time) -> CopyClient:
    """The client that a new process would have."""
    return CopyClient(find_stack(_clients(), stack), _clients(), time)


def time_of(clock: Clock, meanwhile: Callable[[], object] = lambda: None) -> Time:
    """Time that only sleep moves; ``meanwhile`` is done before each waking."""

    def sleep(seconds: float) -> None:
        clock.forward(seconds)
        meanwhile()

    return Time(clock, lambda: clock.now.timestamp(), sleep)


def deploy(outputs: Mapping[str, str], path: str = DEFAULT_PATH) -> None:
    """Write a stack's SSM parameters."""
    for name, value in outputs.items():
        clients.ssm().put_parameter(Name=f"{path}/{name}", Value=value, Type="String")


def deploy_way_in() -> dict[str, str]:
    """The bucket and the queue of a stack, and its SSM parameters."""
    clients.s3().create_bucket(Bucket=BUCKET)
    clients.s3().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    queue_url = clients.sqs().create_queue(QueueName="ingest", Attributes={"MaximumMessageSize": "1048576"})["QueueUrl"]
    outputs = {"IngestQueueUrl": queue_url, "ManifestBucketName": BUCKET, "ControlFunctionName": FUNCTION}
    deploy(outputs)
    return outputs


def describe_stacks(aws: AwsCalls, name: str, outputs: Mapping[str, str]) -> None:
    """Have CloudFormation describe this stack, and know no other."""
    members = "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in outputs.items()
    )
    stack = f"<Stacks><member><StackName>{name}</StackName><Outputs>{members}</Outputs></member></Stacks>"
    found = f"<DescribeStacksResponse><DescribeStacksResult>{stack}</DescribeStacksResult></DescribeStacksResponse>"

    def answer(request: AWSPreparedRequest) -> AWSResponse:
        if f"StackName={name}&" in f"{text_of(request)}&":
            return xml_answer(request, 200, found)
        error = "<Code>ValidationError</Code><Message>Stack with id it does not exist</Message>"
        return xml_answer(request, 400, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>")

    aws.answer("DescribeStacks", answer)
