"""EventBridge schedule, or a launch → poll."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from icav2_copy_batch.handlers.wiring import (
    LambdaContext,
    begin,
    complete,
    deadline,
    ica,
    launch_queue,
    metrics,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.poll import Poll
from icav2_copy_batch.reconcile import Reconcile
from icav2_copy_batch.verify import Verify

METRICS = {
    "passed": "JobsPassed",
    "requeued": "AttemptsFailed",
    "given_up": "JobsFailed",
    "unreadable": "JobsUnreadable",
    "copies_completed": "CopiesCompleted",
    "copies_failed": "CopiesFailed",
    "sent_again": "LaunchMessagesSentAgain",
    "adopted": "LaunchesAdopted",
    "released": "LaunchesReleased",
    "undecided": "LaunchesUndecided",
}


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    begin(context)
    woken = event.get("source") != "aws.events"
    happened = _poll().poll(context.aws_request_id, woken)
    for word, metric in METRICS.items():
        metrics.add_metric(metric, "Count", happened[word])
    return dict(happened)


@cache
def _poll() -> Poll:
    reconcile = Reconcile(table(), ica(), launch_queue(), utc_now)
    return Poll(
        table(),
        ica(),
        launch_queue(),
        complete(),
        reconcile,
        Verify(ica(), settings().verification),
        utc_now,
        deadline.seconds_left,
        time.sleep,
        settings().max_attempts,
    )
