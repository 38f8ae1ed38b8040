"""SQS, filled by ICA's notifications of jobs that have ended → poll."""

from __future__ import annotations

from icav2_copy_batch.domain.happening import Happenings
from icav2_copy_batch.domain.ica import ended_job_of
from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, on_lambda
from icav2_copy_batch.handlers.poll import report


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, int]:
    """Poll once for all that have come together. Where that fails, the poller does the same a little later."""
    ended = {job_id for record in event["Records"] if (job_id := ended_job_of(record["body"]))}
    happened = container.poll.poll_notified(context.aws_request_id, ended) if ended else Happenings()
    return report(happened, container.metrics)


handler = on_lambda(handle)
