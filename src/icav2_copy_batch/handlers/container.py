"""The functions' one container: what a function needs, built from its settings when first used, and kept.

``on_lambda`` makes the ``handler`` that Lambda calls from a module's ``handle``: it passes the event and this process's
container. Tests pass a container of their own, with another clock or another ICA.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricResolution, MetricUnit

from icav2_copy_batch import ports
from icav2_copy_batch.adapters import aws
from icav2_copy_batch.adapters.bucket import ManifestBucket
from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.deployed import Names
from icav2_copy_batch.domain.job import Clock, JobStatus
from icav2_copy_batch.domain.manifest import Limits
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.stages.dispatch import Dispatch
from icav2_copy_batch.stages.publish import Publish

if TYPE_CHECKING:
    from icav2_copy_batch.adapters.ica.client import IcaClient
    from icav2_copy_batch.adapters.ica.http import Http
    from icav2_copy_batch.adapters.ica.setup import IcaSetup
    from icav2_copy_batch.operators.control import Control
    from icav2_copy_batch.operators.doctor import Doctor
    from icav2_copy_batch.operators.listing import Listing
    from icav2_copy_batch.operators.plan import Plan
    from icav2_copy_batch.operators.recheck import Recheck
    from icav2_copy_batch.operators.subscribe import Subscribe
    from icav2_copy_batch.stages.ingest import Ingest
    from icav2_copy_batch.stages.launch import Launch
    from icav2_copy_batch.stages.operate import Operate
    from icav2_copy_batch.stages.poll import Poll
    from icav2_copy_batch.stages.reconcile import Reconcile

NAMESPACE = "icav2-copy-batch"

Event = dict[str, Any]
Answer = TypeVar("Answer")

# An invocation of which there is nothing to count prints no metrics; Powertools would warn of each.
warnings.filterwarnings("ignore", "No application metrics to publish")


class Counts(Metrics):
    """Powertools' metrics, which leave out zeros.

    CloudWatch charges for each metric in each hour in which it gets a value, be it zero (see its page of prices). An
    alarm that takes missing data for none needs no zeros.
    """

    def add_metric(
        self, name: str, unit: MetricUnit | str, value: float, resolution: MetricResolution | int = 60
    ) -> None:
        if value:
            super().add_metric(name, unit, value, resolution)


# Both are named after the stack, by POWERTOOLS_SERVICE_NAME: several stacks of one account are told apart.
logger = Logger()
metrics = Counts(namespace=NAMESPACE)


class LambdaContext(Protocol):
    """What we use of the context that Lambda gives a handler."""

    @property
    def aws_request_id(self) -> str: ...
    def get_remaining_time_in_millis(self) -> int: ...


class SettingMissing(Exception):
    """A variable that this function needs is not set. The template sets it."""


class Settings:
    """What the template sets in a function's environment. Each function is given what it needs, and no more."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def required(self, name: str) -> str:
        """A variable without a default. Raises ``SettingMissing``."""
        if value := self._environment.get(name):
            return value
        raise SettingMissing(f"the environment variable {name} is not set: deploy the function with the template")

    @property
    def max_attempts(self) -> int:
        return 1 + int(self._environment.get("MAX_REDEPLOYS", "5"))

    @property
    def verification(self) -> str:
        return self._environment.get("VERIFICATION", "size")

    @property
    def delayed_after(self) -> timedelta:
        return timedelta(minutes=int(self._environment.get("DELAYED_AFTER_MINUTES", "60")))

    @property
    def slots(self) -> Slots:
        defaults = Slots()
        return Slots(
            total=int(self._environment.get("MAX_RUNNING_JOBS", defaults.total)),
            per_project=int(self._environment.get("MAX_RUNNING_JOBS_PER_PROJECT", defaults.per_project)),
        )

    @property
    def names(self) -> Names:
        """What the stack's resources are called."""
        queues, fed = ("INGEST", "LAUNCH", "NOTIFICATION"), ("INGEST", "LAUNCH", "PUBLISH")
        return Names(
            queues={name.lower(): self.required(f"{name}_QUEUE_URL") for name in queues},
            dead_letter_queues={name.lower(): self.required(f"{name}_DEAD_LETTER_QUEUE_URL") for name in fed},
            alarms=tuple(self.required("ALARM_NAMES").split(",")),
            poll_rule=self.required("POLL_RULE_NAME"),
            poll_function=self.required("POLL_FUNCTION_NAME"),
            event_bus=self.required("EVENT_BUS_NAME"),
        )

    @property
    def limits(self) -> Limits:
        return Limits(
            max_sources_per_job=int(self._environment.get("MAX_SOURCES_PER_JOB", Limits().max_sources_per_job)),
            allow_same_project=self._environment.get("ALLOW_SAME_PROJECT", "false") == "true",
        )


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Time, chance and threads, as this machine has them."""

    clock: Clock = utc_now
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform
    """A random number between two."""
    spread: Spread = in_threads
    """Makes calls that need not wait for each other."""


class Container:
    """What the functions need. Each property is built when it is first used, and kept for later invocations.

    A property raises ``SettingMissing`` where the function's environment lacks what it is built from. What only some
    functions run is imported with the property: libica alone takes half of a cold start.
    """

    def __init__(self, environment: Mapping[str, str], machine: Machine | None = None) -> None:
        self.settings = Settings(environment)
        self.machine = machine or Machine()
        self.metrics: ports.Metrics = metrics
        self._ends_at = float("inf")
        self._counting = threading.Lock()
        self._ica_calls = 0

    def begin(self, context: LambdaContext) -> None:
        """Note when the invocation under way has to end. Lambda runs one at a time in a container."""
        self._ends_at = self.machine.monotonic() + context.get_remaining_time_in_millis() / 1000

    def end(self) -> None:
        """Emit what was counted of the invocation under way."""
        with self._counting:
            calls, self._ica_calls = self._ica_calls, 0
        self.metrics.add_metric("IcaCalls", "Count", calls)

    def seconds_left(self) -> float:
        """Seconds until the invocation under way has to end."""
        return self._ends_at - self.machine.monotonic()

    def failed(self, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer to SQS: these messages are to be delivered again, all others are done with."""
        identifiers = []
        for record in records:
            self.source_queue.deliver_again_soon(record)
            identifiers.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": identifiers}

    def count_cancelled(self, jobs: int) -> None:
        """Count jobs that have ended by a cancel, whichever function has ended them."""
        self.metrics.add_metric("JobsCancelled", "Count", jobs)

    def show_jobs(self, jobs: Mapping[JobStatus, int]) -> None:
        """Emit how many jobs there are in each status now."""
        self.metrics.add_metric("JobsQueued", "Count", jobs[JobStatus.QUEUED])
        self.metrics.add_metric("JobsLaunching", "Count", jobs[JobStatus.LAUNCHING])
        self.metrics.add_metric("JobsRunning", "Count", jobs[JobStatus.RUNNING])

    def show_oldest(self, seconds: float) -> None:
        """Emit the age of the oldest open job."""
        self.metrics.add_metric("OldestJobAge", "Seconds", seconds)

    def count_ica_call(self) -> None:
        """Count a request to ICA. Several threads make them."""
        with self._counting:
            self._ica_calls += 1

    # --- adapters ----------------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> ports.Table:
        return CopyTable(self.settings.required("COPY_TABLE_NAME"))

    @cached_property
    def bucket(self) -> ports.Bucket:
        return ManifestBucket(self.settings.required("MANIFEST_BUCKET_NAME"))

    @cached_property
    def bus(self) -> ports.Bus:
        return aws.EventBus(self.settings.required("EVENT_BUS_NAME"))

    @cached_property
    def tasks(self) -> ports.Tasks:
        return aws.TaskTokens(lambda: self.metrics.add_metric("TasksNeverAnswered", "Count", 1))

    @cached_property
    def launch_queue(self) -> ports.LaunchQueue:
        return aws.LaunchQueue(self.settings.required("LAUNCH_QUEUE_URL"))

    @cached_property
    def source_queue(self) -> ports.SourceQueue:
        """The queue that this function is fed by."""
        return aws.SourceQueue(self.settings.required("SOURCE_QUEUE_URL"))

    @cached_property
    def submissions(self) -> ports.SubmissionQueue:
        return aws.IngestQueue(self.settings.required("INGEST_QUEUE_URL"))

    @cached_property
    def dead_letters(self) -> ports.DeadLetters:
        return aws.DeadLetterQueue(self.settings.required("DEAD_LETTER_QUEUE_URL"))

    @cached_property
    def poll_function(self) -> ports.PollFunction:
        return aws.Poller(self.settings.required("POLL_FUNCTION_NAME"))

    @cached_property
    def pacing(self) -> Pacing:
        return Pacing(
            table=self.table,
            clock=self.machine.clock,
            sleep=self.machine.sleep,
            seconds_left=self.seconds_left,
            jitter=self.machine.jitter,
        )

    @cached_property
    def ica(self) -> IcaClient:
        from icav2_copy_batch.adapters.ica.client import IcaClient

        return IcaClient(http=self.http)

    @cached_property
    def ica_setup(self) -> IcaSetup:
        from icav2_copy_batch.adapters.ica.setup import IcaSetup

        return IcaSetup(http=self.http)

    @cached_property
    def http(self) -> Http:
        from icav2_copy_batch.adapters.ica.http import Http

        return Http(
            base_url=self.settings.required("ICA_BASE_URL"),
            tokens=self.tokens,
            seconds_left=self.seconds_left,
            sleep=self.machine.sleep,
            monotonic=self.machine.monotonic,
            clock=self.machine.clock,
            jitter=self.machine.jitter,
            spread=self.machine.spread,
            pacing=self.pacing,
            count=self.count_ica_call,
            **self.http_options(),
        )

    @cached_property
    def tokens(self) -> ports.TokenSource:
        return aws.SecretToken(self.settings.required("ICA_TOKEN_SECRET_ARN"))

    def http_options(self) -> dict[str, Any]:
        """Parameters of ``Http`` that differ from its defaults: none, but in tests."""
        return {}

    # --- stages ------------------------------------------------------------------------------------------------------

    @cached_property
    def ingest(self) -> Ingest:
        from icav2_copy_batch.stages.ingest import Ingest

        return Ingest(
            table=self.table,
            bucket=self.bucket,
            dispatch=self.dispatch,
            bus=self.bus,
            tasks=self.tasks,
            publish=self.publish,
            clock=self.machine.clock,
            seconds_left=self.seconds_left,
            operate=self.operate,
            spread=self.machine.spread,
            limits=self.settings.limits,
            project_id=lambda name: self.ica.project_id(name),  # built only for a manifest that names a project
        )

    @cached_property
    def dispatch(self) -> Dispatch:
        return Dispatch(
            table=self.table,
            queue=self.launch_queue,
            pacing=self.pacing,
            clock=self.machine.clock,
            count_cancelled=self.count_cancelled,
            slots=self.settings.slots,
            spread=self.machine.spread,
        )

    @cached_property
    def launch(self) -> Launch:
        from icav2_copy_batch.stages.launch import Launch

        return Launch(
            table=self.table,
            ica=self.ica,
            poller=self.poll_function,
            pacing=self.pacing,
            clock=self.machine.clock,
            seconds_left=self.seconds_left,
            slots=self.settings.slots,
            jitter=self.machine.jitter,
            spread=self.machine.spread,
            sleep=self.machine.sleep,
        )

    @cached_property
    def poll(self) -> Poll:
        from icav2_copy_batch.stages.delay import Delay
        from icav2_copy_batch.stages.items import BatchItems
        from icav2_copy_batch.stages.poll import Poll
        from icav2_copy_batch.stages.settle import Settle
        from icav2_copy_batch.stages.unwritten import Unwritten
        from icav2_copy_batch.stages.verify import Verification, Verify

        clock, spread = self.machine.clock, self.machine.spread
        settle = Settle(
            table=self.table,
            verify=Verify(
                ica=self.ica.impatient(),
                verification=Verification(self.settings.verification),
                clock=clock,
                spread=spread,
            ),
            items=BatchItems(ica=self.ica.impatient(), spread=spread),
            clock=clock,
            seconds_left=self.seconds_left,
            max_attempts=self.settings.max_attempts,
            spread=spread,
        )
        unwritten = Unwritten(table=self.table, clock=clock, spread=spread, count_cancelled=self.count_cancelled)
        delay = Delay(
            table=self.table,
            bus=self.bus,
            clock=clock,
            limit=self.settings.delayed_after,
            note_jobs=self.show_jobs,
        )
        return Poll(
            table=self.table,
            ica=self.ica,
            settle=settle,
            settle_launches=self.reconcile.settle_unknown_launches,
            dispatch=self.dispatch,
            publish=self.publish,
            note_oldest=self.show_oldest,
            report_delays=delay.report,
            end_unwritten=unwritten.end,
            clock=clock,
            seconds_left=self.seconds_left,
            sleep=self.machine.sleep,
        )

    @cached_property
    def reconcile(self) -> Reconcile:
        from icav2_copy_batch.stages.reconcile import Reconcile

        return Reconcile(table=self.table, ica=self.ica, clock=self.machine.clock)

    def project_id(self, project: str) -> str:
        return self.ica.project_id(project)

    @cached_property
    def listing(self) -> Listing:
        from icav2_copy_batch.operators.listing import Listing

        return Listing(ica=self.ica, project_id=self.ica.project_id, seconds_left=self.seconds_left)

    @cached_property
    def recheck(self) -> Recheck:
        from icav2_copy_batch.operators.recheck import Recheck

        return Recheck(table=self.table, ica=self.ica, spread=self.machine.spread, seconds_left=self.seconds_left)

    @cached_property
    def operate(self) -> Operate:
        from icav2_copy_batch.stages.operate import Operate

        return Operate(
            table=self.table,
            clock=self.machine.clock,
            seconds_left=self.seconds_left,
            count_cancelled=self.count_cancelled,
            spread=self.machine.spread,
        )

    @cached_property
    def control(self) -> Control:
        from icav2_copy_batch.operators.control import Control

        return Control(
            table=self.table,
            operate=self.operate,
            of_ica=self,
            submissions=self.submissions,
            poller=self.poll_function,
            bucket_name=self.settings.required("MANIFEST_BUCKET_NAME"),
            clock=self.machine.clock,
            slots=self.settings.slots,
        )

    @cached_property
    def subscribe(self) -> Subscribe:
        from icav2_copy_batch.operators.subscribe import Subscribe

        return Subscribe(
            ica=self.ica_setup,
            leases=self.table,
            address=self.settings.required("NOTIFICATION_QUEUE_URL"),
            clock=self.machine.clock,
        )

    @property
    def doctor(self) -> Doctor:
        """A new one for each request: it remembers what it has seen."""
        from icav2_copy_batch.adapters.deployed import DeployedStack
        from icav2_copy_batch.adapters.ica.setup import IcaSetup
        from icav2_copy_batch.operators.doctor import Doctor
        from icav2_copy_batch.operators.doctor_ica import IcaLooks
        from icav2_copy_batch.operators.doctor_stack import StackLooks

        clock, required = self.machine.clock, self.settings.required
        return Doctor(
            ica=IcaLooks(
                ica=IcaSetup(http=self.http.impatient()),
                tokens=self.tokens,
                address=required("NOTIFICATION_QUEUE_URL"),
                base_url=required("ICA_BASE_URL"),
                clock=clock,
            ),
            stack=StackLooks(deployed=DeployedStack(), leases=self.table, names=self.settings.names, clock=clock),
            table=self.table,
            clock=clock,
        )

    @cached_property
    def plan(self) -> Plan:
        from icav2_copy_batch.operators.plan import MAX_MANIFEST_BYTES, Plan
        from icav2_copy_batch.stages.verify import Verification

        return Plan(
            table=self.table,
            ica=self.ica,
            project_id=self.ica.project_id,
            clock=self.machine.clock,
            seconds_left=self.seconds_left,
            spread=self.machine.spread,
            limits=replace(self.settings.limits, max_manifest_bytes=MAX_MANIFEST_BYTES),
            slots=self.settings.slots,
            max_attempts=self.settings.max_attempts,
            verification=Verification(self.settings.verification),
        )

    @cached_property
    def publish(self) -> Publish:
        return Publish(
            table=self.table,
            bucket=self.bucket,
            bus=self.bus,
            tasks=self.tasks,
            clock=self.machine.clock,
            seconds_left=self.seconds_left,
        )


def configure_logging() -> None:
    """Have all modules of this package log as the handlers do: as JSON lines, with the stack's name."""
    copy_config_to_registered_loggers(logger, include={"icav2_copy_batch"})


@cache
def container() -> Container:
    """The container of this process."""
    configure_logging()
    return Container(os.environ)


def on_lambda(
    handle: Callable[[Event, LambdaContext, Container], Answer], container: Callable[[], Container] = container
) -> Callable[[Event, LambdaContext], Answer]:
    """Return the function that Lambda calls: it handles an event, and sends what was counted to CloudWatch."""

    @metrics.log_metrics
    @wraps(handle)
    def handler(event: Event, context: LambdaContext) -> Answer:
        mine = container()
        mine.begin(context)
        try:
            return handle(event, context, mine)
        finally:
            mine.end()

    return handler


logging.getLogger("icav2_copy_batch")  # registered, so that it can be given the handlers' configuration
