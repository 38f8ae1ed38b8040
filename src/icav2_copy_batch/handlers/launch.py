"""SQS → launch."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.handlers.wiring import (
    LambdaContext,
    begin,
    deadline,
    ica,
    launch_queue,
    metrics,
    poller,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.launch import Launch


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    begin(context)
    requests = [(record["messageId"], LaunchRequest(**json.loads(record["body"]))) for record in event["Records"]]
    launched = _launch().launch(request for _, request in requests)
    metrics.add_metric("AttemptsStarted", "Count", launched.started)
    metrics.add_metric("LaunchesDeferred", "Count", launched.deferred)
    metrics.add_metric("LaunchesUnknown", "Count", launched.unknown)
    metrics.add_metric("JobsFailed", "Count", launched.refused)
    failed = [message_id for message_id, request in requests if request in launched.failed]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@cache
def _launch() -> Launch:
    return Launch(
        table(), ica(), launch_queue(), poller(), utc_now, deadline.seconds_left, settings().limits.allow_same_project
    )
