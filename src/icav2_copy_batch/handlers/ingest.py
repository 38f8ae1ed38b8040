"""SQS → ingest."""

from __future__ import annotations

from functools import cache
from typing import Any

from icav2_copy_batch.handlers.container import (
    LambdaContext,
    begin,
    bucket,
    bus,
    deadline,
    dispatch,
    failed,
    ica,
    logger,
    metrics,
    publish,
    settings,
    table,
    tasks,
    utc_now,
)
from icav2_copy_batch.stages.ingest import Ingest, Ingested, OutOfTime


@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    begin(context)
    total, failures = Ingested(), []
    for record in event["Records"]:
        try:
            total += _ingest().receive(record["messageId"], record["body"])
        except OutOfTime as error:
            logger.warning("goes on in another invocation", extra={"done": str(error)})
            failures.append(record)
        except Exception:
            logger.exception("submission not dealt with", extra={"message_id": record["messageId"]})
            failures.append(record)
    metrics.add_metric("SubmissionsAccepted", "Count", total.accepted)
    metrics.add_metric("SubmissionsRejected", "Count", total.rejected)
    metrics.add_metric("LaunchMessagesSentAgain", "Count", total.sent_again)
    return failed(failures)


@cache
def _ingest() -> Ingest:
    return Ingest(
        table=table(),
        bucket=bucket(),
        dispatch=dispatch(),
        bus=bus(),
        tasks=tasks(),
        publish=publish(),
        clock=utc_now,
        seconds_left=deadline.seconds_left,
        limits=settings().limits,
        project_id=lambda name: ica().project_id(name),  # imported and built only for a manifest that names a project
    )
