"""EventBridge's schedule, or a launch → poll."""

from __future__ import annotations

from icav2_copy_batch import ports
from icav2_copy_batch.domain.happening import Happening, Happenings
from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, on_lambda

METRICS: dict[Happening, str | None] = {
    Happening.RUNNING: None,  # the usual state of a job
    Happening.UNREADABLE: "JobsUnreadable",
    Happening.UNKNOWN_STATUS: "JobsOfUnknownStatus",
    Happening.COMPARING: None,  # an alarm rings if it takes too long: JobsDelayed
    Happening.AWAITED: None,
    Happening.PASSED: "JobsPassed",
    Happening.PART_PASSED: None,  # its job is counted when it ends
    Happening.REQUEUED: None,  # its attempt is counted
    Happening.GIVEN_UP: "JobsFailed",
    Happening.ATTEMPT_SUCCEEDED: "AttemptsSucceeded",
    Happening.ATTEMPT_PARTLY_SUCCEEDED: "AttemptsPartlySucceeded",
    Happening.ATTEMPT_FAILED: "AttemptsFailed",
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
    Happening.COPIES_CANCELLED: "CopiesCancelled",
    Happening.UNPUBLISHED: "CopiesNotPublished",
}
"""The metric that counts each happening; None for one that says nothing to a person, and why."""

NEED_A_PERSON = (Happening.UNDECIDED, Happening.UNKNOWN_STATUS, Happening.NOT_MOVED, Happening.UNPUBLISHED)
"""Only a person can put these right. They share one alarm, on a metric of their own."""


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, int]:
    triggered = event.get("source") != "aws.events"
    return report(container.poll.poll(context.aws_request_id, triggered), container.metrics)


def report(happened: Happenings, metrics: ports.Metrics) -> dict[str, int]:
    """Emit what has happened as metrics, and return it."""
    for happening, number in happened.items():
        if metric := METRICS[happening]:
            metrics.add_metric(metric, "Count", number)
    metrics.add_metric("NeedsAPerson", "Count", sum(happened[each] for each in NEED_A_PERSON))
    return {str(happening): number for happening, number in happened.items()}


handler = on_lambda(handle)
