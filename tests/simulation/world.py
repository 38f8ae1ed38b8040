"""The simulated world: the real handlers, stages and domain over AWS and ICA in memory, in virtual time.

Messages come twice, late, out of order or not at all; calls fail before they are carried out, or after; ICA answers
429, 503, nothing, or carries out a request that everybody has given up; a function dies at any call. All of it follows
from one seed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

from icav2_copy_batch.domain.job import Attempt, Copy, Job, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.requests import Cancel, Pause, Request, Resume
from icav2_copy_batch.domain.uri import nfc, parse_uri
from icav2_copy_batch.handlers import ingest, launch, notify, poll, publish
from icav2_copy_batch.handlers.container import Container, Machine
from icav2_copy_batch.stages.ingest import Ingest, Ingested
from icav2_copy_batch.stages.operate import Operate
from local.simulator import bodies
from local.simulator.gate import Simulator
from local.simulator.model import JOB_STATUS_CHANGED, ChannelRequest, Script, SubscriptionRequest
from local.simulator.switches import Switches, build
from local.simulator.world import World as Ica
from tests import doubles
from tests.doubles.simulated_ica import TOKEN, Tokens
from tests.simulation.aws import AwsLine, AwsTrouble, CopyTable, Queue, SubmissionQueue, Tasks
from tests.simulation.deployed import DELAYED_AFTER, STREAM_RETRIES, TICK_SECONDS, TIMEOUTS, Feed
from tests.simulation.engine import Engine, Killed, Process
from tests.simulation.others import APART, Others
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.wire import HOST, Wire, pause

LONGEST_STREAM_PAUSE = 60.0
"""Seconds between two tries of a stream's record; AWS does not say how long it waits."""


HANDLERS = {"ingest": ingest, "launch": launch, "poll": poll, "notify": notify, "publish": publish}


@dataclass
class Faults:
    """How often each thing goes wrong, per call or message, while the faults last."""

    rates: dict[str, float]
    until: datetime


