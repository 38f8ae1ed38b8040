"""Outage: when most of a project's attempts fail, and how long the next one waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from icav2_copy_batch.domain.job import Attempt, Job, JobStatus
from icav2_copy_batch.domain.outage import FORGOTTEN_AFTER, LEAST_SHARE, REMEMBERED, Outcomes, wait_in_outage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(outcomes: str) -> Outcomes:
    """One look for each."""
    noted = Outcomes()
    for each in outcomes:
        noted = noted.plus(each == "P", each == "F", NOW)
    return noted


@pytest.mark.parametrize(
    ("outcomes", "outage"),
    [
        ("", False),
        ("FF", False),
        ("FFF", True),
        ("PFFF", True),
        ("PPPPPPPPFFF", True),
        ("FFFP", False),
        ("FFPFF", False),
        ("FFFPFF", True),
        ("FFFFFP", True),
        ("FFFFFPP", False),
        ("PPPPPP", False),
        ("PFPPFPPF", False),
    ],
)
def test_it_is_an_outage_when_the_last_three_have_failed_or_five_of_six(outcomes: str, outage: bool) -> None:
    assert seen(outcomes).is_outage(NOW) is outage


def test_what_passed_in_the_same_look_shows_that_ica_can() -> None:
    assert not Outcomes().plus(8, 3, NOW).is_outage(NOW)
    assert Outcomes().plus(1, 10, NOW).is_outage(NOW)
    assert Outcomes().plus(0, 10, NOW).is_outage(NOW)


def test_little_is_kept_of_a_project() -> None:
    noted = Outcomes().plus(100, 0, NOW)
    assert len(noted.recent) == REMEMBERED
    assert not noted.has_failures
    assert noted.plus(1, 1, NOW).has_failures


def test_what_was_long_ago_says_nothing_of_ica_now() -> None:
    later = NOW + FORGOTTEN_AFTER
    failing = seen("FFF")
    assert failing.is_outage(later - timedelta(seconds=1))
    assert not failing.is_outage(later)
    assert failing.plus(0, 1, later) == Outcomes("F", "2026-01-01T01:00:00.000Z")


def failed(number: int) -> tuple[Attempt, ...]:
    return tuple(Attempt(each, "FAILED", "2026-01-01T00:00:00.000Z") for each in range(1, number + 1))


def waits(job_id: str = "000001", first: int = 1, attempts: int = 6) -> list[float]:
    return [
        wait_in_outage(Job("run", job_id, JobStatus.RUNNING, attempt, attempts=failed(attempt - 1))).total_seconds()
        for attempt in range(first, attempts)
    ]


def test_each_attempt_waits_longer_than_the_one_before() -> None:
    for number in range(100):
        of_job = waits(f"{number:06d}")
        assert of_job[0] == 0, "it may have been an ordinary failure"
        assert of_job == sorted(set(of_job))


def test_attempts_that_copied_a_part_are_no_reason_to_wait() -> None:
    passed = tuple(replace(each, outcome="SUCCEEDED") for each in failed(9))
    assert wait_in_outage(Job("run", "000001", JobStatus.RUNNING, 10, attempts=passed)) == timedelta()


def test_six_attempts_last_for_more_than_half_an_hour_though_three_of_them_were_needed_to_tell() -> None:
    for number in range(100):
        assert sum(waits(f"{number:06d}", first=3)) > 30 * 60


def test_jobs_that_failed_together_do_not_all_come_again_at_once_and_each_waits_as_long_whoever_asks() -> None:
    third = [waits(f"{number:06d}")[2] for number in range(100)]
    assert third == [waits(f"{number:06d}")[2] for number in range(100)]
    assert len(set(third)) == 100
    assert min(third) >= LEAST_SHARE * 180
    assert max(third) - min(third) > 20
    assert max(third) <= 180


def test_fifty_attempts_are_made_within_hours() -> None:
    assert sum(waits(attempts=51)) < 5 * 3600
    assert all(waits(first=2, attempts=51))
