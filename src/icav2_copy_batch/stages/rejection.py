"""Reject a submission: keep what was sent together with its problems, and tell everybody who may be waiting for it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import datetime

from icav2_copy_batch.domain import events
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.requests import is_command, readable_redrive_of
from icav2_copy_batch.domain.submission import Sent, Upload, rejection_key
from icav2_copy_batch.domain.submit import is_copy_id, readable_copy_id, readable_tags, readable_task_token
from icav2_copy_batch.ports import Bucket, Bus, Tasks

logger = logging.getLogger(__name__)


def reject(
    submission: Sent | Upload,
    parsed: object,
    refused: Refused,
    now: datetime,
    *,
    bucket: Bucket,
    bus: Bus,
    tasks: Tasks,
) -> None:
    """Store the submission and its problems, publish ``CopyRejected``, and fail the task that waits for it.

    ``parsed`` is as much of the submission as could be read. Rejecting it again changes nothing.
    """
    folder = f"rejected/{submission.submission_id}"
    stored = {
        "upload_uri": submission.uri if isinstance(submission, Upload) else None,
        "submission_uri": _keep(submission, f"{folder}/submission", bucket),
        "problems_uri": bucket.put(f"{folder}/problems.json", _all_problems(refused)),
    }
    detail = events.rejected_detail(
        submission.submission_id,
        readable_copy_id(parsed),
        refused,
        timestamp(now),
        stored,
        tags=readable_tags(parsed),
        redrive_of=readable_redrive_of(parsed),
    )
    if copy_id := _copy_id_of(parsed):
        known = _all_problems(refused, submission_id=submission.submission_id, rejected_at=timestamp(now))
        bucket.put(rejection_key(copy_id), known)
    bus.put(events.COPY_REJECTED, detail)
    if task_token := readable_task_token(parsed):
        tasks.fail(task_token, events.COPY_REJECTED, detail)
    logger.warning(
        "submission rejected",
        extra={
            "submission_id": submission.submission_id,
            "copy_id": copy_id,
            "problem_count": refused.total,
            "first": str(refused),
        },
    )


def _keep(submission: Sent | Upload, key: str, bucket: Bucket) -> str | None:
    """Where what was sent is kept; None for an upload that is gone and for an empty message."""
    if isinstance(submission, Upload):
        return bucket.keep(submission.bucket, submission.key, submission.version_id, key)
    if not submission.body:
        return None
    return bucket.put(key, submission.body.encode(errors="surrogatepass"), "application/octet-stream")


def _copy_id_of(parsed: object) -> str | None:
    """The id of the copy that a submission was to become, if it has a right one."""
    copy_id = readable_copy_id(parsed)
    return copy_id if is_copy_id(copy_id) and not is_command(parsed) else None


def _all_problems(refused: Refused, **more: str) -> bytes:
    problems = {"problem_count": refused.total, "problems": [asdict(problem) for problem in refused.problems]}
    return json.dumps({**more, **problems}, indent=1).encode()