class World:
    """What is simulated for one seed: AWS, ICA, the functions, and what goes wrong."""

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
        self.ica = Ica(self.engine.clock, rng, build(Switches, self.scenario.switches | dict.fromkeys(lags, 0.0)))
        self.wire = Wire(self, Simulator(self.ica, TOKEN, sleep=pause))
        self.table = CopyTable(self)
        self.bucket = doubles.Bucket(self.line("S3"))
        self.bus = doubles.Bus(self.line("EventBridge"))
        self.tasks = Tasks(self)
        self.ingest_queue = Queue(self, Feed.of("ingest", "Submission"))
        self.launch_queue = Queue(self, Feed.of("launch", "Due", self.scenario.launch_concurrency))
        self.notification_queue = Queue(self, Feed.of("notify", "JobEnded"))
        self.max_attempts = self.scenario.max_attempts
        self.slots = self.scenario.slots
        self.stream_records = 0
        self.broken: list[str] = []
        """What broke within a function or on a move, where it cannot be raised; the next check raises it."""
        self.moved: Callable[[str, Job], None] = lambda verb, job: None
        """Called with each move of a job."""
        self.asking: Callable[[OpenJob], None] = lambda job: None
        """Called when a launch has noted what it is about to ask ICA for."""
        self.redriven: Callable[[str, str], None] = lambda origin, copy_id: None
        """Called when the copy that redrives another is made."""
        self.carrying_out: Callable[[Request], AbstractContextManager[None]] = lambda request: nullcontext()
        """Entered while a function carries out a cancel, a pause or a resume."""
        self.cancelling: Callable[[str], None] = lambda copy_id: None
        """Called when a cancel was written."""
        self.received: Callable[[str, Ingested], None] = lambda body, ingested: None
        """Called when ingest has dealt with a message."""
        self.also_over: Callable[[], bool] = lambda: True
        """Whether also what operators ask has been answered."""
        self.idle: dict[str, list[SimulatedContainer]] = defaultdict(list)
        self.at_work: dict[Process, SimulatedContainer] = {}
        names = [source.rpartition("/")[2] for source in self.scenario.sources if not source.endswith("/")]
        self.others = Others(self.ica, rng, self.engine.later, names, self.is_busy)
        self._stock()
        self.ica.switches = replace(self.ica.switches, **lags)

    def step(self) -> bool:
        """Let the next thing happen, in ICA too; False when there is nothing left."""
        if not self.engine.step():
            return False
        self.ica.settle()
        for notice in self.ica.due_notices():
            self.notification_queue.add(json.dumps(bodies.notification(notice, self.ica.switches)))
        return True

    @property
    def faults_end(self) -> datetime:
        """When AWS has ceased to fail."""
        refused = [start + seconds for _, start, seconds, _ in self.scenario.refusals]
        return max(self.faults.until, self.began + timedelta(seconds=max(refused, default=0.0)))

    def settle_ica(self) -> None:
        """Let the time pass after which ICA shows all that it has done."""
        self.engine.now += timedelta(seconds=self.ica.switches.available_after_seconds + 1)
        self.ica.settle()

    def attempts(self) -> list[Attempt]:
        """All attempts that have ended."""
        return [each for job in self.table.job_items.values() for each in job.attempts]

    # --- chance -------------------------------------------------------------------------------------------------------

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

    # --- the functions ------------------------------------------------------------------------------------------------

    def container(self, function: str) -> SimulatedContainer:
        """A new container: its client of ICA remembers what it sees, for as long as the container lives."""
        return SimulatedContainer(self, function)

    def put(self, copy_id: str, error: str) -> None:
        """The dead-letter queue of the publish function."""
        with self.line("SQS").request():
            self.count("dead letter")

    def add_metric(self, name: str, unit: str, value: float) -> None:
        """CloudWatch."""
        self.counts[f"metric {name}"] += int(value)

    def invoke(self, function: str, event: dict[str, Any], done: Callable[[Any], None]) -> None:
        context = SimpleNamespace(aws_request_id=f"request-{self.serial()}")

        def work() -> Any:
            assert self.engine.current
            idle = self.idle[function]
            container = self.at_work[self.engine.current] = idle.pop() if idle else self.container(function)
            return HANDLERS[function].handle(event, context, container)

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

    def trigger(self) -> None:
        with self.line("Lambda").request():
            if self.refuses("triggers"):
                return
            self.engine.later(0.05, lambda: self.invoke("poll", {}, lambda result: None))

    def tick(self) -> None:
        """The schedule of the poll function."""
        lost = self.happens("tick lost") or self.refuses("ticks")
        for _ in range(0 if lost else 2 if self.happens("tick twice") else 1):
            self.invoke("poll", {"source": "aws.events"}, lambda result: None)
        if not self.is_over():
            self.engine.later(TICK_SECONDS, self.tick)

    # --- the stream ---------------------------------------------------------------------------------------------------

    def settled(self, copy: Copy) -> None:
        self.stream_records += 1
        record = {"dynamodb": {"Keys": {"copy_id": {"S": copy.copy_id}}, "SequenceNumber": str(self.stream_records)}}
        if self.happens("stream record lost"):
            return
        for _ in range(2 if self.happens("stream record twice") else 1):
            self.engine.later(self.transit("stream record late"), partial(self._stream, record, 0))

    def _stream(self, record: dict[str, Any], tries: int) -> None:
        def done(result: Any) -> None:
            if (isinstance(result, BaseException) or result["batchItemFailures"]) and tries < STREAM_RETRIES:
                self.engine.later(min(2.0**tries, LONGEST_STREAM_PAUSE), partial(self._stream, record, tries + 1))

        self.invoke("publish", {"Records": [record]}, done)

    # --- ICA ----------------------------------------------------------------------------------------------------------

    def _stock(self) -> None:
        for name, project_id in self.scenario.projects.items():
            self.ica.add_project(name, project_id)
        channel = self.ica.add_channel(ChannelRequest(True, "SQS", "notifications"))
        for project_id in self.scenario.projects.values() if self.scenario.notified else ():
            self.ica.subscribe(project_id, SubscriptionRequest(True, JOB_STATUS_CHANGED, channel.id))
        for source in self.scenario.sources:
            uri = parse_uri(source)
            project = self.ica.named(uri.project)
            assert project
            for inside in ("first", "second", "deeper/third") if uri.is_folder else ("",):
                self.ica.add_file(project.id, uri.path + inside, size=self.engine.rng.randint(1, 10**9))
        for destination, outcomes in self.scenario.scripts.items():
            uri = parse_uri(destination)
            project = self.ica.named(uri.project)
            if project:
                script = Script(list(outcomes))
                self.ica.scripts[project.id, self.ica.normal(uri.path)] = script

    def is_busy(self, project_id: str, folder: str) -> bool:
        """Whether a job of ours may be at work in a folder, or was just now."""
        just_now = timestamp(self.engine.now - APART)
        return any(
            self.canonical(job.destination) == (project_id, nfc(folder))
            and (
                job.status in (JobStatus.LAUNCHING, JobStatus.RUNNING)
                or any(each.ended_at > just_now for each in job.attempts)
            )
            for job in self.table.job_items.values()
        )

    def canonical(self, uri: str) -> tuple[str, str]:
        parsed = parse_uri(uri)
        project = self.ica.named(parsed.project)
        return project.id if project else parsed.project, nfc(parsed.path)

    def fail_ica(self, seconds: float) -> None:
        self.count("ICA outage")
        self.outage_until = self.engine.now + timedelta(seconds=seconds)

    # --- the end ------------------------------------------------------------------------------------------------------

    def redrive(self) -> None:
        self.ingest_queue.redrive()
        self.launch_queue.redrive()
        if not self.is_over():
            self.engine.later(600, self.redrive)

    def is_over(self) -> bool:
        """Everything that was submitted has been answered, and every accepted copy published."""
        if not all(row.copy.is_published for row in self.table.copies.values()):
            return False
        answered = self.table.copies.keys() | self.rejected()
        wanted = {submission.body["copy_id"] for submission in self.scenario.submissions}
        tokens = {submission.body.get("task_token") for submission in self.scenario.submissions}
        tokens -= {None} | self.scenario.unanswerable
        return self.also_over() and wanted <= answered and tokens <= self.tasks.answers.keys()

    def rejected(self) -> set[str]:
        return {event.detail["copy_id"] for event in self.bus.events if event.detail_type == "CopyRejected"}


