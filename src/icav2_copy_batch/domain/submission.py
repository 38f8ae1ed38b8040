"""What arrives in the ingest queue: a message, or notice of uploaded files; each is one submission with an id."""

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
    """A file uploaded to a bucket. Its id is made of the very version that was uploaded."""

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
    """A message sent to the queue. Its id is the one that SQS gave it, the same at every delivery."""

    message_id: str
    body: str

    @property
    def submission_id(self) -> str:
        return f"sqs-{self.message_id}"


def uploads_in(body: object) -> list[Upload] | None:
    """The uploads that a queue message is about; None when it is no notification but a message of a client's.

    Knows S3's event as EventBridge delivers it, S3's own notifications (several records, URL-encoded keys) and the
    test event that S3 sends when notifications are set up. Only files below ``manifests/`` count: what the product
    itself writes to the bucket must never come back to it as a submission. Raises ``Refused`` for a notification that
    S3 cannot have sent; one about anything else than an upload is about none.
    """
    if not isinstance(body, dict):
        return None
    if body.get("Event") == "s3:TestEvent":
        return []
    try:
        found = _uploads_of(body)
        uploads = [each for each in found or () if each.key.startswith(UPLOAD_PREFIX) and not each.key.endswith("/")]
    except (KeyError, TypeError, AttributeError):
        raise Refused([Problem("message", "is a notification of S3's that lacks its bucket or object")]) from None
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
    """``s3`` is the part that both kinds of notification share, but for two spellings and the key's encoding."""
    described, bucket = s3["object"], s3["bucket"]["name"]
    key = described["key"] if decoded else unquote_plus(described["key"])
    version_id = described.get("version-id") or described.get("versionId")
    etag = described.get("etag") or described.get("eTag")
    # Anybody who may send to the queue can send such a notice; S3 and its client would stumble over these.
    if not (is_bucket_name(bucket) and is_object_key(key)):
        raise Refused([Problem("message", "is a notification of S3's about a bucket or a key that S3 does not allow")])
    if not all(isinstance(each, str) and is_encodable(each) for each in (version_id or "", etag or "")):
        raise Refused([Problem("message", "is a notification of S3's whose version or ETag is no text")])
    return Upload(bucket, key, version_id, etag)
