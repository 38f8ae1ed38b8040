"""DynamoDB stream → publish. The stream's filter lets through only a write that took open jobs to zero."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tenacity import Retrying, stop_after_attempt, wait_random_exponential

from icav2_copy_batch.domain.job import CopyStatus
from icav2_copy_batch.handlers.container import LambdaContext, begin, dead_letters, deadline, logger, metrics, publish
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH

TRIES = 3
LONGEST_WAIT_SECONDS = 3.0


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    begin(context)
    published: Counter[CopyStatus] = Counter()
    failures: list[dict[str, str]] = []
    for number, record in enumerate(event["Records"]):
        if number and deadline.seconds_left() < SECONDS_TO_PUBLISH:
            failures = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]  # this one and those behind it
            break
        copy_id = record["dynamodb"]["Keys"]["copy_id"]["S"]
        try:
            if status := _publish(copy_id):
                published[status] += 1
        except Exception:  # noqa: BLE001 # its dead letter could not be written; the next invocation says so again
            # A stream is retried from the first failure on: what stands behind it comes again with it.
            failures = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]
            break
    metrics.add_metric("CopiesCompleted", "Count", published[CopyStatus.COMPLETED])
    metrics.add_metric("CopiesFailed", "Count", published[CopyStatus.FAILED])
    return {"batchItemFailures": failures}


def _publish(copy_id: str) -> CopyStatus | None:
    """Publish a copy, or leave a dead letter that names it: a stream must not be held up by what stands in front.

    The poller goes on trying.
    """
    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS),
        sleep=time.sleep,
        reraise=True,
    )
    try:
        return retrying(publish().publish, copy_id)
    except Exception as error:
        logger.exception("copy not published", extra={"copy_id": copy_id})
        dead_letters().put(copy_id, f"{type(error).__name__}: {error}")
        return None
