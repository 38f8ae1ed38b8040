"""Forecasts: the course of a copy is simulated from how attempts have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from icav2_copy_batch.domain import forecast as forecasts
from icav2_copy_batch.domain.costs import READ_UNIT_DOLLARS, WRITE_UNIT_DOLLARS, cost_of
from icav2_copy_batch.domain.forecast import (
    BETWEEN_SECONDS,
    DEFAULT_FAILURE_RATE,
    DEFAULT_SECONDS,
    END_SECONDS,
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    START_SECONDS,
    Forecast,
    History,
    Load,
    forecast,
)
from icav2_copy_batch.domain.job import ALL_THERE, Attempt
from icav2_copy_batch.domain.schedule import Slots
from local.bench.cost import PRICES

AROUND = START_SECONDS + END_SECONDS
ALWAYS_TEN = History([10.0] * 10_000)
"""Every attempt takes ten seconds, and next to none fails."""


def of(
    jobs: int | Mapping[str, int],
    load: Load | None = None,
    slots: Slots | None = None,
    attempts: int = 6,
    history: History = ALWAYS_TEN,
) -> Forecast:
    into = {"to": jobs} if isinstance(jobs, int) else jobs
    return forecast(into, load or Load(), slots or Slots(), attempts, history)


def attempt(outcome: str, seconds: float, **more: str | None) -> Attempt:
    times = {"queued_at": "2026-11-25T03:00:00.000Z", "running_at": "2026-11-25T03:00:01.000Z", **more}
    return replace(Attempt(1, outcome, f"2026-11-25T03:00:{seconds:06.3f}Z"), **times)  # type: ignore[arg-type]


# --- history ---------------------------------------------------------------------------------------------------------


def test_what_attempts_tell_is_how_they_ended_and_in_how_many_seconds() -> None:
    attempts = [attempt("SUCCEEDED", 12), attempt(ALL_THERE, 8.5), attempt("FAILED", 3), attempt("MISMATCH", 30)]
    assert History.of(attempts, 2) == History([12, 8.5], [3, 30], 2)


def test_an_attempt_that_ica_has_not_run_tells_nothing() -> None:
    assert History.of([attempt("REFUSED", 1, running_at=None)], 1).attempts == 0


def test_an_attempt_of_an_old_job_begins_with_its_claim() -> None:
    assert History.of([attempt("FAILED", 9, queued_at=None, claimed_at="2026-11-25T03:00:02.000Z")], 1).failed == [7]
    assert History.of([attempt("FAILED", 9, queued_at=None)], 1).attempts == 0


def test_with_too_little_history_the_defaults_are_used() -> None:
    few = History([100.0] * 19)
    assert (few.is_enough, few.failure_rate) == (False, DEFAULT_FAILURE_RATE)
    assert few.seconds(fails=True) == few.seconds(fails=False) == DEFAULT_SECONDS


def test_the_rate_is_that_of_the_history_with_a_little_of_the_default() -> None:
    assert History([1.0] * 80, [1.0] * 20).failure_rate == pytest.approx(0.2)
    assert 0 < History([1.0] * 20).failure_rate < 0.05
    assert History([], [1.0] * 20).failure_rate < 1


def test_where_none_has_failed_a_failure_takes_as_long_as_a_pass() -> None:
    assert History([3.0] * 20).seconds(fails=True) == [3.0] * 20
    assert History([], [4.0] * 20).seconds(fails=False) == [4.0] * 20


# --- the course of a copy --------------------------------------------------------------------------------------------


def test_jobs_that_all_have_slots_take_one_attempts_time() -> None:
    found = of(100)
    assert found.p50_seconds == found.p95_seconds == pytest.approx(10 + AROUND)


def test_the_same_plan_says_the_same() -> None:
    history = History([5.0, 9.0, 14.0] * 20, [2.0, 30.0] * 10)
    assert of(44, history=history) == of(44, history=history)


def test_slots_are_kept_in_all_and_by_project() -> None:
    assert of(10, slots=Slots(total=5)).p50_seconds == pytest.approx(20 + AROUND)
    two = {"one": 10, "other": 10}
    assert of(two, slots=Slots(total=100, per_project=5)).p50_seconds == pytest.approx(20 + AROUND)
    assert of({"one": 20, "other": 10}, slots=Slots(100, per_project=5)).p50_seconds == pytest.approx(40 + AROUND)


def test_a_job_that_fails_is_tried_again_until_its_attempts_are_used_up() -> None:
    failing = replace(ALWAYS_TEN, passed=[], failed=[10.0] * 100_000)
    found = of(1, attempts=3, history=failing)
    assert found.p50_seconds == pytest.approx(30 + 2 * BETWEEN_SECONDS + AROUND)
    assert found.chance_all_pass == pytest.approx(0, abs=1e-3)
    assert found.retries == pytest.approx(2, rel=1e-3), "the last failure is followed by no attempt"


def test_the_chance_falls_with_the_jobs_and_rises_with_the_attempts() -> None:
    history = History([10.0] * 80, [10.0] * 20)
    assert of(44, attempts=3, history=history).chance_all_pass == pytest.approx((1 - 0.2**3) ** 44)
    assert of(44, attempts=6, history=history).chance_all_pass == pytest.approx((1 - 0.2**6) ** 44)
    assert of(1, attempts=6, history=history).retries == pytest.approx(sum(0.2**n for n in range(1, 6)))


def test_what_is_in_flight_holds_its_slots_until_it_ends() -> None:
    found = of(1, Load(in_flight={"elsewhere": 5}), Slots(total=5))
    assert AROUND + 10 < found.p50_seconds < AROUND + 20


def test_what_waits_takes_turns_with_ours() -> None:
    alone = of(10, slots=Slots(total=10))
    beside_one = of(10, Load(waiting={"elsewhere": 1000}, copies=1), Slots(total=10))
    beside_four = of(10, Load(waiting={"elsewhere": 1000}, copies=4), Slots(total=10))
    assert alone.p50_seconds == pytest.approx(10 + AROUND)
    assert beside_one.p50_seconds == pytest.approx(20 + AROUND)
    assert beside_four.p50_seconds == pytest.approx(50 + AROUND)


def test_a_full_project_of_others_does_not_hold_ours() -> None:
    found = of(1, Load(waiting={"elsewhere": 1000}, copies=1), Slots(total=10, per_project=5))
    assert found.p50_seconds == pytest.approx(10 + AROUND)


def test_a_plan_of_nothing_takes_no_attempt() -> None:
    found = of({})
    assert (found.p50_seconds, found.chance_all_pass, found.retries) == (AROUND, 1, 0)


def test_a_large_copy_is_simulated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "WORK", 6000)
    assert of(1).rounds == MOST_ROUNDS
    assert of(100).rounds == pytest.approx(60, abs=1)
    assert of(4000).rounds == FEWEST_ROUNDS


def test_on_a_busy_stack_a_copy_is_simulated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts of others take as much work as ours."""
    monkeypatch.setattr(forecasts, "WORK", 30_000)
    found = of(30, Load(waiting={"elsewhere": 10_000}, copies=20), Slots(total=20))
    assert found.rounds == pytest.approx(30_000 / (30 * 21), abs=3)
    assert found.p50_seconds == pytest.approx(30 * 21 / 20 * 10, rel=0.1)


