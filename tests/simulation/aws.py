"""AWS in the simulated world: queues that lose and repeat, a table whose index lags, and calls that fail."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from icav2_copy_batch.adapters.aws import SQS_BATCH, redelivery_seconds
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import Copy, Job, JobStatus, LaunchRequest, OpenJob
from icav2_copy_batch.domain.schedule import Waiting
from tests import doubles
from tests.simulation.deployed import Feed

if TYPE_CHECKING:
    from tests.simulation.world import World


class AwsTrouble(Exception):
    """A call to AWS that failed, after all of botocore's retries."""


@dataclass(eq=False)
class Message:
    body: str
    message_id: str
    receives: int = 0
    deleted: bool = False
    hidden_for: float | None = None
    """What the function has asked for, in place of the queue's visibility time-out."""


class Queue:
    """An SQS queue with the function that it feeds."""

    def __init__(self, world: World, feed: Feed) -> None:
        self.world, self.feed = world, feed
        self.visible: list[Message] = []
        self.running = 0
        self.dead_letters: list[Message] = []
        self.in_flight: dict[str, Message] = {}

    def add(self, body: str, seconds: float = 0.0) -> None:
        world = self.world
        message = Message(body, f"message-{world.serial()}")
        if world.happens("message lost") and self.feed.function != "ingest":
            return
        world.engine.later(seconds + world.transit("message late"), lambda: self._show(message))
        if world.happens("message twice"):
            world.engine.later(seconds + world.transit("message late"), lambda: self._show(message, again=True))

    def _show(self, message: Message, again: bool = False) -> None:
        if again or not message.deleted:
            self.visible.append(message)
            self._deliver()

    def _deliver(self) -> None:
        world = self.world
        while self.visible and self.running < self.feed.concurrency:
            world.engine.rng.shuffle(self.visible)
            batch = [self.visible.pop() for _ in range(min(len(self.visible), self.feed.batch_size))]
            self.running += 1
            for message in batch:
                message.receives += 1
                message.hidden_for = None
                self.in_flight[message.message_id] = message
            event = {
                "Records": [
                    {
                        "messageId": message.message_id,
                        "receiptHandle": message.message_id,
                        "body": message.body,
                        "attributes": {"ApproximateReceiveCount": str(message.receives)},
                    }
                    for message in batch
                ]
            }
            world.invoke(self.feed.function, event, partial(self._done, batch))

    def _done(self, batch: Sequence[Message], result: Any) -> None:
        """Delete what was dealt with; the rest comes again."""
        died = isinstance(result, BaseException)
        failed = {} if died else {each["itemIdentifier"]: True for each in result.get("batchItemFailures", [])}
        for message in batch:
            if not died and message.message_id not in failed:
                message.deleted = True
                continue
            if message.receives >= self.feed.max_receives:
                self.world.count("dead letter")
                self.dead_letters.append(message)
                continue
            seconds = message.hidden_for if message.hidden_for is not None else self.feed.visibility_seconds
            self.world.engine.later(seconds, partial(self._show, message))
        self.running -= 1
        self.world.engine.later(0, self._deliver)

    def redrive(self) -> None:
        """What an operator does about dead letters."""
        for message in self.dead_letters:
            message.receives = 0
            self.world.engine.later(0, partial(self._show, message))
        self.dead_letters = []

    # --- what the product sees of it: the launch queue, and the source queue of a function

    def send(self, requests: Iterable[LaunchRequest]) -> None:
        requests = list(requests)
        for start in range(0, len(requests), SQS_BATCH):
            with self.world.line("SQS").request():
                for request in requests[start : start + SQS_BATCH]:
                    self.add(json.dumps(asdict(request)))

    def deliver_again_soon(self, record: Mapping[str, Any]) -> None:
        with self.world.line("SQS").request():
            message = self.in_flight[record["messageId"]]
            message.hidden_for = redelivery_seconds(message.receives)


class AwsLine(doubles.Line):
    """A request to AWS in virtual time, with what can go wrong before it is carried out, and after."""

    def __init__(self, world: World, service: str) -> None:
        super().__init__()
        self._world, self._service = world, service

    @contextmanager
    def request(self) -> Iterator[None]:
        world = self._world
        if world.engine.current is None:  # the simulation itself reads
            yield
            return
        world.before(self._service)
        yield
        world.after(self._service)


class CopyTable(doubles.Table):
    """The table, with an index that lags behind it, and with the invariants of each move."""

    def __init__(self, world: World) -> None:
        super().__init__(line=world.line("DynamoDB"), settled=world.settled)
        self.world = world
        self.before: dict[tuple[str, str], tuple[datetime, Job]] = {}

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        with self.line.request():
            present, line = self.job_items, self.line
            self.job_items, self.line = self._as_the_index_has_it(), doubles.Line()
            found = super().jobs_in(status, due_before)
            self.job_items, self.line = present, line
        return found

    def _as_the_index_has_it(self) -> dict[tuple[str, str], Job]:
        now = self.world.engine.now
        recent = {key: job for key, (at, job) in self.before.items() if now - at < timedelta(seconds=3)}
        return self.job_items | {key: job for key, job in recent.items() if self.world.happens("index lags")}

    def create_copy(self, copy: Copy) -> Copy | None:
        is_new = copy.copy_id not in self.copies
        try:
            return super().create_copy(copy)
        finally:  # also where it is written and its answer is lost
            if is_new and copy.redrive_of and copy.copy_id in self.copies:
                self.world.redriven(copy.redrive_of, copy.copy_id)

    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        if job := self.job_items.get((waiting.request.copy_id, waiting.request.job_id)):
            self._remember(job)
        return super().mark_sent(waiting, now, due_at)

    def mark_cancelled(self, copy_id: str, now: datetime) -> bool:
        marked = super().mark_cancelled(copy_id, now)
        if marked:
            self.world.cancelling(copy_id)
        return marked

    def _remember(self, job: Job) -> None:
        self.before[job.copy_id, job.job_id] = (self.world.engine.now, job)

    def record_intent(self, job: OpenJob, intent: Intent, due_at: datetime, total_bytes: int) -> bool:
        recorded = super().record_intent(job, intent, due_at, total_bytes)
        if recorded:
            self.world.asking(job)
        return recorded

    def _move(self, verb: str, job: Job, **changes: object) -> Job:
        self._remember(job)
        moved = super()._move(verb, job, **changes)
        self.world.moved(verb, moved)
        return moved


class SubmissionQueue:
    """The ingest queue, as the control function sends to it."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def send(self, body: str) -> None:
        with self.queue.world.line("SQS").request():
            self.queue.add(body)


class Tasks(doubles.Tasks):
    """Step Functions, which refuses to answer some tokens."""

    def __init__(self, world: World) -> None:
        super().__init__(world.line("Step Functions"))
        self.world = world

    def _answer(self, answer: doubles.Succeeded | doubles.Failed) -> None:
        if answer.task_token in self.world.scenario.unanswerable:
            self.world.count("Step Functions refused")
            raise AwsTrouble("KmsAccessDeniedException")
        super()._answer(answer)
