"""ICA's clock: measured from the answers that tell it best."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from icav2_copy_batch.adapters.ica.clock import GOOD_FOR, MOST_ERROR, IcaClock
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.schedule import CLOCKS_APART
from tests import doubles


class Answers:
    """An ICA whose clock is ahead, and answers that take their time."""

    def __init__(self, ahead: float) -> None:
        self.clock, self.ahead = doubles.Clock(), timedelta(seconds=ahead)
        self.ica = IcaClock(self.clock)

    def answer(self, there: float = 0.1, back: float = 0.1) -> None:
        sent_at = self.clock()
        self.clock.forward(seconds=there)
        date = format_datetime(self.clock() + self.ahead, usegmt=True)
        self.clock.forward(seconds=back)
        self.ica.measure({"Date": date}, sent_at)

    def off(self) -> float:
        """By how many seconds a moment of ICA's is taken wrongly."""
        ours = self.ica.ours(timestamp(self.clock() + self.ahead))
        assert ours
        return abs((datetime.fromisoformat(ours) - self.clock()).total_seconds())


@pytest.mark.parametrize("ahead", [0, 600, -600])
def test_the_clock_is_known_to_within_half_a_second_and_half_the_way(ahead: float) -> None:
    answers = Answers(ahead)
    answers.answer()
    assert answers.off() <= 0.6


def test_a_better_answer_counts_and_a_worse_one_does_not() -> None:
    answers = Answers(60)
    answers.answer(there=8, back=0)
    assert answers.off() > 2
    answers.answer()
    answers.answer(there=0, back=8)
    assert answers.off() <= 0.6


def test_an_old_answer_gives_way_to_a_worse_one() -> None:
    answers = Answers(0)
    answers.answer()
    answers.ahead = timedelta(seconds=20)
    answers.clock.now += GOOD_FOR
    answers.answer(there=1, back=1)
    assert answers.off() <= 1.5


@pytest.mark.parametrize(("there", "back"), [(700, 0), (0, 700), (10, 10)])
def test_an_answer_for_which_we_stood_still_tells_nothing(there: float, back: float) -> None:
    answers = Answers(0)
    answers.answer(there, back)
    assert answers.ica.ours(timestamp(answers.clock())) is None
    assert MOST_ERROR < CLOCKS_APART


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}])
def test_where_no_answer_tells_the_time_no_moment_is_known(headers: dict[str, str]) -> None:
    ica = IcaClock(doubles.Clock())
    ica.measure(headers, doubles.Clock()())
    assert ica.ours("2026-01-01T00:00:00Z") is None


@pytest.mark.parametrize("said", [None, "", "yesterday", 7])
def test_what_is_no_moment_is_none(said: object) -> None:
    answers = Answers(0)
    answers.answer()
    assert answers.ica.ours(said) is None
