"""Answers that are too long for Lambda."""

from __future__ import annotations

import gzip
import json

from icav2_copy_batch.domain.requests import MAX_BYTES
from icav2_copy_batch.operators.long_answers import short_enough
from tests import doubles

LAMBDA_BYTES = 6 * 1024 * 1024


def test_an_answer_that_lambda_can_return_is_left_as_it_is() -> None:
    bucket = doubles.Bucket()
    answer = {"ok": {"text": "x" * (MAX_BYTES - 100)}}
    assert short_enough(answer, bucket) is answer
    assert bucket.keys() == set()


def test_a_longer_one_is_stored_under_a_name_of_its_own() -> None:
    bucket = doubles.Bucket()
    answer = {"ok": {"text": "x" * MAX_BYTES}}
    first, second = short_enough(answer, bucket), short_enough(answer, bucket)
    assert first != second
    (key, _) = sorted(bucket.keys())
    assert key.startswith("answers/")
    assert {"answer_uri": f"s3://our-bucket/{key}"} in (first, second)
    assert json.loads(gzip.decompress(bucket[key])) == answer


def test_lambda_may_escape_every_character_above_ascii() -> None:
    bucket = doubles.Bucket()
    answer = {"ok": {"text": "é" * (LAMBDA_BYTES // 5)}}
    assert "answer_uri" in short_enough(answer, bucket)
