"""DynamoDB stream → publish. The stream's filter lets through only a write that took open jobs to zero."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_exponential

from icav2_copy_batch.domain.job import CopyStatus
from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, logger, on_lambda
from icav2_copy_batch.stages.publish import SECONDS_TO_PUBLISH

TRIES = 3
LONGEST_WAIT_SECONDS = 3.0
BACKOFF = wait_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS)


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, Any]:
    published: Counter[CopyStatus] = Counter()
    failures: list[dict[str, str]] = []
    for number, record in enumerate(event["Records"]):
        if number and container.seconds_left() < SECONDS_TO_PUBLISH:
            failures = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]  # this one and those behind it
            break
        copy_id = record["dynamodb"]["Keys"]["copy_id"]["S"]
        try:
            if status := _publish(copy_id, container):
                published[status] += 1
        except Exception:  # noqa: BLE001 # its dead letter could not be written; the next invocation says so again
            # A stream is retried from the first failure on: what stands behind it comes again with it.
            failures = [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]
            break
    container.metrics.add_metric("CopiesCompleted", "Count", published[CopyStatus.COMPLETED])
    container.metrics.add_metric("CopiesFailed", "Count", published[CopyStatus.FAILED])
    container.metrics.add_metric("CopiesCancelled", "Count", published[CopyStatus.CANCELLED])
    return {"batchItemFailures": failures}


def _publish(copy_id: str, container: Container) -> CopyStatus | None:
    """Publish a copy, or leave a dead letter that names it: a stream must not be held up by what stands in front.

    The poller goes on trying.
    """

    def pause(state: RetryCallState) -> float:
        return container.machine.jitter(0, BACKOFF(state))

    retrying = Retrying(stop=stop_after_attempt(TRIES), wait=pause, sleep=container.machine.sleep, reraise=True)
    try:
        return retrying(container.publish.publish, copy_id)
    except Exception as error:
        logger.exception("copy not published", extra={"copy_id": copy_id})
        container.dead_letters.put(copy_id, f"{type(error).__name__}: {error}")
        return None


handler = on_lambda(handle)
