"""SQS, filled by ICA's notifications of jobs that have ended → poll."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.domain.happening import Happenings
from icav2_copy_batch.domain.ica import ended_job_of
from icav2_copy_batch.handlers.container import LambdaContext, begin, metrics
from icav2_copy_batch.handlers.poll import poll as poller
from icav2_copy_batch.handlers.poll import report


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Poll once for all that have come together. Where that fails, the poller does the same a little later."""
    begin(context)
    ended = {job_id for record in event["Records"] if (job_id := ended_job_of(record["body"]))}
    return report(poller().poll_notified(context.aws_request_id, ended) if ended else Happenings())
