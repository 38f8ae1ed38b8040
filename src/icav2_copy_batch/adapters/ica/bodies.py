"""The bodies of ICA's answers, read into the domain's types.

libica's models are not used for this: they refuse a whole page for one value that they do not know, such as a new
status. Only the fields that are needed are read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from icav2_copy_batch.adapters.ica.clock import IcaClock
from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaJob, IcaUnavailable

Body = Mapping[str, Any]


def text_in(body: Body, *keys: str) -> str:
    """The text under these nested keys. Raises ``IcaUnavailable`` where there is none."""
    value: Any = body
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise IcaUnavailable(f"ICA's answer has no {'.'.join(keys)}")
    return value


def rows_in(body: Body) -> list[dict[str, Any]]:
    """The rows of a page. Raises ``IcaUnavailable`` where it has none."""
    rows = body.get("items")
    if not isinstance(rows, list):
        raise IcaUnavailable("ICA answered with a page that has no items")
    return rows


def data_in(body: Body, clock: IcaClock) -> IcaData | None:
    """A file or folder. None where its id or its path is missing."""
    data = body.get("data") or {}
    details = data.get("details") or {}
    if not data.get("id") or not details.get("path"):
        return None
    return IcaData(
        data_id=data["id"],
        path=details["path"],
        status=details.get("status", ""),
        size=details.get("fileSizeInBytes"),
        etag=details.get("objectETag"),
        created_at=clock.ours(details.get("timeCreated")),
    )


def job_in(body: Body, clock: IcaClock) -> IcaJob:
    """A job. Raises ``IcaUnavailable`` where its id or its status is missing."""
    return IcaJob(
        job_id=text_in(body, "id"),
        status=text_in(body, "status"),
        reason=body.get("additionalStatusInformation"),
        created_at=clock.ours(body.get("timeCreated")),
        subject_id=body.get("subjectId"),
        subject_type=body.get("subjectType"),
        project_id=(body.get("project") or {}).get("id"),
    )


def item_in(body: Body, clock: IcaClock) -> CopyBatchItem:
    """A source of a copy batch. Raises ``IcaUnavailable`` where its id or its status is missing."""
    return CopyBatchItem(
        data_id=text_in(body, "request", "dataId"),
        status=text_in(body, "processing", "status"),
        reason=body["processing"].get("additionalStatusInformation"),
        created=data_in(body.get("createdProjectData") or {}, clock),
    )


def problem_in(body: bytes) -> Body | None:
    """The Problem document with which ICA itself describes each failure; None for any other content."""
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and problem.get("title") else None


def message_of(status: int, problem: Body | None) -> str:
    """A failed answer in words: its HTTP status, with the Problem document's title and detail."""
    if problem is None:
        return f"ICA answered {status} (not a Problem document)"
    return " ".join([f"ICA answered {status}", *(str(problem[key]) for key in ("title", "detail") if problem.get(key))])
