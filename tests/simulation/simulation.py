"""The simulated world: the real handlers, use cases and domain over AWS and ICA in memory, in virtual time.

Messages come twice, late, out of order or not at all; calls fail before they are carried out, or after; ICA answers
429, 503, nothing, or carries out a request that everybody has given up; a function dies at any call. All of it follows
from one seed. The promise is checked at every step.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import tenacity

from icav2_copy_batch.adapters.ica.client import IcaClient
from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.domain.ica import IcaError
from icav2_copy_batch.domain.job import Attempt, Copy, CopyStatus, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.manifest import Limits
from icav2_copy_batch.domain.schedule import Waiting
from icav2_copy_batch.domain.uri import nfc, parent_path, parse_uri
from icav2_copy_batch.handlers import container as wiring
from icav2_copy_batch.handlers import ingest as ingest_handler
from icav2_copy_batch.handlers import launch as launch_handler
from icav2_copy_batch.handlers import notify as notify_handler
from icav2_copy_batch.handlers import poll as poll_handler
from icav2_copy_batch.handlers import publish as publish_handler
from icav2_copy_batch.stages.delay import Delay
from icav2_copy_batch.stages.dispatch import Dispatch
from icav2_copy_batch.stages.ingest import Ingest
from icav2_copy_batch.stages.items import Items
from icav2_copy_batch.stages.launch import NOT_STARTED, Launch
from icav2_copy_batch.stages.poll import Poll
from icav2_copy_batch.stages.publish import Publish
from icav2_copy_batch.stages.reconcile import NotForAPerson, Reconcile
from icav2_copy_batch.stages.verify import MISMATCH, Verification, Verify
from local.simulator import bodies
from local.simulator.gate import Simulator
from local.simulator.model import JOB_STATUS_CHANGED, ChannelRequest, DataStatus, Script, SubscriptionRequest
from local.simulator.switches import Switches, build
from local.simulator.world import World
from tests import doubles
from tests.integration.template import properties
from tests.simulation.engine import Engine, Killed, Process
from tests.simulation.others import APART, Others
from tests.simulation.scenario import Scenario, Submission, scenario_of
from tests.simulation.wire import HOST, TOKEN, Tokens, Wire, pause

OPEN_STATUSES = (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)
TIMEOUTS = {
    name: float(properties(f"{name.title()}Function")["Timeout"])
    for name in ("ingest", "launch", "poll", "notify", "publish")
}
VISIBILITY = {
    name: float(properties(queue)["VisibilityTimeout"])
    for name, queue in (("ingest", "IngestQueue"), ("launch", "LaunchQueue"), ("notify", "NotificationQueue"))
}
RENAMED = re.compile(r" \(\d+\)")
"""What RENAME adds to a name; there is none of ours that has such in it."""
MAX_RECEIVES = 9
OPERATOR_SECONDS = 600.0
"""So often a person looks whether there is a launch to decide about."""
ENDS_AN_ATTEMPT = ("requeue", "mark_passed", "give_up")
PATIENCE = timedelta(hours=12)
"""What is open so long after the last fault, and after any attempt has ended, is stuck. Attempts are numbered, so that
this comes to an end however many jobs share a slot."""


class Broken(AssertionError):
    """The promise was not kept."""


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

    def __init__(self, simulation: Simulation, function: str, batch_size: int, concurrency: int) -> None:
        self.simulation, self.function = simulation, function
        self.batch_size, self.concurrency = batch_size, concurrency
        self.visible: list[Message] = []
        self.running = 0
        self.dead_letters: list[Message] = []
        self.in_flight: dict[str, Message] = {}

    def add(self, body: str, seconds: float = 0.0) -> None:
        sim = self.simulation
        message = Message(body, f"message-{sim.serial()}")
        if sim.happens("message lost") and self.function != "ingest":
            return
        sim.engine.later(seconds + sim.transit("message late"), lambda: self._show(message))
        if sim.happens("message twice"):
            sim.engine.later(seconds + sim.transit("message late"), lambda: self._show(message, again=True))

    def _show(self, message: Message, again: bool = False) -> None:
        if again or not message.deleted:
            self.visible.append(message)
            self._deliver()

    def _deliver(self) -> None:
        sim = self.simulation
        while self.visible and self.running < self.concurrency:
            sim.engine.rng.shuffle(self.visible)
            batch = [self.visible.pop() for _ in range(min(len(self.visible), self.batch_size))]
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
            sim.invoke(self.function, event, partial(self._done, batch))

    def _done(self, batch: Sequence[Message], result: Any) -> None:
        """Delete what was dealt with; the rest comes again."""
        died = isinstance(result, BaseException)
        failed = {} if died else {each["itemIdentifier"]: True for each in result.get("batchItemFailures", [])}
        for message in batch:
            if not died and message.message_id not in failed:
                message.deleted = True
                continue
            if message.receives >= MAX_RECEIVES:
                self.simulation.count("dead letter")
                self.dead_letters.append(message)
                continue
            seconds = message.hidden_for if message.hidden_for is not None else VISIBILITY[self.function]
            self.simulation.engine.later(seconds, partial(self._show, message))
        self.running -= 1
        self.simulation.engine.later(0, self._deliver)

    def redrive(self) -> None:
        """What an operator does about dead letters."""
        for message in self.dead_letters:
            message.receives = 0
            self.simulation.engine.later(0, partial(self._show, message))
        self.dead_letters = []

    # --- what the product sees of it: the launch queue, and the source queue of a function

    def send(self, requests: Iterable[LaunchRequest], delay_seconds: int = 0) -> None:
        requests = list(requests)
        for start in range(0, len(requests), 10):
            with self.simulation.line("SQS").request():
                for request in requests[start : start + 10]:
                    body = {"copy_id": request.copy_id, "job_id": request.job_id, "attempt": request.attempt}
                    self.add(json.dumps({**body, "deferrals": request.deferrals}), delay_seconds)

    def deliver_again_soon(self, record: dict[str, Any]) -> None:
        with self.simulation.line("SQS").request():
            message = self.in_flight[record["messageId"]]
            message.hidden_for = min(20 * 2 ** (message.receives - 1), 900)


class AwsLine(doubles.Line):
    """A request to AWS in virtual time, with what can go wrong before it is carried out, and after."""

    def __init__(self, simulation: Simulation, service: str) -> None:
        super().__init__()
        self._simulation, self._service = simulation, service

    @contextmanager
    def request(self) -> Iterator[None]:
        sim = self._simulation
        if sim.engine.current is None:  # the simulation itself looks
            yield
            return
        sim.before(self._service)
        yield
        sim.after(self._service)


class CopyTable(doubles.Table):
    """The table, with an index that lags behind it, and with the invariants of each move."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(line=simulation.line("DynamoDB"), settled=simulation.settled)
        self.simulation = simulation
        self.before: dict[tuple[str, str], tuple[datetime, Job]] = {}

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]:
        with self.line.request():
            present, line = self.job_items, self.line
            self.job_items, self.line = self._as_the_index_has_it(), doubles.Line()
            found = super().jobs_in(status, due_before)
            self.job_items, self.line = present, line
        return found

    def _as_the_index_has_it(self) -> dict[tuple[str, str], Job]:
        now = self.simulation.engine.now
        recent = {key: job for key, (at, job) in self.before.items() if now - at < timedelta(seconds=3)}
        return self.job_items | {key: job for key, job in recent.items() if self.simulation.happens("index lags")}

    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        if job := self.job_items.get((waiting.request.copy_id, waiting.request.job_id)):
            self._remember(job)
        return super().mark_sent(waiting, now, due_at)

    def _remember(self, job: Job) -> None:
        self.before[job.copy_id, job.job_id] = (self.simulation.engine.now, job)

    def _move(self, verb: str, job: Job, **changes: object) -> Job:
        self._remember(job)
        moved = super()._move(verb, job, **changes)
        self.simulation.moved(verb, moved)
        return moved


