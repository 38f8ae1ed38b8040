"""DynamoDB stream → complete. The stream's filter lets through only a write that took open jobs to zero."""

from __future__ import annotations

from collections import Counter
from typing import Any

from icav2_copy_batch.domain.job import CopyStatus
from icav2_copy_batch.handlers.wiring import LambdaContext, begin, complete, logger, metrics


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    begin(context)
    announced: Counter[CopyStatus] = Counter()
    failures: list[dict[str, str]] = []
    for record in event["Records"]:
        copy_id = record["dynamodb"]["Keys"]["copy_id"]["S"]
        try:
            if status := complete().announce(copy_id):
                announced[status] += 1
        except Exception:
            # A stream is retried from the first failure on: what stands behind it comes again with it.
            logger.exception("copy not announced", extra={"copy_id": copy_id})
            failures = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]
            break
    metrics.add_metric("CopiesCompleted", "Count", announced[CopyStatus.COMPLETED])
    metrics.add_metric("CopiesFailed", "Count", announced[CopyStatus.FAILED])
    return {"batchItemFailures": failures}
