"""The doubles have the methods of what they stand for, called in the same way."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from icav2_copy_batch.adapters import aws
from icav2_copy_batch.adapters.bucket import ManifestBucket
from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.job import LaunchRequest
from tests import doubles


def public_methods(of: type) -> dict[str, Any]:
    return {name: method for name, method in inspect.getmembers(of, inspect.isfunction) if not name.startswith("_")}


PAIRS: list[tuple[type, type]] = [
    (CopyTable, doubles.Table),
    (aws.LaunchQueue, doubles.Queue),
    (aws.EventBus, doubles.Bus),
    (ManifestBucket, doubles.Bucket),
    (aws.TaskTokens, doubles.Tasks),
]


@pytest.mark.parametrize(
    ("fake", "adapter", "method"),
    [(fake, adapter, method) for adapter, fake in PAIRS for method in public_methods(adapter)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_each_method_of_an_adapter_has_its_double_with_the_same_signature(
    fake: type, adapter: type, method: str
) -> None:
    double, original = public_methods(fake).get(method), public_methods(adapter)[method]
    assert double is not None
    assert inspect.signature(double) == inspect.signature(original)


def test_a_line_that_is_cut_carries_out_the_request_and_no_later_one() -> None:
    line = doubles.Line(cut_after=2)
    queue = doubles.Queue(line)
    requests = [LaunchRequest("copy", f"{number:06d}", 1) for number in (1, 2, 3)]
    with pytest.raises(doubles.LineCut):
        queue.send(requests)
    with pytest.raises(doubles.LineCut):
        queue.send(requests)
    assert queue.sent == requests[:2]
