"""Names in S3: which texts S3 accepts as a bucket's name and as an object's key."""

from __future__ import annotations

import re

from icav2_copy_batch.domain.uri import is_encodable

MAX_KEY_BYTES = 1024
"""S3's limit, https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html."""

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_S3_URI = re.compile(rf"s3://({_BUCKET_NAME.pattern})/(.+)", re.DOTALL)


def is_bucket_name(value: object) -> bool:
    """Whether S3 accepts this as a bucket's name; a few names that it does not accept pass too."""
    return isinstance(value, str) and _BUCKET_NAME.fullmatch(value) is not None


def is_object_key(value: object) -> bool:
    """Whether an object in S3 may have this key."""
    return isinstance(value, str) and is_encodable(value) and 1 <= len(value.encode()) <= MAX_KEY_BYTES


def parse_s3_uri(value: object) -> tuple[str, str] | None:
    """The bucket and the key of ``s3://bucket/key``; None if the value is not such a URI. Nothing is decoded."""
    match = _S3_URI.fullmatch(value) if isinstance(value, str) else None
    return (match[1], match[2]) if match and is_object_key(match[2]) else None
