"""SQS → launch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from icav2_copy_batch.domain.job import LaunchRequest
from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, logger, on_lambda
from icav2_copy_batch.stages.launch import End

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


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, Any]:
    launch, due, failures = container.launch, [], []
    for record in event["Records"]:
        try:
            due.append((LaunchRequest(**json.loads(record["body"])), record))
        except (ValueError, TypeError):
            logger.exception("not a launch message", extra={"message_id": record["messageId"]})
            failures.append(record)
    ended = launch.launch(request for request, _ in due)
    counts = Counter(each.end for each in ended)
    for end, metric in METRICS.items():
        if metric:
            container.metrics.add_metric(metric, "Count", counts[end])
    broken = {each.request for each in ended if each.end is End.BROKEN}
    return container.failed([*failures, *(record for request, record in due if request in broken)])


handler = on_lambda(handle)
