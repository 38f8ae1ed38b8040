"""The launch queue, the event bus, the manifest bucket and Step Functions in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from icav2_copy_batch.domain.events import EVENT_SOURCE, Detail, encode
from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.domain.problems import Problem, Refused
from tests.doubles.line import Line


@dataclass
class Queue:
    """The launch queue: what was sent."""

    line: Line = field(default_factory=Line, compare=False)
    sent: list[LaunchRequest] = field(default_factory=list)

    def send(self, requests: Iterable[LaunchRequest]) -> None:
        for request in requests:
            with self.line.request():
                self.sent.append(request)


@dataclass
class Poller:
    """Counts how often the poll function was triggered."""

    triggers: int = 0

    def trigger(self) -> None:
        self.triggers += 1


class Event(NamedTuple):
    detail_type: str
    detail: Detail


@dataclass
class Bus:
    line: Line = field(default_factory=Line, compare=False)
    events: list[Event] = field(default_factory=list)

    def put(self, detail_type: str, detail: Detail) -> None:
        with self.line.request():
            assert len(EVENT_SOURCE + detail_type + encode(detail)) < 256 * 1024, "EventBridge would refuse it"
            self.events.append(Event(detail_type, detail))


@dataclass
class Bucket:
    """Our bucket, and others that can be read: bucket and key → content."""

    line: Line = field(default_factory=Line, compare=False)
    name: str = "our-bucket"
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    versions: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """What a key held in a version: bucket, key and version id → content."""
    uploads: int = 0
    """How many have begun, and neither ended nor been given up."""

    def __getitem__(self, key: str) -> bytes:
        return self.objects[self.name, key]

    def keys(self) -> set[str]:
        """The keys of our bucket."""
        return {key for bucket, key in self.objects if bucket == self.name}

    def read(self, bucket: str, key: str, version_id: str | None, max_bytes: int) -> bytes:
        with self.line.request():
            content = self._content(bucket, key, version_id)
        uri = f"s3://{bucket}/{key}"
        if content is None:
            raise Refused([Problem(uri, "does not exist, or not any more")])
        if len(content) > max_bytes:
            raise Refused([Problem(uri, f"is larger than {max_bytes:,} bytes; split the manifest")])
        return content

    def put(self, key: str, content: bytes, content_type: str = "application/json") -> str:
        with self.line.request():
            self.objects[self.name, key] = content
            return f"s3://{self.name}/{key}"

    def write(self, key: str, pieces: Iterable[str], content_type: str = "application/json") -> str:
        return self.put(key, "".join(pieces).encode(), content_type)

    def upload(self, key: str, content_type: str = "application/json") -> Upload:
        self.uploads += 1
        return Upload(self, key, content_type)

    def keep(self, bucket: str, key: str, version_id: str | None, target_key: str) -> str | None:
        with self.line.request():
            content = self._content(bucket, key, version_id)
            if content is None:
                return None
            self.objects[self.name, target_key] = content
            return f"s3://{self.name}/{target_key}"

    def _content(self, bucket: str, key: str, version_id: str | None) -> bytes | None:
        return self.versions.get((bucket, key, version_id)) if version_id else self.objects.get((bucket, key))


@dataclass
class Upload:
    """An object that is written piece by piece: one request, when it is finished."""

    bucket: Bucket
    key: str
    content_type: str
    pieces: list[str] = field(default_factory=list)
    has_ended: bool = False

    def add(self, text: str) -> None:
        self.pieces.append(text)

    def finish(self) -> str:
        uri = self.bucket.put(self.key, "".join(self.pieces).encode(), self.content_type)
        self._end()
        return uri

    def abandon(self) -> None:
        self.pieces.clear()
        self._end()

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.bucket.uploads -= 1


class Succeeded(NamedTuple):
    task_token: str
    output: Detail


class Failed(NamedTuple):
    task_token: str
    error: str
    cause: Detail


@dataclass
class Tasks:
    """Step Functions tasks that wait: the first answer of each counts, as there."""

    line: Line = field(default_factory=Line, compare=False)
    answers: dict[str, Succeeded | Failed] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    """The token of each answer, in their order; a second answer to a task is among them."""
    heartbeats: list[str] = field(default_factory=list)
    """The token of every heartbeat."""

    def succeed(self, task_token: str, output: Detail) -> None:
        with self.line.request():
            assert len(encode(output)) <= 256 * 1024, "Step Functions would refuse it"
            self._answer(Succeeded(task_token, output))

    def fail(self, task_token: str, error: str, cause: Detail) -> None:
        with self.line.request():
            assert len(encode(cause)) <= 32_768, "Step Functions would refuse it"
            self._answer(Failed(task_token, error, cause))

    def send_heartbeat(self, task_token: str) -> bool:
        with self.line.request():
            self.heartbeats.append(task_token)
            return task_token not in self.answers

    def _answer(self, answer: Succeeded | Failed) -> None:
        self.answered.append(answer.task_token)
        self.answers.setdefault(answer.task_token, answer)
