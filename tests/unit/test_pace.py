"""The rules of the pace: how the rate falls and rises, and who may call when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from icav2_copy_batch.domain.pace import (
    AHEAD,
    FIRST_RATE,
    FORGOTTEN_AFTER,
    FREE_RATE,
    LEAST_RATE,
    LOWERED_TO,
    PORTION_SECONDS,
    REGAINED_AFTER,
    SEARCHED_BY,
    Pace,
    first_pace,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def found(ceiling: float, low: float) -> Pace:
    return Pace(low, ceiling, 0, NOW, NOW)


def test_the_search_begins_with_what_was_answered_and_no_slower_than_a_few_calls() -> None:
    assert first_pace(0, NOW, None).rate == FIRST_RATE
    assert first_pace(11, NOW, None).rate == 11


def test_while_the_limit_is_searched_for_each_answer_raises_the_rate() -> None:
    assert first_pace(4, NOW, None).with_answered(8).rate == 4 + 8 * SEARCHED_BY


def test_a_429_lowers_the_rate_and_so_many_answers_bring_it_back() -> None:
    pace = found(10, 8).with_answered(REGAINED_AFTER + 10)
    lowered = pace.lowered(LATER, LATER, None)
    assert lowered.ceiling == pace.rate
    assert lowered.rate == pytest.approx(pace.rate * LOWERED_TO)
    rates = [lowered.with_answered(calls).rate for calls in range(0, 41, 5)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(pace.rate), "four seconds of calls"
    steps = [after - before for before, after in pairwise(rates)]
    assert steps == sorted(steps, reverse=True), "quickly at first, slowly near to where it was too high"


def test_beyond_where_the_last_429_came_it_rises_ever_faster() -> None:
    pace = found(5, 4)
    rates = [pace.with_answered(calls * REGAINED_AFTER).rate for calls in range(1, 8)]
    assert rates[:2] == [5, 6]
    steps = [after - before for before, after in pairwise(rates)]
    assert steps == sorted(steps)
    assert rates[-1] > 100


def test_the_first_429_of_a_search_halves_the_rate_since_it_has_gone_too_far() -> None:
    pace = first_pace(16, NOW, None).with_answered(8)
    lowered = pace.lowered(LATER, LATER, None)
    assert (lowered.rate, lowered.ceiling) == (10, 15)


def test_one_soon_after_another_halves_it() -> None:
    pace = found(10, 8).with_answered(1)
    soon = NOW + timedelta(seconds=1.7)
    assert pace.lowered(soon, soon, None).rate == pytest.approx(pace.rate / 2)


def test_where_nothing_is_answered_the_rate_falls_and_is_remembered() -> None:
    pace = found(10, 8)
    for minutes in range(1, 10):
        moment = NOW + timedelta(minutes=minutes)
        pace = pace.lowered(moment, moment, None)
    assert (pace.rate, pace.ceiling) == (LEAST_RATE, 10)
    assert pace.with_answered(10).rate > 5


def test_calls_that_were_made_before_the_rate_was_lowered_or_right_after_say_nothing() -> None:
    pace = found(10, 8)
    settled_at = NOW + AHEAD + timedelta(seconds=1 + 1 / 8)
    made_at = settled_at - timedelta(milliseconds=1)
    assert not pace.is_news(made_at)
    assert pace.lowered(made_at, LATER, None) is pace
    assert pace.is_news(settled_at)


def test_moments_follow_upon_each_other_whoever_takes_them() -> None:
    pace, moments = found(100, 20), []
    for most in (1, 3, 9, 100):
        pace, taken = pace.take(most, NOW)
        assert len(taken) == min(most, int(20 * PORTION_SECONDS))
        moments += taken
    apart = {round((after - before).total_seconds(), 4) for before, after in pairwise(moments)}
    assert moments[0] == NOW
    assert apart == {0.05}
    assert pace.next_at == moments[-1] + timedelta(seconds=0.05)


def test_at_a_low_rate_one_moment_is_taken() -> None:
    assert found(2, 0.5).take(8, NOW)[1] == [NOW]


def test_no_moment_is_taken_far_ahead() -> None:
    pace = found(2, 2)
    taken: list[datetime] = []
    while moments := pace.take(1, NOW)[1]:
        pace, _ = pace.take(1, NOW)
        taken += moments
    assert taken == [NOW, NOW + timedelta(seconds=0.5)]
    assert pace.next_at > NOW + AHEAD
    assert pace.take(1, NOW)[0] is pace


def test_what_nobody_has_used_is_not_made_up_for() -> None:
    pace, _ = found(2, 2).take(1, NOW)
    assert pace.take(1, LATER)[1] == [LATER]


def test_a_pause_that_ica_asks_for_is_kept() -> None:
    pace = found(10, 8).lowered(LATER, LATER, retry_after=7.5)
    assert pace.next_at == LATER + timedelta(seconds=7.5)
    assert first_pace(1, NOW, retry_after=-3).next_at == NOW


def test_it_is_over_some_minutes_after_the_last_429_or_when_the_rate_is_no_limit_any_more() -> None:
    pace = found(10, 8)
    assert not pace.is_over(NOW + FORGOTTEN_AFTER)
    assert pace.is_over(NOW + FORGOTTEN_AFTER + timedelta(seconds=1))
    assert pace.with_answered(100_000).is_over(NOW)
    assert pace.with_answered(10**9).rate == first_pace(1, NOW, None).with_answered(10**9).rate == FREE_RATE


def test_each_change_has_a_serial_of_its_own() -> None:
    pace = first_pace(1, NOW, None)
    taken, _ = pace.take(1, NOW)
    lowered = taken.lowered(LATER, LATER, None)
    assert (pace.serial, taken.serial, lowered.serial, first_pace(1, NOW, None, lowered).serial) == (1, 2, 3, 4)
