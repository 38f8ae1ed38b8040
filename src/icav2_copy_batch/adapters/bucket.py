"""The manifest bucket in S3."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, ParamValidationError

from icav2_copy_batch.adapters.aws import client_of
from icav2_copy_batch.domain.problems import Problem, Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

GONE, NO_OBJECT = "does not exist, or not any more", "cannot be the name of an object in S3"
FAULTS = {
    "NoSuchKey": GONE,
    "NoSuchVersion": GONE,
    "NoSuchBucket": GONE,
    "MethodNotAllowed": GONE,  # the version is a delete marker
    "InvalidBucketName": NO_OBJECT,
    "KeyTooLongError": NO_OBJECT,
    "InvalidArgument": NO_OBJECT,  # a malformed version id, for example
    "InvalidURI": NO_OBJECT,
    "InvalidObjectState": "is archived; restore it first",
}
"""What is wrong with an object that cannot be read, in words for the person who named it, by S3's error code.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""
PART_BYTES = 8 * 1024**2
"""The size of a part of a large object. S3 accepts 10,000 parts of 5 MiB to 5 GiB: 78 GiB in all with this size.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

logger = logging.getLogger(__name__)


class ManifestBucket:
    """The bucket of the stack; people upload manifests under ``manifests/``. The product uses other prefixes."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _s3(self) -> S3Client:
        client: S3Client = client_of("s3")
        return client

    def read(self, bucket: str, key: str, version_id: str | None, max_bytes: int) -> bytes:
        """The content of an object in any bucket.

        Raises ``Refused`` where there is no such object, where it has more than ``max_bytes``, and where this stack may
        not read or decrypt it.
        """
        uri = f"s3://{bucket}/{key}"
        version = {"VersionId": version_id} if version_id else {}
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, **version)  # type: ignore[arg-type]
        except ClientError as error:
            if fault := self._fault_of(error, bucket, key, version):
                raise Refused([Problem(uri, fault)]) from None
            raise
        except ParamValidationError:
            raise Refused([Problem(uri, NO_OBJECT)]) from None
        if answer["ContentLength"] > max_bytes:
            raise Refused([Problem(uri, f"is larger than {max_bytes:,} bytes; split the manifest")])
        return answer["Body"].read()

    def _fault_of(self, error: ClientError, bucket: str, key: str, version: Mapping[str, str]) -> str | None:
        """What is wrong with an object that S3 did not let us read; None where the failure may pass."""
        code = error.response["Error"].get("Code", "")
        if code in FAULTS:
            return FAULTS[code]
        if code == "AccessDenied" and bucket != self.name:
            hint = f"put it into {self.name}, or name its bucket in the parameter ManifestSourceBucket"
            return f"may not be read by this stack; {hint}"
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500 and self._is_under_a_key(bucket, key, version):
            hint = "put it there under the bucket's own encryption, which is the default"
            return f"is encrypted under a KMS key that this stack may not use; {hint}"
        return None

    def put(self, key: str, content: bytes, content_type: str = "application/json") -> str:
        """Store an object in our bucket; its URI."""
        self._s3.put_object(Bucket=self.name, Key=key, Body=content, ContentType=content_type)
        return f"s3://{self.name}/{key}"

    def _is_under_a_key(self, bucket: str, key: str, version: Mapping[str, str]) -> bool:
        """Whether an object is encrypted under a KMS key. S3 says so even to those who may not use the key."""
        try:
            head = self._s3.head_object(Bucket=bucket, Key=key, **version)  # type: ignore[arg-type]
        except ClientError:
            return False
        return head.get("ServerSideEncryption", "AES256") != "AES256"

    def write(self, key: str, pieces: Iterable[str], content_type: str = "application/json") -> str:
        """Store an object of any size in our bucket; its URI."""
        upload = self.upload(key, content_type)
        try:
            for piece in pieces:
                upload.add(piece)
            return upload.finish()
        except BaseException:
            upload.abandon()
            raise

    def upload(self, key: str, content_type: str = "application/json") -> Upload:
        """Begin an object of any size in our bucket, which is there once its upload is finished."""
        return Upload(self._s3, self.name, key, content_type)

    def keep(self, bucket: str, key: str, version_id: str | None, target_key: str) -> str | None:
        """Copy an object to a key in our bucket; the copy's URI, or None where there is no such object.

        Where S3 refuses the copy, the object stays where it is, and its own URI is returned. S3 refuses objects of more
        than 5 GB, in buckets or under KMS keys that this stack may not use, and with tags, which take more permissions.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
        """
        source = {"Bucket": bucket, "Key": key} | ({"VersionId": version_id} if version_id else {})
        try:
            self._s3.copy_object(Bucket=self.name, Key=target_key, CopySource=source)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"].get("Code") in ("NoSuchKey", "NoSuchVersion", "NoSuchBucket"):
                return None
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise  # S3 is in trouble, which passes
            logger.warning("submission kept where it is", extra={"code": error.response["Error"].get("Code")})
            return f"s3://{bucket}/{key}" + (f"?versionId={version_id}" if version_id else "")
        return f"s3://{self.name}/{target_key}"


class Upload:
    """An object of our bucket that is written piece by piece. Little more than one part of it is in memory."""

    def __init__(self, s3: S3Client, bucket: str, key: str, content_type: str) -> None:
        self._s3, self._bucket, self._key, self._content_type = s3, bucket, key, content_type
        self._part = bytearray()
        self._upload_id: str | None = None
        self._done: list[CompletedPartTypeDef] = []

    def add(self, text: str) -> None:
        """Append a piece of text."""
        self._part += text.encode()
        while len(self._part) > PART_BYTES:  # what is left is the last part, and never empty
            self._send(bytes(self._part[:PART_BYTES]))
            del self._part[:PART_BYTES]

    def finish(self) -> str:
        """Store the object; its URI."""
        if self._upload_id is None:
            body, kind = bytes(self._part), self._content_type
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=body, ContentType=kind)
        else:
            self._send(bytes(self._part))
            self._s3.complete_multipart_upload(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": self._done}
            )
        return f"s3://{self._bucket}/{self._key}"

    def abandon(self) -> None:
        """Store nothing. S3 forgets the parts that it has."""
        if self._upload_id is not None:
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
        self._upload_id = None
        self._part.clear()

    def _send(self, part: bytes) -> None:
        if self._upload_id is None:
            began = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key, ContentType=self._content_type)
            self._upload_id = began["UploadId"]
        number = len(self._done) + 1
        answer = self._s3.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=part
        )
        self._done.append({"PartNumber": number, "ETag": answer["ETag"]})
