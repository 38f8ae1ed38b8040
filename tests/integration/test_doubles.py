"""The doubles of queue, bus, bucket and tasks do as the adapters on moto. The table: ``test_table_contract.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from icav2_copy_batch.adapters.aws import EventBus, LaunchQueue, TaskTokens
from icav2_copy_batch.adapters.bucket import ManifestBucket
from icav2_copy_batch.domain.events import MAX_CAUSE_BYTES, MAX_DETAIL_BYTES, Detail
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.problems import Refused
from tests import doubles
from tests.integration.aws_calls import AwsCalls, text_of
from tests.integration.test_aws import content_of, create_bucket, create_queue, entries_of, listen, taken, upload

# --- the launch queue ------------------------------------------------------------------------------------------------


class Queue(Protocol):
    def send(self, requests: Iterable[LaunchRequest]) -> None: ...


Sent = Callable[[], list[LaunchRequest]]


@pytest.fixture(params=["moto", "double"])
def queue(request: pytest.FixtureRequest, aws: AwsCalls) -> tuple[Queue, Sent]:
    """A queue, and what was sent to it."""
    if request.param == "double":
        double = doubles.Queue()
        return double, lambda: double.sent

    def sent() -> list[LaunchRequest]:
        entries = [entry for asked in aws.requests("SendMessageBatch") for entry in entries_of(asked)]
        return [LaunchRequest(**json.loads(entry["MessageBody"])) for entry in entries]

    return LaunchQueue(create_queue()), sent


@pytest.mark.parametrize("count", [0, 1, 12])
def test_every_request_is_sent_once(queue: tuple[Queue, Sent], count: int) -> None:
    requests = [LaunchRequest("c", f"{number:06d}", 2) for number in range(count)]
    queue[0].send(iter(requests))
    assert sorted(queue[1](), key=lambda it: it.job_id) == requests


def test_a_request_that_is_sent_twice_is_there_twice(queue: tuple[Queue, Sent]) -> None:
    for _ in range(2):
        queue[0].send([LaunchRequest("c", "000001", 1)])
    assert queue[1]() == [LaunchRequest("c", "000001", 1)] * 2


# --- the bus ---------------------------------------------------------------------------------------------------------


class Bus(Protocol):
    def put(self, detail_type: str, detail: Detail) -> None: ...


Heard = Callable[[], list[tuple[str, Detail]]]


@pytest.fixture(params=["moto", "double"])
def bus(request: pytest.FixtureRequest, aws: AwsCalls) -> tuple[Bus, Heard]:
    """A bus, and what it has carried."""
    if request.param == "double":
        double = doubles.Bus()
        return double, lambda: [(event.detail_type, event.detail) for event in double.events]
    url = listen("default", {"source": ["icav2-copy-batch"]})

    def heard() -> list[tuple[str, Detail]]:
        return [((event := json.loads(each["Body"]))["detail-type"], event["detail"]) for each in taken(url)]

    return EventBus("default"), heard


def test_events_are_carried_in_their_order_as_they_are(bus: tuple[Bus, Heard]) -> None:
    events: list[tuple[str, Detail]] = [
        ("CopyStarted", {"copy_id": "é 日本"}),
        ("CopyCompleted", {"truncated": False, "settled_at": None}),
    ]
    for detail_type, detail in events:
        bus[0].put(detail_type, detail)
    assert bus[1]() == events


def test_the_largest_detail_that_we_send_is_taken(bus: tuple[Bus, Heard]) -> None:
    detail = {"text": "x" * (MAX_DETAIL_BYTES - len('{"text":""}'))}
    bus[0].put("CopyCompleted", detail)
    assert bus[1]() == [("CopyCompleted", detail)]


# --- the bucket ------------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """Ours, with what a test puts into it and into another."""

    ours: ManifestBucket | doubles.Bucket
    uploaded: int = field(default=0)

    def upload(self, bucket: str, key: str, content: bytes) -> str:
        """The id of the new version."""
        if isinstance(self.ours, ManifestBucket):
            return str(upload(key, content, bucket))
        self.uploaded += 1
        self.ours.objects[bucket, key] = self.ours.versions[bucket, key, str(self.uploaded)] = content
        return str(self.uploaded)

    def content(self, uri: str) -> bytes:
        if isinstance(self.ours, ManifestBucket):
            return content_of(uri)
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.ours.objects[bucket, key]


@pytest.fixture(params=["moto", "double"])
def bucket(request: pytest.FixtureRequest, aws: AwsCalls) -> Bucket:
    if request.param == "double":
        return Bucket(doubles.Bucket(name="manifests"))
    create_bucket("another")
    return Bucket(create_bucket("manifests"))


@pytest.mark.parametrize("name", ["manifests", "another"])
def test_what_is_uploaded_is_read_and_kept_in_its_version(bucket: Bucket, name: str) -> None:
    key = "manifests/a b+c#d?e%41 é.json"
    first = bucket.upload(name, key, b"first")
    second = bucket.upload(name, key, b"second")
    assert [bucket.ours.read(name, key, version, 6) for version in (first, second, None)] == [
        b"first",
        b"second",
        b"second",
    ]
    for version, content in ((first, b"first"), (None, b"second")):
        uri = bucket.ours.keep(name, key, version, "rejected/one/submission")
        assert uri == "s3://manifests/rejected/one/submission"
        assert bucket.content(uri) == content


def test_an_object_that_is_larger_than_may_be_is_refused_by_its_uri(bucket: Bucket) -> None:
    bucket.upload("manifests", "manifests/a.json", b"x" * 1001)
    with pytest.raises(Refused) as raised:
        bucket.ours.read("manifests", "manifests/a.json", None, 1000)
    assert str(raised.value) == ("s3://manifests/manifests/a.json: is larger than 1,000 bytes; split the manifest")


@pytest.mark.parametrize("name", ["manifests", "nowhere"])
def test_an_object_that_is_not_there_is_refused_and_cannot_be_kept(bucket: Bucket, name: str) -> None:
    with pytest.raises(Refused) as raised:
        bucket.ours.read(name, "manifests/none.json", None, 100)
    assert str(raised.value) == f"s3://{name}/manifests/none.json: does not exist, or not any more"
    assert bucket.ours.keep(name, "manifests/none.json", None, "rejected/one/submission") is None


def test_what_is_put_is_there_under_the_uri_that_comes_back_and_may_be_put_again(bucket: Bucket) -> None:
    for content in (b"first", b"second"):
        uri = bucket.ours.put("results/c.json", content)
        assert uri == "s3://manifests/results/c.json"
        assert bucket.content(uri) == content
        assert bucket.ours.write("results/c.json", ["in ", "pièces"]) == uri
        assert bucket.content(uri) == "in pièces".encode()
    assert bucket.ours.name == "manifests"


def test_an_upload_is_there_once_it_is_finished_and_not_if_it_is_abandoned(bucket: Bucket) -> None:
    uploads = [bucket.ours.upload(f"results/{name}", "text/csv; charset=utf-8") for name in "ab"]
    for each in uploads:
        each.add("in ")
        each.add("pièces")
    uploads[0].abandon()
    assert uploads[1].finish() == "s3://manifests/results/b"
    assert bucket.content("s3://manifests/results/b") == "in pièces".encode()
    with pytest.raises(Refused):
        bucket.ours.read("manifests", "results/a", None, 100)


# --- task tokens -----------------------------------------------------------------------------------------------------


class Tasks(Protocol):
    def succeed(self, task_token: str, output: Detail) -> None: ...
    def fail(self, task_token: str, error: str, cause: Detail) -> None: ...


Answers = Callable[[], dict[str, tuple[Any, ...]]]


@pytest.fixture(params=["moto", "double"])
def tasks(request: pytest.FixtureRequest, aws: AwsCalls) -> tuple[Tasks, Answers]:
    """Tasks, and what each was first answered: nobody waits for a second answer."""
    if request.param == "double":
        double = doubles.Tasks()
        return double, lambda: {token: tuple(answer[1:]) for token, answer in double.answers.items()}

    def answers() -> dict[str, tuple[Any, ...]]:
        found: dict[str, tuple[Any, ...]] = {}
        for operation, asked in aws.sent:
            body = json.loads(text_of(asked)) if operation.startswith("SendTask") else {}
            if operation == "SendTaskSuccess":
                found.setdefault(body["taskToken"], (json.loads(body["output"]),))
            if operation == "SendTaskFailure":
                found.setdefault(body["taskToken"], (body["error"], json.loads(body["cause"])))
        return found

    return TaskTokens(), answers


def test_each_task_has_its_answer_and_a_second_one_is_no_error(tasks: tuple[Tasks, Answers]) -> None:
    """Nor is one for which nobody waits."""
    tasks[0].succeed("one", {"copy_id": "é 日本"})
    tasks[0].fail("two", "CopyFailed", {"failed_jobs": []})
    tasks[0].fail("one", "CopyFailed", {})
    tasks[0].succeed("two", {})
    assert tasks[1]() == {"one": ({"copy_id": "é 日本"},), "two": ("CopyFailed", {"failed_jobs": []})}


def test_the_largest_answers_that_we_give_are_taken(tasks: tuple[Tasks, Answers]) -> None:
    output = {"text": "x" * (MAX_DETAIL_BYTES - len('{"text":""}'))}
    cause = {"text": "x" * (MAX_CAUSE_BYTES - len('{"text":""}'))}
    tasks[0].succeed("one", output)
    tasks[0].fail("two", "CopyFailed", cause)
    assert tasks[1]() == {"one": (output,), "two": ("CopyFailed", cause)}
