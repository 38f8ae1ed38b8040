"""SQS → ingest."""

from __future__ import annotations

from typing import Any

from icav2_copy_batch.handlers.container import Container, Event, LambdaContext, logger, on_lambda
from icav2_copy_batch.stages.ingest import Ingested, OutOfTime


def handle(event: Event, context: LambdaContext, container: Container) -> dict[str, Any]:
    ingest, total, failures = container.ingest, Ingested(), []
    for record in event["Records"]:
        try:
            total += ingest.receive(record["messageId"], record["body"])
        except OutOfTime as error:
            logger.warning("submission not finished: it goes on in another invocation", extra={"done": str(error)})
            failures.append(record)
        except Exception:
            logger.exception("submission not dealt with", extra={"message_id": record["messageId"]})
            failures.append(record)
    container.metrics.add_metric("SubmissionsAccepted", "Count", total.accepted)
    container.metrics.add_metric("SubmissionsRejected", "Count", total.rejected)
    container.metrics.add_metric("LaunchMessagesSentAgain", "Count", total.sent_again)
    return container.failed(failures)


handler = on_lambda(handle)
