"""EventBridge schedule, or a launch → poll."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache
from typing import Any

from icav2_copy_batch.handlers.container import (
    LambdaContext,
    begin,
    bus,
    deadline,
    dispatch,
    ica,
    launch_queue,
    metrics,
    publish,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.stages.delay import Delay
from icav2_copy_batch.stages.items import Items
from icav2_copy_batch.stages.poll import Poll
from icav2_copy_batch.stages.reconcile import Reconcile
from icav2_copy_batch.stages.verify import Verification, Verify

METRICS = {
    "passed": "JobsPassed",
    "requeued": "AttemptsFailed",
    "given_up": "JobsFailed",
    "unreadable": "JobsUnreadable",
    "unknown_status": "JobsOfUnknownStatus",
    "not_moved": "JobsNotMoved",
    "delayed": "JobsDelayed",
    "unpublished": "CopiesNotPublished",
    "copies_completed": "CopiesCompleted",
    "copies_failed": "CopiesFailed",
    "sent_again": "LaunchMessagesSentAgain",
    "adopted": "LaunchesAdopted",
    "released": "LaunchesReleased",
    "undecided": "LaunchesUndecided",
}

NEED_A_PERSON = ("undecided", "unknown_status", "not_moved", "unpublished")
"""What nothing but a person can put right; they share one alarm, on a metric of their own."""


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    begin(context)
    triggered = event.get("source") != "aws.events"
    return report(poll().poll(context.aws_request_id, triggered))


def report(happened: Counter[str]) -> dict[str, int]:
    """Emit what has happened as metrics, and return it."""
    for word, metric in METRICS.items():
        metrics.add_metric(metric, "Count", happened[word])
    metrics.add_metric("NeedsAPerson", "Count", sum(happened[word] for word in NEED_A_PERSON))
    return dict(happened)


@cache
def poll() -> Poll:
    return Poll(
        table=table(),
        ica=ica(),
        queue=launch_queue(),
        dispatch=dispatch(),
        publish=publish(),
        reconciler=Reconcile(table=table(), ica=ica(), queue=launch_queue(), clock=utc_now),
        verifier=Verify(ica=ica().impatient(), verification=Verification(settings().verification), clock=utc_now),
        items=Items(ica=ica().impatient()),
        delay=Delay(table=table(), bus=bus(), clock=utc_now, limit=settings().delayed_after),
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        sleep=time.sleep,
        max_attempts=settings().max_attempts,
    )
