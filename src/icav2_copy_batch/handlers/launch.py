"""SQS → launch."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.handlers.container import (
    LambdaContext,
    begin,
    deadline,
    failed,
    ica,
    launch_queue,
    logger,
    metrics,
    pacing,
    poller,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.stages.launch import Launch


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    begin(context)
    due, failures = [], []
    for record in event["Records"]:
        try:
            due.append((LaunchRequest(**json.loads(record["body"])), record))
        except (ValueError, TypeError):
            logger.exception("not a launch message", extra={"message_id": record["messageId"]})
            failures.append(record)
    launched = _launch().launch(request for request, _ in due)
    metrics.add_metric("AttemptsStarted", "Count", launched.started)
    metrics.add_metric("LaunchesDeferred", "Count", launched.deferred)
    metrics.add_metric("LaunchesHeld", "Count", launched.held)
    metrics.add_metric("LaunchesUnknown", "Count", launched.unknown)
    metrics.add_metric("JobsFailed", "Count", launched.refused)
    return failed([*failures, *(record for request, record in due if request in launched.failed)])


@cache
def _launch() -> Launch:
    return Launch(
        table=table(),
        ica=ica(),
        queue=launch_queue(),
        poller=poller(),
        pacing=pacing(),
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        slots=settings().slots,
    )
