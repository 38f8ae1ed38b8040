"""EventBridge's schedule, or a launch → poll."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.handlers.container import (
    LambdaContext,
    begin,
    bus,
    deadline,
    dispatch,
    ica,
    metrics,
    publish,
    settings,
    table,
    utc_now,
)
from icav2_copy_batch.stages.delay import Delay
from icav2_copy_batch.stages.items import BatchItems
from icav2_copy_batch.stages.poll import Poll
from icav2_copy_batch.stages.reconcile import Reconcile
from icav2_copy_batch.stages.settle import Settle
from icav2_copy_batch.stages.verify import Verification, Verify

METRICS: dict[Happening, str | None] = {
    Happening.RUNNING: None,  # the usual state of a job
    Happening.UNREADABLE: "JobsUnreadable",
    Happening.UNKNOWN_STATUS: "JobsOfUnknownStatus",
    Happening.COMPARING: None,  # an alarm rings if it takes too long: JobsDelayed
    Happening.AWAITED: None,
    Happening.PASSED: "JobsPassed",
    Happening.PART_PASSED: None,  # its job is counted when it ends
    Happening.REQUEUED: "AttemptsFailed",
    Happening.GIVEN_UP: "JobsFailed",
    Happening.MOVED_ON: None,  # whoever moved it has counted that
    Happening.NOT_MOVED: "JobsNotMoved",
    Happening.SENT: None,  # each job has one
    Happening.SENT_AGAIN: "LaunchMessagesSentAgain",
    Happening.WAITING: None,
    Happening.ADOPTED: "LaunchesAdopted",
    Happening.RELEASED: "LaunchesReleased",
    Happening.UNDECIDED: "LaunchesUndecided",
    Happening.DELAYED: "JobsDelayed",
    Happening.COPIES_COMPLETED: "CopiesCompleted",
    Happening.COPIES_FAILED: "CopiesFailed",
    Happening.UNPUBLISHED: "CopiesNotPublished",
}
"""The metric that counts each happening; None for one that says nothing to a person, and why."""

NEED_A_PERSON = (Happening.UNDECIDED, Happening.UNKNOWN_STATUS, Happening.NOT_MOVED, Happening.UNPUBLISHED)
"""Only a person can put these right. They share one alarm, on a metric of their own."""


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    begin(context)
    triggered = event.get("source") != "aws.events"
    return report(poll().poll(context.aws_request_id, triggered))


def report(happened: Happenings) -> dict[str, int]:
    """Emit what has happened as metrics, and return it."""
    for happening, number in happened.items():
        if metric := METRICS[happening]:
            metrics.add_metric(metric, "Count", number)
    metrics.add_metric("NeedsAPerson", "Count", sum(happened[each] for each in NEED_A_PERSON))
    return {str(happening): number for happening, number in happened.items()}


@cache
def poll() -> Poll:
    verify = Verify(ica=ica().impatient(), verification=Verification(settings().verification), clock=utc_now)
    settle = Settle(
        table=table(),
        verify=verify,
        items=BatchItems(ica=ica().impatient()),
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        max_attempts=settings().max_attempts,
    )
    reconcile = Reconcile(table=table(), ica=ica(), clock=utc_now)
    delay = Delay(table=table(), bus=bus(), clock=utc_now, limit=settings().delayed_after)
    return Poll(
        table=table(),
        ica=ica(),
        settle=settle,
        settle_launches=reconcile.settle_unknown_launches,
        dispatch=dispatch(),
        publish=publish(),
        report_delays=delay.report,
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        sleep=time.sleep,
    )
