"""Happenings: what is counted is a metric, or is said not to be one."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from icav2_copy_batch.domain.happening import Happening
from icav2_copy_batch.handlers import poll


def test_each_happening_has_a_metric_or_is_said_to_have_none() -> None:
    assert set(poll.METRICS) == set(Happening)
    named = [metric for metric in poll.METRICS.values() if metric]
    assert len(named) == len(set(named))


def test_what_needs_a_person_has_a_metric_that_says_what_it_is() -> None:
    assert all(poll.METRICS[happening] for happening in poll.NEED_A_PERSON)


@pytest.mark.parametrize("happening", Happening)
def test_what_has_happened_is_counted_by_its_metric(happening: Happening) -> None:
    emitted = Counter[str]()
    metrics = SimpleNamespace(add_metric=lambda name, unit, value: emitted.update({name: value}))
    assert poll.report(Counter({happening: 3}), metrics) == {happening.value: 3}
    expected = {poll.METRICS[happening]: 3, "NeedsAPerson": 3 if happening in poll.NEED_A_PERSON else 0}
    assert emitted == {name: value for name, value in expected.items() if name}