class Tasks(doubles.Tasks):
    """Step Functions, of which some tokens may be those of nobody."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.line("Step Functions"))
        self.simulation = simulation

    def _answer(self, answer: doubles.Succeeded | doubles.Failed) -> None:
        if answer.task_token in self.simulation.scenario.unanswerable:
            self.simulation.count("Step Functions refused")
            raise AwsTrouble("KmsAccessDeniedException")
        super()._answer(answer)


@dataclass(frozen=True)
class Functions:
    """What one container of a Lambda function holds from one invocation to the next; of these it uses one."""

    ingest: Ingest
    launch: Launch
    poll: Poll
    publish: Publish
    reconcile: Reconcile


@dataclass
class Faults:
    """How often each thing goes wrong, per call or message, while the faults last."""

    rates: dict[str, float]
    until: datetime


class Simulation:
    """One run of one seed."""

    def __init__(self, seed: int, scenario: Scenario | None = None, kill_at: int | None = None) -> None:
        """``kill_at``: instead of faults by chance, whoever makes the n-th call to the outside dies after it."""
        self.engine = Engine(seed)
        self.began = self.engine.now
        self.kill_at, self.calls = kill_at, 0
        self.counts: Counter[str] = Counter()
        self.scenario = scenario or scenario_of(self.engine.rng)
        rng = self.engine.rng
        self.faults = Faults(
            self.scenario.fault_rates, self.engine.now + timedelta(seconds=self.scenario.fault_seconds)
        )
        self.outage_until = self.engine.now
        self._serial = 0
        lags = {name: self.scenario.switches.get(name, 0.0) for name in ("data_lag_seconds", "hang_rate")}
        self.world = World(self.engine.clock, rng, build(Switches, self.scenario.switches | dict.fromkeys(lags, 0.0)))
        self.wire = Wire(self, Simulator(self.world, TOKEN, sleep=pause))
        self.table = CopyTable(self)
        self.bucket = doubles.Bucket(self.line("S3"))
        self.bus = doubles.Bus(self.line("EventBridge"))
        self.tasks = Tasks(self)
        self.ingest_queue = Queue(self, "ingest", 1, 3)
        self.launch_queue = Queue(self, "launch", 40, self.scenario.launch_concurrency)
        self.notification_queue = Queue(self, "notify", 10, 2)
        self.max_attempts = self.scenario.max_attempts
        self.slots = self.scenario.slots
        self.attempt_ended_at = self.engine.now
        self.stream_records = 0
        self.idle: dict[str, list[Functions]] = defaultdict(list)
        self.at_work: dict[Process, Functions] = {}
        names = [source.rpartition("/")[2] for source in self.scenario.sources if not source.endswith("/")]
        self.others = Others(self.world, rng, self.engine.later, names, self._is_busy)
        self.snapshots: dict[tuple[str, str], dict[str, int]] = {}
        """Copy id and source → the files that it was when the copy was submitted: path below its folder → size."""
        self._stock()
        self.world.switches = replace(self.world.switches, **lags)

    # --- chance ------------------------------------------------------------------------------------------------------

    def happens(self, fault: str) -> bool:
        """Whether this goes wrong now."""
        rate = self.faults.rates.get(fault, 0.0)
        if not rate or self.kill_at or self.engine.now >= self.faults.until or self.engine.rng.random() >= rate:
            return False
        self.count(fault)
        return True

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def transit(self, fault: str) -> float:
        """Seconds that a message is under way."""
        rng = self.engine.rng
        return rng.uniform(30, 400) if self.happens(fault) else rng.uniform(0.01, 0.5)

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def line(self, service: str) -> AwsLine:
        return AwsLine(self, service)

    def refuses(self, service: str) -> bool:
        """Whether a service refuses this call, as it does with others of these seconds."""
        second = (self.engine.now - self.began).total_seconds()
        for name, start, seconds, share in self.scenario.refusals:
            if name == service and start <= second < start + seconds and self.engine.rng.random() < share:
                self.count(f"{service} refused")
                return True
        return False

    def before(self, service: str, may_fail: bool = True) -> None:
        process = self.engine.current
        if process is None or process.dead:
            raise Killed
        rng = self.engine.rng
        frozen, slow = self.happens("frozen"), self.happens("slow")
        self.engine.sleep(rng.uniform(60, 800) if frozen else rng.uniform(1, 40) if slow else rng.uniform(0.002, 0.3))
        if self.happens(f"killed before {service}"):
            self.engine.die()
        if may_fail and (self.happens(f"{service} failed") or self.refuses(service)):
            raise AwsTrouble(service)

    def after(self, service: str, may_fail: bool = True) -> None:
        self.calls += 1
        if self.calls == self.kill_at or self.happens(f"killed after {service}"):
            self.engine.die()
        if may_fail and self.happens(f"{service} answer lost"):
            raise AwsTrouble(service)

    # --- the functions -----------------------------------------------------------------------------------------------

    def container(self) -> Functions:
        """A new container: its client of ICA remembers what it sees, for as long as the container lives."""
        engine = self.engine
        pacing = Pacing(self.table, engine.clock, engine.sleep, engine.seconds_left, engine.rng.uniform)
        ica = IcaClient(
            HOST,
            Tokens(),
            engine.seconds_left,
            sleep=engine.sleep,
            monotonic=lambda: engine.now.timestamp(),
            spread=doubles.in_turn,
            wire=self.wire,
            clock=engine.clock,
            pacing=pacing,
        )
        publish = Publish(
            table=self.table,
            bucket=self.bucket,
            bus=self.bus,
            tasks=self.tasks,
            clock=engine.clock,
            seconds_left=engine.seconds_left,
        )
        limits = Limits(max_sources_per_job=self.scenario.max_sources_per_job)
        dispatch = Dispatch(
            table=self.table,
            queue=self.launch_queue,
            pacing=pacing,
            clock=engine.clock,
            slots=self.slots,
            spread=doubles.in_turn,
        )
        reconcile = Reconcile(table=self.table, ica=ica, queue=self.launch_queue, clock=engine.clock)
        return Functions(
            reconcile=reconcile,
            publish=publish,
            ingest=Ingest(
                table=self.table,
                bucket=self.bucket,
                dispatch=dispatch,
                bus=self.bus,
                tasks=self.tasks,
                publish=publish,
                clock=engine.clock,
                seconds_left=engine.seconds_left,
                limits=limits,
                project_id=ica.project_id,
            ),
            launch=Launch(
                table=self.table,
                ica=ica,
                queue=self.launch_queue,
                poller=SimpleNamespace(trigger=self._trigger),
                pacing=pacing,
                clock=engine.clock,
                seconds_left=engine.seconds_left,
                slots=self.slots,
                jitter=engine.rng.uniform,
                spread=doubles.in_turn,
                sleep=engine.sleep,
            ),
            poll=Poll(
                table=self.table,
                ica=ica,
                queue=self.launch_queue,
                dispatch=dispatch,
                publish=publish,
                reconciler=reconcile,
                verifier=Verify(
                    ica=ica.impatient(),
                    verification=self.scenario.verification,
                    clock=engine.clock,
                    spread=doubles.in_turn,
                ),
                items=Items(ica=ica.impatient(), spread=doubles.in_turn),
                delay=Delay(table=self.table, bus=self.bus, clock=engine.clock, limit=timedelta(minutes=60)),
                clock=engine.clock,
                seconds_left=engine.seconds_left,
                sleep=engine.sleep,
                max_attempts=self.max_attempts,
                spread=doubles.in_turn,
            ),
        )

    def _mine(self) -> Functions:
        """The functions in the container of the process that runs."""
        assert self.engine.current
        return self.at_work[self.engine.current]

    @contextmanager
    def wired(self) -> Iterator[None]:
        """The real handlers with these functions behind them."""
        handlers = (ingest_handler, launch_handler, poll_handler, notify_handler, publish_handler)
        metrics = SimpleNamespace(add_metric=self._metric)
        with ExitStack() as patches:
            patches.enter_context(patch.object(tenacity.wait, "random", self.engine.rng))
            for handler in handlers:
                patches.enter_context(patch.object(handler, "begin", lambda context: None))
                patches.enter_context(patch.object(handler, "metrics", metrics))
            patches.enter_context(patch.object(ingest_handler, "_ingest", lambda: self._mine().ingest))
            patches.enter_context(patch.object(launch_handler, "_launch", lambda: self._mine().launch))
            patches.enter_context(patch.object(poll_handler, "poll", lambda: self._mine().poll))
            patches.enter_context(patch.object(notify_handler, "poller", lambda: self._mine().poll))
            patches.enter_context(patch.object(publish_handler, "publish", lambda: self._mine().publish))
            patches.enter_context(patch.object(publish_handler, "time", SimpleNamespace(sleep=self.engine.sleep)))
            patches.enter_context(patch.object(publish_handler, "dead_letters", lambda: self))
            patches.enter_context(patch.object(wiring, "source_queue", self._source_queue))
            yield

    def put(self, copy_id: str, error: str) -> None:
        """The dead-letter queue of the publish function."""
        with self.line("SQS").request():
            self.count("dead letter")

    def _source_queue(self) -> Queue:
        assert self.engine.current
        return self.ingest_queue if self.engine.current.name == "ingest" else self.launch_queue

    def _metric(self, name: str, unit: str, value: float) -> None:
        self.counts[f"metric {name}"] += int(value)

    def invoke(self, function: str, event: dict[str, Any], done: Callable[[Any], None]) -> None:
        handler = {
            "ingest": ingest_handler.handler,
            "launch": launch_handler.handler,
            "poll": poll_handler.handler,
            "notify": notify_handler.handler,
            "publish": publish_handler.handler,
        }[function].__wrapped__  # type: ignore[attr-defined]
        context = SimpleNamespace(aws_request_id=f"request-{self.serial()}")

        def work() -> Any:
            assert self.engine.current
            idle = self.idle[function]
            self.at_work[self.engine.current] = idle.pop() if idle else self.container()
            return handler(event, context)

        def told(result: Any) -> None:
            assert self.engine.current
            container = self.at_work.pop(self.engine.current)
            if isinstance(result, Killed):
                self.count(f"{function} killed")
            else:
                self.idle[function].append(container)
            if isinstance(result, Exception) and not isinstance(result, AwsTrouble):
                self.broken.append(f"{function} ended with {result!r}")
            done(result)

        self.engine.start(function, TIMEOUTS[function], work, told)

    def _trigger(self) -> None:
        with self.line("Lambda").request():
            if self.refuses("triggers"):
                return
            self.engine.later(0.05, lambda: self.invoke("poll", {}, lambda result: None))

    def _tick(self) -> None:
        """EventBridge's schedule."""
        lost = self.happens("tick lost") or self.refuses("ticks")
        for _ in range(0 if lost else 2 if self.happens("tick twice") else 1):
            self.invoke("poll", {"source": "aws.events"}, lambda result: None)
        if not self.is_over():
            self.engine.later(60, self._tick)

    # --- the stream --------------------------------------------------------------------------------------------------

    def settled(self, copy: Copy) -> None:
        self.stream_records += 1
        record = {"dynamodb": {"Keys": {"copy_id": {"S": copy.copy_id}}, "SequenceNumber": str(self.stream_records)}}
        if self.happens("stream record lost"):
            return
        for _ in range(2 if self.happens("stream record twice") else 1):
            self.engine.later(self.transit("stream record late"), partial(self._stream, record, 0))

    def _stream(self, record: dict[str, Any], tries: int) -> None:
        def done(result: Any) -> None:
            if (isinstance(result, BaseException) or result["batchItemFailures"]) and tries < 20:
                self.engine.later(min(2.0**tries, 60), partial(self._stream, record, tries + 1))

        self.invoke("publish", {"Records": [record]}, done)

    # --- the run -----------------------------------------------------------------------------------------------------

    def _stock(self) -> None:
        for name, project_id in self.scenario.projects.items():
            self.world.add_project(name, project_id)
        channel = self.world.add_channel(ChannelRequest(True, "SQS", "notifications"))
        for project_id in self.scenario.projects.values() if self.scenario.notified else ():
            self.world.subscribe(project_id, SubscriptionRequest(True, JOB_STATUS_CHANGED, channel.id))
        for source in self.scenario.sources:
            uri = parse_uri(source)
            project = self.world.named(uri.project)
            assert project
            for inside in ("first", "second", "deeper/third") if uri.is_folder else ("",):
                self.world.add_file(project.id, uri.path + inside, size=self.engine.rng.randint(1, 10**9))
        for destination, outcomes in self.scenario.scripts.items():
            uri = parse_uri(destination)
            project = self.world.named(uri.project)
            if project:
                script = Script(list(outcomes))
                self.world.scripts[project.id, self.world.normal(uri.path)] = script

    def run(self) -> Simulation:
        """To the end, or to the first broken promise."""
        self.broken: list[str] = []
        with self.wired():
            for submission in self.scenario.submissions:
                self.engine.later(submission.at, partial(self._submit, submission))
            for start, seconds in self.scenario.outages:
                self.engine.later(start, partial(self._fail_ica, seconds))
            self.engine.later(self.engine.rng.uniform(0, 60), self._tick)
            self.engine.later(self.scenario.fault_seconds + 1, self._redrive)
            self.engine.later(OPERATOR_SECONDS, self._decide)
            for happening in self.scenario.happenings:
                self.engine.later(happening.at, partial(self.others.let, happening))
            try:
                while self.engine.step():
                    self._check()
                    if self.is_over() and not self.engine.processes:
                        break
                    if self.engine.now > max(self.faults.until, self.attempt_ended_at) + PATIENCE:
                        raise Broken(f"stuck: {self._what_is_open()}")
            finally:
                self.engine.close()
        self._check_end()
        return self

    def _submit(self, submission: Submission) -> None:
        copy_id = submission.body["copy_id"]
        for source in submission.body["manifest"]:
            self.snapshots.setdefault((copy_id, source), self._files_at(source))
        self.ingest_queue.add(json.dumps(submission.body))

    def _decide(self) -> None:
        """What a person does about a launch that nobody could decide about, once she has been told."""
        for job in list(self.table.job_items.values()):
            if job.status is JobStatus.LAUNCHING and job.undecided_since and self._is_told(job):
                self.engine.later(0, partial(self._decide_about, job))
        if not self.is_over():
            self.engine.later(OPERATOR_SECONDS, self._decide)

    def _is_told(self, job: Job) -> bool:
        """Whether a person knows that it is unknown whether this launch has started something."""
        delayed = {event.detail["copy_id"] for event in self.bus.events if event.detail_type == "CopyDelayed"}
        return job.copy_id in delayed and self.counts["metric LaunchesUndecided"] > 0

    def _decide_about(self, job: Job) -> None:
        """She looks in ICA, and sees what is there."""
        known = {each.ica_job_id for each in attempts_of(self)} | {
            each.ica_job_id for each in self.table.job_items.values()
        }
        destination, sources = self._canonical(job.destination), {self._canonical(source) for source in job.uncopied}
        theirs = [
            ica_job
            for ica_job in self.world.jobs.values()
            if not ica_job.strangers
            and ica_job.id not in known
            and (ica_job.project.id, ica_job.folder_path) == (destination[0], self.world.normal(destination[1]))
            and {(item.source.project_id, nfc(item.source.path)) for item in ica_job.items} == sources
        ]
        if len(theirs) > 1:
            self.broken.append(f"two ICA jobs for one launch: {job}")
            return
        self.count("operator adopts" if theirs else "operator releases")
        self._run_operator(job, theirs[0].id if theirs else None)

    def _is_busy(self, project_id: str, folder: str) -> bool:
        """Whether a job of ours may be at work in a folder, or was just now."""
        just_now = timestamp(self.engine.now - APART)
        return any(
            self._canonical(job.destination) == (project_id, nfc(folder))
            and (
                job.status in (JobStatus.LAUNCHING, JobStatus.RUNNING)
                or any(each.ended_at > just_now for each in job.attempts)
            )
            for job in self.table.job_items.values()
        )

    def _run_operator(self, job: Job, ica_job_id: str | None) -> None:
        reconcile = self.container().reconcile

        def work() -> None:
            if ica_job_id:
                reconcile.adopt(job.copy_id, job.job_id, ica_job_id)
            else:
                reconcile.release(job.copy_id, job.job_id)

        def told(result: Any) -> None:
            if isinstance(result, Exception) and not isinstance(result, AwsTrouble | IcaError | NotForAPerson):
                self.broken.append(f"the operator's command ended with {result!r}")

        self.engine.start("operator", 300, work, told)

    def _fail_ica(self, seconds: float) -> None:
        self.count("ICA outage")
        self.outage_until = self.engine.now + timedelta(seconds=seconds)

    def _redrive(self) -> None:
        self.ingest_queue.redrive()
        self.launch_queue.redrive()
        if not self.is_over():
            self.engine.later(600, self._redrive)

    def is_over(self) -> bool:
        """Everything that was submitted has been answered, and every accepted copy published."""
        answered = self.table.copies.keys() | self._rejected()
        wanted = {submission.body["copy_id"] for submission in self.scenario.submissions}
        tokens = {submission.body.get("task_token") for submission in self.scenario.submissions}
        tokens -= {None} | self.scenario.unanswerable
        published = all(row.copy.is_published for row in self.table.copies.values())
        return published and wanted <= answered and tokens <= self.tasks.answers.keys()

    def _rejected(self) -> set[str]:
        return {event.detail["copy_id"] for event in self.bus.events if event.detail_type == "CopyRejected"}

    def _what_is_open(self) -> str:
        jobs = [job for job in self.table.job_items.values() if job.status in OPEN_STATUSES]
        rows = [row for row in self.table.copies.values() if not row.copy.is_published]
        return f"{[(job.copy_id, job.job_id, job.status, job.due_at, job.held_up_by) for job in jobs]} {rows}"

    # --- the promise -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """What holds at every moment."""
        self.world.settle()
        for notice in self.world.due_notices():
            self.notification_queue.add(json.dumps(bodies.notification(notice, self.world.switches)))
        if self.broken:
            raise Broken(self.broken[0])
        if self.world.violations:
            raise Broken(f"two live ICA jobs for one file: {self.world.violations[0]}")
        if self.world.live_jobs > self.slots.total:
            raise Broken(f"{self.world.live_jobs} ICA jobs in flight, {self.slots.total} are allowed")

    def moved(self, verb: str, job: Job) -> None:
        """What holds at each move of a job."""
        ended = job.status is JobStatus.FAILED
        if job.failed_attempts + (not ended) > self.max_attempts:
            self.broken.append(f"attempt {job.attempt} of {job}")
        if verb in ENDS_AN_ATTEMPT:
            self.attempt_ended_at = self.engine.now
        self.engine.later(0, partial(self._check_counts, job.copy_id))
        if verb == "mark_passed" and self.scenario.verification is not Verification.NONE:
            self._check_files(job)
        if verb == "give_up" and job.attempts[-1].ica_job_id:
            self._check_failed(job)

    def _check_counts(self, copy_id: str) -> None:
        of_copy = [job for job in self.table.job_items.values() if job.copy_id == copy_id]
        open_jobs = sum(job.status in OPEN_STATUSES for job in of_copy)
        copy = self.table.copies[copy_id].copy
        ended = sum(job.status not in OPEN_STATUSES for job in of_copy)
        if copy.open_jobs != copy.total_jobs - ended or (
            len(of_copy) == copy.total_jobs and copy.open_jobs != open_jobs
        ):
            self.broken.append(f"{copy.open_jobs} open jobs are counted of {copy_id}, there are {open_jobs}")
        holding = sum(job.status in (JobStatus.LAUNCHING, JobStatus.RUNNING) for job in self.table.job_items.values())
        if sum(self.table.slots.values()) != holding:
            self.broken.append(f"{self.table.slots} slots are counted, {holding} jobs hold one")

    def _files_at(self, source: str) -> dict[str, int]:
        """The files of a source: path below the folder that it lies in → size."""
        uri = parse_uri(source)
        project = self.world.named(uri.project)
        if project is None:
            return {}
        path = self.world.normal(uri.path)
        above = path.rstrip("/").rpartition("/")[0] + "/"
        return {
            it.path.removeprefix(above): it.size
            for it in self.world.contents[project.id].values()
            if not it.is_folder and (it.path == path or (uri.is_folder and it.path.startswith(path)))
        }

    def _snapshot(self, job: Job) -> dict[str, int]:
        """The files that a job is to have copied by now, as they were when it was submitted."""
        spelled = {
            self._canonical(uri): files for (copy_id, uri), files in self.snapshots.items() if copy_id == job.copy_id
        }
        later = set(job.later)
        sources = [source for source in job.sources if source not in later]
        return {below: size for source in sources for below, size in spelled[self._canonical(source)].items()}

    def _canonical(self, uri: str) -> tuple[str, str]:
        parsed = parse_uri(uri)
        project = self.world.named(parsed.project)
        return project.id if project else parsed.project, nfc(parsed.path)

    def _missing(self, job: Job) -> list[str]:
        """What ICA has not at a job's destination of what it is to have copied by now, as it was submitted."""
        destination = parse_uri(job.destination)
        into = self.world.named(destination.project)
        assert into
        there = {
            (it.path, it.size) for it in self.world.contents[into.id].values() if it.status is DataStatus.AVAILABLE
        }
        wanted = {self.world.normal(destination.path + below): size for below, size in self._snapshot(job).items()}
        return [path for path, size in wanted.items() if (path, size) not in there]

    def _check_files(self, job: Job) -> None:
        """PASSED means that the files are there, as they were when the copy was submitted."""
        if job.later:
            self.broken.append(f"{job.copy_id}/{job.job_id} passed, but {job.later} were left for later")
        if not self._snapshot(job):
            self.broken.append(f"{job.copy_id}/{job.job_id} passed, but there was nothing to copy")
        is_renamed = job.options.action_on_exist == "RENAME"
        if missing := self._missing_renamed(job, in_folders=False) if is_renamed else self._missing(job):
            self.broken.append(f"{job.copy_id}/{job.job_id} passed, but these are not there: {missing}")

    def _missing_renamed(self, job: Job, in_folders: bool) -> list[str]:
        """What has no whole copy under any name that RENAME gives; of what ICA tells nobody, its word is taken.

        It is taken of what lies in folders too: that has to be there when all has settled.
        """
        switches, by_id = self.world.switches, self.world.jobs
        damaged = {
            each.outcome for each in job.attempts if each.ica_job_id and by_id[each.ica_job_id].outcome.damage != "none"
        }
        is_told = switches.echo_created_data and not switches.items_lag_seconds and damaged <= {"SUCCEEDED", MISMATCH}
        if damaged and (in_folders or not is_told or self.scenario.is_doomed(job.sources)):
            return []
        if not in_folders and not switches.echo_created_data:
            return []
        uri = parse_uri(job.destination)
        into = self.world.named(uri.project)
        assert into
        there = {
            (parent_path(it.path), it.size, RENAMED.sub("", it.name))
            for it in self.world.contents[into.id].values()
            if it.status is DataStatus.AVAILABLE
        }
        wanted = {self.world.normal(uri.path + below): size for below, size in self._snapshot(job).items()}
        return [
            path
            for path, size in wanted.items()
            if (parent_path(path) != self.world.normal(uri.path)) == in_folders
            and (parent_path(path), size, path.rpartition("/")[2]) not in there
        ]

    def _check_failed(self, job: Job) -> None:
        """A job is given up only where the files are truly not there, and not while ICA's copy engine is down."""
        ica_job = self.world.jobs[str(job.attempts[-1].ica_job_id)]
        finished = ica_job.finished or self.world.stamp
        ended = (finished - self.world.stamp + self.engine.now - self.began).total_seconds()
        start, end = self.world.switches.engine_down
        if start <= ended < end and self.scenario.max_attempts > 5:
            self.broken.append(f"{job.copy_id}/{job.job_id} was given up, though the copy engine was only down")
        failed = any(copy.reason for copy in ica_job.copies) or ica_job.outcome.damage != "none"
        if not failed and not self.scenario.is_doomed(job.sources) and not self._missing(job):
            self.broken.append(f"{job.copy_id}/{job.job_id} was given up, but its files are there")

    def _check_end(self) -> None:
        """What holds once everything has settled, in ICA too."""
        self.engine.now += timedelta(seconds=self.world.switches.available_after_seconds + 1)
        self.world.settle()
        settling: dict[str, set[tuple[str, str]]] = defaultdict(set)
        others: dict[tuple[str, str], set[str]] = defaultdict(set)
        for event in self.bus.events:
            copy_id, event_id = event.detail["copy_id"], event.detail["event_id"]
            if event.detail_type in ("CopyCompleted", "CopyFailed"):
                settling[copy_id].add((event_id, event.detail_type))
            elif event.detail_type != "CopyRejected":
                others[copy_id, event.detail_type].add(event_id)
        if several := {about for about, event_ids in others.items() if len(event_ids) != 1}:
            raise Broken(f"several event ids: {several}")
        for copy_id, row in self.table.copies.items():
            jobs = [job for job in self.table.job_items.values() if job.copy_id == copy_id]
            if len(jobs) != row.copy.total_jobs or any(job.status in OPEN_STATUSES for job in jobs):
                raise Broken(f"{copy_id} settled with open jobs")
            status = CopyStatus.FAILED if any(job.status is JobStatus.FAILED for job in jobs) else CopyStatus.COMPLETED
            word = "CopyFailed" if status is CopyStatus.FAILED else "CopyCompleted"
            if row.copy.status is not status or {each for _, each in settling[copy_id]} != {word}:
                raise Broken(f"{copy_id} is {status}, but published {row.copy.status} by {settling[copy_id]}")
            if len(settling[copy_id]) != 1:
                raise Broken(f"{copy_id} has {len(settling[copy_id])} settling event ids")
            for job in jobs:
                self._check_ended(job)
        self._check_ica_jobs()
        unknown_projects = {
            event.detail["copy_id"]
            for event in self.bus.events
            if event.detail_type == "CopyRejected" and "cannot be found" in str(event.detail["problems"])
        }
        for submission in self.scenario.submissions:
            copy_id, hopeless = submission.body["copy_id"], self.scenario.names_nobody(submission)
            if hopeless and copy_id in self.table.copies:
                raise Broken(f"accepted with a project that nobody knows: {submission}")
            if not hopeless and copy_id in unknown_projects:
                raise Broken(f"rejected although its projects are known: {submission}")
            token = submission.body.get("task_token")
            if token and token not in self.tasks.answers and token not in self.scenario.unanswerable:
                raise Broken(f"nobody answered {token}")

    def _check_ended(self, job: Job) -> None:
        is_renamed = job.status is JobStatus.PASSED and job.options.action_on_exist == "RENAME"
        if is_renamed and (missing := self._missing_renamed(job, in_folders=True)):
            raise Broken(f"{job.copy_id}/{job.job_id} passed, but these are not there: {missing}")
        if len(job.attempts) != job.attempt or [each.number for each in job.attempts] != [*range(1, job.attempt + 1)]:
            raise Broken(f"attempts are missing: {job}")
        if job.status is JobStatus.FAILED:
            refused = job.attempts[-1].outcome == NOT_STARTED
            if not job.reason or (job.failed_attempts < self.max_attempts and not refused):
                raise Broken(f"given up for no reason: {job}")
            if refused and not self.scenario.is_doomed(job.sources):
                raise Broken(f"refused for no reason: {job}")

    def _check_ica_jobs(self) -> None:
        """Every ICA job is accounted for: nothing was launched twice, and none was forgotten."""
        known = [each for job in self.table.job_items.values() for each in job.attempts if each.ica_job_id]
        by_id = Counter(each.ica_job_id for each in known)
        started = {ica_job.id for ica_job in self.world.jobs.values() if not ica_job.strangers}
        if forgotten := started - by_id.keys():
            raise Broken(f"ICA jobs that no attempt knows: {forgotten}")
        if twice := {ica_job_id for ica_job_id, count in by_id.items() if count > 1}:
            raise Broken(f"ICA jobs that two attempts have: {twice}")


def attempts_of(simulation: Simulation) -> list[Attempt]:
    return [each for job in simulation.table.job_items.values() for each in job.attempts]