@dataclass(frozen=True, kw_only=True)
class WatchedOperate(Operate):
    """Says what was carried out: its result says so, whichever way a command came."""

    world: World

    def cancel(self, request: Cancel) -> int:
        with self.world.carrying_out(request):
            return super().cancel(request)

    def pause(self, request: Pause) -> None:
        with self.world.carrying_out(request):
            super().pause(request)

    def resume(self, request: Resume) -> None:
        with self.world.carrying_out(request):
            super().resume(request)


@dataclass(frozen=True, kw_only=True)
class WatchedIngest(Ingest):
    """Says which messages it has dealt with."""

    world: World

    def receive(self, message_id: str, body: str) -> Ingested:
        ingested = super().receive(message_id, body)
        self.world.received(body, ingested)
        return ingested


def _parts(stage: Operate | Ingest) -> dict[str, Any]:
    return {each.name: getattr(stage, each.name) for each in fields(stage)}


class SimulatedContainer(Container):
    """The functions' own container, with AWS in memory, ICA over a wire without sockets, and virtual time."""

    def __init__(self, world: World, function: str) -> None:
        engine, scenario = world.engine, world.scenario
        environment = {
            "ICA_BASE_URL": HOST,
            "MAX_REDEPLOYS": str(scenario.max_attempts - 1),
            "MAX_RUNNING_JOBS": str(scenario.slots.total),
            "MAX_RUNNING_JOBS_PER_PROJECT": str(scenario.slots.per_project),
            "MAX_SOURCES_PER_JOB": str(scenario.max_sources_per_job),
            "DELAYED_AFTER_MINUTES": str(int(DELAYED_AFTER.total_seconds() / 60)),
            "VERIFICATION": scenario.verification,
            "MANIFEST_BUCKET_NAME": world.bucket.name,
        }
        machine = Machine(
            clock=engine.clock,
            sleep=engine.sleep,
            monotonic=lambda: engine.now.timestamp(),
            jitter=engine.rng.uniform,
            spread=doubles.in_turn,
        )
        super().__init__(environment, machine)
        self._world = world
        self._feed = world.ingest_queue if function == "ingest" else world.launch_queue
        self.metrics = world

    def seconds_left(self) -> float:
        return self._world.engine.seconds_left()

    def http_options(self) -> dict[str, Any]:
        return {"wire": self._world.wire}

    @cached_property
    def table(self) -> CopyTable:
        return self._world.table

    @cached_property
    def bucket(self) -> doubles.Bucket:
        return self._world.bucket

    @cached_property
    def bus(self) -> doubles.Bus:
        return self._world.bus

    @cached_property
    def tasks(self) -> Tasks:
        return self._world.tasks

    @cached_property
    def launch_queue(self) -> Queue:
        return self._world.launch_queue

    @cached_property
    def submissions(self) -> SubmissionQueue:
        return SubmissionQueue(self._world.ingest_queue)

    @cached_property
    def source_queue(self) -> Queue:
        return self._feed

    @cached_property
    def dead_letters(self) -> World:
        return self._world

    @cached_property
    def poll_function(self) -> World:
        return self._world

    @cached_property
    def operate(self) -> Operate:
        return WatchedOperate(**_parts(super().operate), world=self._world)

    @cached_property
    def ingest(self) -> Ingest:
        return WatchedIngest(**_parts(super().ingest), world=self._world)

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens()
