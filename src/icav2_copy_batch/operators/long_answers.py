"""Answers that are too long for Lambda: stored in the bucket, and answered with their place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from icav2_copy_batch.domain.requests import ANSWER_URI, ANSWERS_PREFIX, MAX_BYTES
from icav2_copy_batch.ports import Bucket

Answer = dict[str, Any]


def short_enough(answer: Answer, bucket: Bucket) -> Answer:
    """An answer as it is; or, where it is too long, the place of an object that holds it, as gzipped JSON.

    The bucket removes such objects after some days. Each has a name of its own, which cannot be guessed.
    """
    text = _text(answer)
    if len(text) <= MAX_BYTES:
        return answer
    key = f"{ANSWERS_PREFIX}{uuid4()}.json.gz"
    return {ANSWER_URI: bucket.put(key, gzip.compress(text, compresslevel=6), "application/gzip")}


def _text(answer: Mapping[str, Any]) -> bytes:
    """JSON as Lambda makes it, or longer: with every character above ASCII escaped."""
    return json.dumps(answer).encode()
