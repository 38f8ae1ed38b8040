"""Settings from the environment, and the adapters built from them: once per container, when first needed."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricResolution, MetricUnit

from icav2_copy_batch.adapters.aws import (
    DeadLetterQueue,
    EventBus,
    LaunchQueue,
    ManifestBucket,
    Poller,
    SecretToken,
    SourceQueue,
    TaskTokens,
)
from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.manifest import Limits
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.stages.dispatch import Dispatch
from icav2_copy_batch.stages.publish import Publish

if TYPE_CHECKING:
    from icav2_copy_batch.adapters.ica.client import IcaClient

NAMESPACE = "icav2-copy-batch"

# An invocation of which there is nothing to count prints no metrics; Powertools would warn of each.
warnings.filterwarnings("ignore", "No application metrics to publish")


class Counts(Metrics):
    """Counts of what has happened; what has not is not sent.

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


@dataclass(frozen=True, slots=True)
class Settings:
    """What the template sets in the functions' environment."""

    table_name: str
    bucket_name: str
    bus_name: str
    launch_queue_url: str
    source_queue_url: str
    dead_letter_queue_url: str
    poll_function_name: str
    ica_base_url: str
    token_secret_arn: str
    max_attempts: int
    verification: str
    delayed_after: timedelta
    limits: Limits
    slots: Slots

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Only what a function needs is set for it, so that the rest is empty."""
        defaults = Limits()
        return cls(
            table_name=environment.get("COPY_TABLE_NAME", ""),
            bucket_name=environment.get("MANIFEST_BUCKET_NAME", ""),
            bus_name=environment.get("EVENT_BUS_NAME", ""),
            launch_queue_url=environment.get("LAUNCH_QUEUE_URL", ""),
            source_queue_url=environment.get("SOURCE_QUEUE_URL", ""),
            dead_letter_queue_url=environment.get("DEAD_LETTER_QUEUE_URL", ""),
            poll_function_name=environment.get("POLL_FUNCTION_NAME", ""),
            ica_base_url=environment.get("ICA_BASE_URL", ""),
            token_secret_arn=environment.get("ICA_TOKEN_SECRET_ARN", ""),
            max_attempts=1 + int(environment.get("MAX_REDEPLOYS", "5")),
            verification=environment.get("VERIFICATION", "size"),
            delayed_after=timedelta(minutes=int(environment.get("DELAYED_AFTER_MINUTES", "60"))),
            slots=Slots(
                total=int(environment.get("MAX_RUNNING_JOBS", Slots().total)),
                per_project=int(environment.get("MAX_RUNNING_JOBS_PER_PROJECT", Slots().per_project)),
            ),
            limits=Limits(
                max_sources_per_job=int(environment.get("MAX_SOURCES_PER_JOB", defaults.max_sources_per_job)),
                allow_same_project=environment.get("ALLOW_SAME_PROJECT", "false") == "true",
            ),
        )


def failed(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer to SQS: these messages are to be delivered again, all others are done with."""
    identifiers = []
    for record in records:
        source_queue().deliver_again_soon(record)
        identifiers.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": identifiers}


class Deadline:
    """When the invocation under way has to end. Lambda runs one at a time in a container."""

    def __init__(self) -> None:
        self._at = float("inf")

    def follow(self, context: LambdaContext) -> None:
        self._at = time.monotonic() + context.get_remaining_time_in_millis() / 1000

    def seconds_left(self) -> float:
        return self._at - time.monotonic()


deadline = Deadline()


def begin(context: LambdaContext) -> None:
    """What each invocation starts with."""
    deadline.follow(context)
    settings()
    _configure_logging()


@cache
def _configure_logging() -> None:
    copy_config_to_registered_loggers(logger, include={"icav2_copy_batch"})


@cache
def settings() -> Settings:
    return Settings.from_environment(os.environ)


@cache
def table() -> CopyTable:
    return CopyTable(settings().table_name)


@cache
def bucket() -> ManifestBucket:
    return ManifestBucket(settings().bucket_name)


@cache
def bus() -> EventBus:
    return EventBus(settings().bus_name)


@cache
def launch_queue() -> LaunchQueue:
    return LaunchQueue(settings().launch_queue_url)


@cache
def source_queue() -> SourceQueue:
    return SourceQueue(settings().source_queue_url)


@cache
def dead_letters() -> DeadLetterQueue:
    return DeadLetterQueue(settings().dead_letter_queue_url)


@cache
def poller() -> Poller:
    return Poller(settings().poll_function_name)


@cache
def tasks() -> TaskTokens:
    return TaskTokens(lambda: metrics.add_metric("TasksNeverAnswered", "Count", 1))


@cache
def dispatch() -> Dispatch:
    return Dispatch(table=table(), queue=launch_queue(), pacing=pacing(), clock=utc_now, slots=settings().slots)


@cache
def publish() -> Publish:
    return Publish(
        table=table(), bucket=bucket(), bus=bus(), tasks=tasks(), clock=utc_now, seconds_left=deadline.seconds_left
    )


@cache
def pacing() -> Pacing:
    return Pacing(table=table(), clock=utc_now, sleep=time.sleep, seconds_left=deadline.seconds_left)


@cache
def ica() -> IcaClient:
    """Imported only where it is used: publish knows nothing of ICA, and ingest asks it only for names."""
    from icav2_copy_batch.adapters.ica.client import IcaClient  # noqa: PLC0415 # libica takes half of a cold start
    from icav2_copy_batch.adapters.ica.http import Http  # noqa: PLC0415 # the same

    http = Http(
        base_url=settings().ica_base_url,
        tokens=SecretToken(settings().token_secret_arn),
        seconds_left=deadline.seconds_left,
        clock=utc_now,
        pacing=pacing(),
    )
    return IcaClient(http=http)


def utc_now() -> datetime:
    return datetime.now(UTC)


logging.getLogger("icav2_copy_batch")  # registered, so that it can be given the handlers' configuration
