"""How submissions arrive in the ingest queue: as a message, or as S3's notice of uploaded files. Each has an id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from icav2_copy_batch.domain.problems import Problem, Refused
from icav2_copy_batch.domain.s3 import is_bucket_name, is_object_key
from icav2_copy_batch.domain.uri import is_encodable

UPLOAD_PREFIX = "manifests/"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was uploaded to a bucket. Its id stands for the uploaded version; a later version has another."""

    bucket: str
    key: str
    version_id: str | None
    etag: str | None

    @property
    def submission_id(self) -> str:
        parts = (self.bucket, self.key, self.version_id or self.etag or "")
        return "s3-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a client sent to the queue. Its id is made of SQS's message id, the same at every delivery."""

    message_id: str
    body: str

    @property
    def submission_id(self) -> str:
        return f"sqs-{self.message_id}"


def uploads_in(body: object) -> list[Upload] | None:
    """The uploads that a queue message gives notice of; None if it is not a notification but a client's message.

    Three kinds of notification are known: S3's event as EventBridge delivers it, S3's own notifications (several
    records, URL-encoded keys), and the test event that S3 sends when notifications are set up. Only files below
    ``manifests/`` count, so that what the product itself writes to the bucket never comes back as a submission. A
    notification of something other than an upload has no uploads.

    Raises ``Refused`` for a notification that S3 cannot have sent. The formats:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html and ev-events.html there.
    """
    if not isinstance(body, dict):
        return None
    if body.get("Event") == "s3:TestEvent":
        return []
    try:
        found = _uploads_of(body)
        uploads = [each for each in found or () if each.key.startswith(UPLOAD_PREFIX) and not each.key.endswith("/")]
    except (KeyError, TypeError, AttributeError):
        raise Refused([Problem("message", "is a notification from S3 without a bucket or an object")]) from None
    return None if found is None else uploads


def _uploads_of(body: dict[str, Any]) -> list[Upload] | None:
    if body.get("source") == "aws.s3" and isinstance(body.get("detail"), dict):
        return [_upload(body["detail"], decoded=True)] if body.get("detail-type") == "Object Created" else []
    return list(_created(body["Records"])) if _is_s3_notification(body.get("Records")) else None


def _is_s3_notification(records: object) -> bool:
    return (
        isinstance(records, list)
        and bool(records)
        and all(isinstance(record, dict) and record.get("eventSource") == "aws:s3" for record in records)
    )


def _created(records: list[dict[str, Any]]) -> Iterator[Upload]:
    for record in records:
        if str(record.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated"):
            yield _upload(record["s3"], decoded=False)


def _upload(s3: dict[str, Any], decoded: bool) -> Upload:
    """The upload that a notification describes. The two kinds differ in two spellings and in the key's encoding."""
    described, bucket = s3["object"], s3["bucket"]["name"]
    key = described["key"] if decoded else unquote_plus(described["key"])
    version_id = described.get("version-id") or described.get("versionId")
    etag = described.get("etag") or described.get("eTag")
    # Anybody who may send to the queue can send such a notice. S3 and its client would fail with these values.
    if not (is_bucket_name(bucket) and is_object_key(key)):
        raise Refused(
            [Problem("message", "is a notification from S3 with a bucket name or a key that S3 does not allow")]
        )
    if not all(isinstance(each, str) and is_encodable(each) for each in (version_id or "", etag or "")):
        raise Refused([Problem("message", "is a notification from S3 whose version or ETag is not text")])
    return Upload(bucket, key, version_id, etag)


def rejection_key(copy_id: str) -> str:
    """Where the bucket says why the last submission of a copy id was refused, for who knows only that id."""
    return f"rejected/copies/{copy_id}.json"
