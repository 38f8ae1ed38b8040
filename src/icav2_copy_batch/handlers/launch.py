"""SQS → launch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.handlers.container import (
    LambdaContext,
    begin,
    deadline,
    failed,
    ica,
    logger,
    metrics,
    pacing,
    poller,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.stages.launch import End, Launch

METRICS: Mapping[End, str | None] = {
    End.STARTED: "AttemptsStarted",
    End.HELD: "LaunchesHeld",
    End.DEFERRED: "LaunchesDeferred",
    End.HALVED: None,  # its next launch is counted
    End.REFUSED: "JobsFailed",
    End.UNKNOWN: "LaunchesUnknown",
    End.MOVED_ON: None,  # what moved it on was counted
    End.BROKEN: None,  # Lambda and SQS count it: the message comes again
}
"""What is counted of the ends of launch messages."""


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
    ended = _launch().launch(request for request, _ in due)
    counts = Counter(each.end for each in ended)
    for end, metric in METRICS.items():
        if metric:
            metrics.add_metric(metric, "Count", counts[end])
    broken = {each.request for each in ended if each.end is End.BROKEN}
    return failed([*failures, *(record for request, record in due if request in broken)])


@cache
def _launch() -> Launch:
    return Launch(
        table=table(),
        ica=ica(),
        poller=poller(),
        pacing=pacing(),
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        slots=settings().slots,
    )
