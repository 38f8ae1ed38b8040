"""The five functions between their queues, the stream and the schedule, on moto and the simulated ICA, by one clock.

Messages are moved by hand.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

from moto.events.models import EventPattern

from icav2_copy_batch.handlers import control, ingest, launch, notify, poll, publish
from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, Machine, configure_logging, on_lambda
from tests.doubles.simulated_ica import TOKEN, SimulatedIca
from tests.integration import clients, template
from tests.integration.aws_calls import AwsCalls, json_answer

Handle = Callable[[Event, LambdaContext, Container], dict[str, Any]]

BUCKET = "manifests"
HANDLES: dict[str, Handle] = {
    "IngestFunction": ingest.handle,
    "LaunchFunction": launch.handle,
    "PollFunction": poll.handle,
    "NotifyFunction": notify.handle,
    "ControlFunction": control.handle,
    "PublishFunction": publish.handle,
}
SECONDS_LEFT = {
    "IngestFunction": 900,
    "LaunchFunction": 300,
    "PollFunction": 46,
    "NotifyFunction": 120,
    "ControlFunction": 900,
    "PublishFunction": 900,
}
"""Of the poller only just enough for one look."""

BATCH_SIZE = int(template.properties("LaunchFunction")["Events"]["Due"]["Properties"]["BatchSize"])

SCHEDULED = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


@dataclass(frozen=True)
class Context:
    """What Lambda tells an invocation of itself."""

    seconds_left: int
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    function_name: str = "function"

    def get_remaining_time_in_millis(self) -> int:
        return self.seconds_left * 1000


@dataclass
class Pipeline:
    """The five functions between their queues, the stream and the schedule; each invocation in a new container."""

    aws: AwsCalls
    ica: SimulatedIca
    references: dict[str, str]
    """What the template's references in the environment come to."""
    heard: str
    """A queue that hears the events."""
    stream_at: str
    """Iterator of the stream."""
    sent: list[Event] = field(default_factory=list)
    """Every Lambda event that was delivered, with its function."""
    serial: Iterator[int] = field(default_factory=count)
    ica_tries: int | None = None
    """How often a container's client tries a call; None for as often as deployed, with waits between them."""
    slept: list[float] = field(default_factory=list)
    """What the functions have slept, which moves the clock and takes no time."""

    @property
    def machine(self) -> Machine:
        """Time as the simulated ICA has it."""
        return Machine(clock=self.ica.clock, sleep=self.sleep, monotonic=lambda: self.ica.clock().timestamp())

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ica.sleep(seconds)

    def invoke(self, function: str, event: Event) -> dict[str, Any]:
        began = len(self.aws.sent)
        try:
            return on_lambda(HANDLES[function], lambda: self.container(function))(
                event, Context(SECONDS_LEFT[function])
            )
        finally:
            assert self.aws.table_actions(began) <= template.table_actions(function), function

    def container(self, function: str) -> Container:
        """A new container, in the environment that the template gives the function."""
        configure_logging()
        return TestedContainer(self, template.environment(function, self.references))

    # --- what calls the functions ---

    def submit(self, message: object) -> None:
        body = message if isinstance(message, str) else json.dumps(message)
        clients.sqs().send_message(QueueUrl=self.references["IngestQueue"], MessageBody=body)

    def upload(self, manifest: object) -> None:
        """Upload a manifest, of which EventBridge tells the queue."""
        key = f"manifests/run {next(self.serial)}.json"
        clients.s3().put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest).encode())
        self.notice(key)

    def notice(self, key: str) -> None:
        """Give the queue EventBridge's notice of a file that was uploaded."""
        version = clients.s3().head_object(Bucket=BUCKET, Key=key)["VersionId"]
        described = {"bucket": {"name": BUCKET}, "object": {"key": key, "version-id": version}}
        self.submit({"source": "aws.s3", "detail-type": "Object Created", "detail": described})

    def messages(self, queue: str) -> Event:
        """What Lambda makes of the messages that are waiting."""
        received: list[Any] = []
        while len(received) < BATCH_SIZE and (
            more := clients.sqs()
            .receive_message(
                QueueUrl=self.references[queue], MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            .get("Messages")
        ):
            received += more
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "eventSource": "aws:sqs",
                }
                for message in received
            ]
        }

    def consume(self, queue: str, function: str) -> list[str]:
        """Deliver what is waiting in a queue, delete what is dealt with, and say which messages failed."""
        event = self.messages(queue)
        if not event["Records"]:
            return []
        answer = self.invoke(function, event)
        failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        for record in event["Records"]:
            if record["messageId"] not in failed:
                clients.sqs().delete_message(QueueUrl=self.references[queue], ReceiptHandle=record["receiptHandle"])
        self.sent.append({"function": function, "event": event})
        return failed

    def ingest(self) -> list[str]:
        return self.consume("IngestQueue", "IngestFunction")

    def launch(self) -> list[str]:
        return self.consume("LaunchQueue", "LaunchFunction")

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """What the control function answers to a request that it carries out."""
        answer = self.invoke("ControlFunction", {"command": command, **request})
        assert "ok" in answer, answer
        done: dict[str, Any] = answer["ok"]
        return done

    def poll(self) -> Counter[str]:
        self.sent.append({"function": "PollFunction", "event": SCHEDULED})
        return Counter(self.invoke("PollFunction", SCHEDULED))

    def stream(self) -> Event:
        """The records since the last time which pass the template's filter."""
        answer = clients.streams().get_records(ShardIterator=self.stream_at)
        self.stream_at = answer["NextShardIterator"]
        properties = template.properties("PublishFunction")["Events"]["Settled"]["Properties"]
        patterns = [each["Pattern"] for each in properties["FilterCriteria"]["Filters"]]
        records = [json.loads(json.dumps(record, default=repr)) for record in answer["Records"]]
        wanted = [EventPattern(pattern, json.loads(pattern)) for pattern in patterns]
        return {"Records": [record for record in records if any(each.matches_event(record) for each in wanted)]}

    def publish(self) -> list[str]:
        event = self.stream()
        if not event["Records"]:
            return []
        self.sent.append({"function": "PublishFunction", "event": event})
        return self.complete_again(event)

    def complete_again(self, event: Event) -> list[str]:
        answer = self.invoke("PublishFunction", event)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def run(self, attempts: int = 1) -> None:
        """Let everything happen that is due, for so many attempts of a job."""
        for _ in range(attempts):
            assert self.ingest() == []
            assert self.launch() == []
            self.ica.clock.forward(10)
            self.poll()
            assert self.publish() == []

    # --- what came of it ---

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and detail of each event on the bus since the last time."""
        found = []
        while received := clients.sqs().receive_message(QueueUrl=self.heard, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                clients.sqs().delete_message(QueueUrl=self.heard, ReceiptHandle=message["ReceiptHandle"])
                event = json.loads(message["Body"])
                found.append((event["detail-type"], event["detail"]))
        return found

    def manifest(self, *folders: str, source: str = "/run/") -> dict[str, list[str]]:
        """Two files for each folder, which the simulated ICA is given."""
        manifest = {}
        for folder in folders:
            for name in ("a.txt", "b c#1.txt"):
                path = f"{source}{folder}/{name}"
                self.ica.file(path)
                manifest[f"icav2://source{path}"] = [f"icav2://destination/to/{folder}/"]
        return manifest

    def by_id(self, manifest: dict[str, list[str]]) -> dict[str, list[str]]:
        """The same manifest, its projects called by their ids."""
        text = json.dumps(manifest)
        for name, project_id in (("source", self.ica.source), ("destination", self.ica.destination)):
            text = text.replace(f"//{name}/", f"//{project_id}/")
        called_by_id: dict[str, list[str]] = json.loads(text)
        return called_by_id


class TestedContainer(Container):
    """The functions' own container, by the simulated ICA's clock."""

    def __init__(self, pipeline: Pipeline, environment: dict[str, str]) -> None:
        super().__init__(environment, pipeline.machine)
        self._max_tries = pipeline.ica_tries

    def http_options(self) -> dict[str, Any]:
        return {"max_tries": self._max_tries} if self._max_tries else {}


def start_of_stream() -> str:
    (stream,) = clients.streams().list_streams(TableName=template.TABLE_NAME)["Streams"]
    (shard,) = clients.streams().describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    iterator: str = clients.streams().get_shard_iterator(
        StreamArn=stream["StreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    return iterator


def create_queue(name: str) -> str:
    visibility = template.properties(name).get("VisibilityTimeout", 30) if name != "Heard" else 30
    attributes = {"VisibilityTimeout": str(visibility)}
    return clients.sqs().create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]


@contextmanager
def pipeline_of(aws: AwsCalls, ica: SimulatedIca) -> Iterator[Pipeline]:
    """All that the template describes, empty."""
    ica.set(delete_seconds=0)  # what the product sleeps does not move the simulator's clock here
    clients.s3().create_bucket(Bucket=BUCKET)
    clients.s3().put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    heard = create_queue("Heard")
    resources = template.template()["Resources"]
    alarms = {name: name for name, each in resources.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    clients.events().put_rule(Name="hear", EventPattern=json.dumps({"source": ["icav2-copy-batch"]}))
    clients.events().put_targets(
        Rule="hear", Targets=[{"Id": "heard", "Arn": "arn:aws:sqs:us-east-1:123456789012:Heard"}]
    )
    aws.answer("Invoke", lambda request: json_answer(request, {}, 202))
    references = {
        "CopyTable": template.TABLE_NAME,
        "ManifestBucket": BUCKET,
        "EventBusName": "default",
        "IngestQueue": create_queue("IngestQueue"),
        "LaunchQueue": create_queue("LaunchQueue"),
        "PublishDeadLetterQueue": create_queue("PublishDeadLetterQueue"),
        "NotificationQueue": create_queue("NotificationQueue"),
        "IngestDeadLetterQueue": create_queue("IngestDeadLetterQueue"),
        "LaunchDeadLetterQueue": create_queue("LaunchDeadLetterQueue"),
        "PollFunctionEveryMinute": "poll-rule",
        "PollFunction": "poll-function",
        "IcaBaseUrl": ica.stage.base,
        **alarms,
        "IcaTokenSecretArnParameter": clients.secrets().create_secret(Name="token", SecretString=f"{TOKEN}\n")["ARN"],
    }
    product = logging.getLogger("icav2_copy_batch")
    before = product.handlers[:], product.level, product.propagate
    yield Pipeline(aws, ica, references, heard, start_of_stream())
    product.handlers[:], product.level, product.propagate = before


def metrics_in(printed: str) -> Counter[str]:
    """Metrics by name, of the lines in CloudWatch's embedded metric format."""
    found: Counter[str] = Counter()
    for line in printed.splitlines():
        document = json.loads(line) if line.startswith("{") else {}
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == "icav2-copy-batch"
            for metric in directive["Metrics"]:
                found[metric["Name"]] += int(sum(document[metric["Name"]]))
    return found


def available(*folders: str) -> dict[str, str]:
    """The destination project, once the manifest of these folders is copied."""
    return {f"/to/{folder}/{name}": "AVAILABLE" for folder in folders for name in ("a.txt", "b c#1.txt")}