def test_what_is_too_much_for_one_simulation_takes_as_long_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Load(waiting={"elsewhere": 10_000}, copies=1)
    whole = of(1000, busy, Slots(total=100))
    monkeypatch.setattr(forecasts, "WORK", 500)
    part = of(1000, busy, Slots(total=100))
    assert part.rounds == FEWEST_ROUNDS
    assert part.p50_seconds == pytest.approx(whole.p50_seconds, rel=0.1)


# --- cost ------------------------------------------------------------------------------------------------------------


def test_the_prices_are_those_of_the_bench() -> None:
    units = "DynamoDB write units", "DynamoDB read units"
    assert tuple(PRICES[unit] for unit in units) == (WRITE_UNIT_DOLLARS, READ_UNIT_DOLLARS)


def test_each_failure_costs_more_calls_and_units() -> None:
    without, with_failures = cost_of(1000, 3000, 0), cost_of(1000, 3000, 250)
    assert (without.ica_calls, without.write_units, without.read_units) == (4800, 28_590, 2930)
    assert with_failures.ica_calls == 4800 + 250 * (2 + 3 * 3)
    assert with_failures.write_units == without.write_units + 250 * 52
    assert without.dollars < with_failures.dollars


def test_what_was_measured_costs_about_as_much() -> None:
    """docs/benchmarks.md: a run of 44 jobs and 118 files, of which 11 attempts failed, for 1,000 jobs."""
    found = cost_of(44, 118, 11)
    assert 1000 / 44 * found.dollars == pytest.approx(0.058, rel=0.05)
    assert 1000 / 44 * found.write_units == pytest.approx(46_795, rel=0.05)
    assert found.ica_calls == pytest.approx(5.6 * 55, rel=0.1)


def test_what_is_not_launched_costs_nothing() -> None:
    assert cost_of(0, 0, 0).dollars == 0
