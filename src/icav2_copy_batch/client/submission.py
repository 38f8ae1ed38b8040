"""Sends submissions, and finds out what has become of one that was refused."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from gzip import compress
from typing import Any

from icav2_copy_batch.client.aws import Aws, asked
from icav2_copy_batch.client.errors import Refused, Unavailable, number
from icav2_copy_batch.domain.problems import Problem
from icav2_copy_batch.domain.submission import UPLOAD_PREFIX, Sent, Upload, rejection_key

PLAIN_BYTES = 200 * 1024
"""A larger message is sent with its manifest gzipped."""
MESSAGE_BYTES = 1024 * 1024 - 1024
"""A still larger one is uploaded: SQS takes messages of 1 MiB.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """What was sent: under which id the product knows it, and which copy it is to become."""

    copy_id: str
    submission_id: str
    sent_at: datetime
    is_of_new_id: bool
    """Whether its copy id was made by the client, so that no copy can have had it before."""


@dataclass(frozen=True, slots=True)
class Submissions:
    """The stack's two ways in: its queue, and its bucket for what the queue cannot take."""

    aws: Aws
    queue_url: str
    bucket: str

    def send(self, message: Mapping[str, Any]) -> str:
        """Send a message in the smallest form that it needs; the id by which the product knows it."""
        text = _text(zipped(message))
        return self._queue(text) if len(text) <= MESSAGE_BYTES else self._upload(message)

    def rejection(self, copy_id: str, submission_id: str | None = None) -> Refused | None:
        """Why the last submission of this copy id was refused; None where none was, or another one."""
        try:
            with asked(f"read s3://{self.bucket}/{rejection_key(copy_id)}"):
                found = self.aws.s3.get_object(Bucket=self.bucket, Key=rejection_key(copy_id))
                rejected = json.loads(found["Body"].read())
        except Unavailable as error:
            if error.code in ("NoSuchKey", "404"):
                return None
            raise
        if submission_id and rejected.get("submission_id") != submission_id:
            return None
        found_problems = [Problem(each["about"], each["problem"]) for each in rejected["problems"]]
        total = rejected["problem_count"]
        return Refused(f"copy {copy_id} was rejected: it has {number(total, 'problem')}", found_problems, total)

    def _queue(self, text: bytes) -> str:
        with asked(f"take the message at {self.queue_url}"):
            answer = self.aws.sqs.send_message(QueueUrl=self.queue_url, MessageBody=text.decode())
        return Sent(answer["MessageId"], "").submission_id

    def _upload(self, message: Mapping[str, Any]) -> str:
        key = f"{UPLOAD_PREFIX}{message['copy_id']}.json.gz"
        with asked(f"take s3://{self.bucket}/{key}"):
            answer = self.aws.s3.put_object(Bucket=self.bucket, Key=key, Body=compress(_text(message)))
        return Upload(self.bucket, key, answer.get("VersionId"), answer.get("ETag")).submission_id


def new_copy_id(now: datetime) -> str:
    """A new copy id: the date, so that people recognise it, and a random suffix."""
    return f"{now:%Y%m%d}-{secrets.token_hex(4)}"


def zipped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message; with its manifest gzipped, if it is large."""
    if "manifest" not in message or len(_text(message)) <= PLAIN_BYTES:
        return message
    rest = {key: value for key, value in message.items() if key != "manifest"}
    return {"manifest_b64gz": b64encode(compress(_text(message["manifest"]))).decode(), **rest}


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
