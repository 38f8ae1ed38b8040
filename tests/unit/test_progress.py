"""How far a copy has come, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from icav2_copy_batch.cli.progress import PausedTime, first_launch, in_words, paused_since, seconds_left
from icav2_copy_batch.client import AttemptSummary, CopySummary, JobSummary, Pause
from icav2_copy_batch.domain.job import timestamp

BEGIN = datetime(2024, 5, 28, 3, 0, tzinfo=UTC)
COPY = CopySummary("run-42", "OPEN", "2024-05-28T00:00:00.000Z", total_jobs=4, open_jobs=3, passed_jobs=1)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def said(minutes: float) -> str:
    return timestamp(at(minutes))


def job(number: int, status: str, sources: int = 1, folders: int | None = 0, **more: object) -> JobSummary:
    known = {"sources": sources, "folders": folders, "project_id": "to", **more}
    return JobSummary(f"{number:06d}", status, **known)  # type: ignore[arg-type]


PASSED = job(1, "PASSED", 3, 1, attempts=(AttemptSummary(1, "SUCCEEDED", claimed_at=said(0)),), total_bytes=2_000_000)
RUNNING = job(2, "RUNNING", 2, attempt=2, claimed_at=said(5), total_bytes=3_000_000)
QUEUED = [job(number, "QUEUED", 4, attempt=1) for number in (3, 4)]
JOBS = [PASSED, RUNNING, *QUEUED]


def words(copy: CopySummary = COPY, jobs: list[JobSummary] = JOBS, minutes: float = 10) -> str:
    paused = PausedTime()
    paused.note(copy, jobs, at(minutes))
    return in_words(copy, jobs, at(minutes), paused)


def test_files_folders_bytes_attempts_and_time_are_said() -> None:
    assert words() == (
        "2 of 12 files and 1 of 1 folder copied, 2.0 MB of 5.0 MB known so far, 3 attempts, about 30 min left"
    )


def test_bytes_that_are_all_known_are_a_total() -> None:
    jobs = [PASSED, RUNNING, *(replace(each, total_bytes=1_000_000) for each in QUEUED)]
    assert "2.0 MB of 7.0 MB, " in words(jobs=jobs)
    assert ", 2.0 MB, " in words(jobs=[PASSED, *QUEUED, job(2, "QUEUED")])


@pytest.mark.parametrize(
    ("sources", "folders", "text"),
    [(3, 0, "3 of 3 files copied"), (2, 2, "2 of 2 folders copied"), (1, None, "1 of 1 source copied")],
)
def test_files_are_called_files_and_folders_folders_where_it_is_known(
    sources: int, folders: int | None, text: str
) -> None:
    assert words(jobs=[job(1, "PASSED", sources, folders)]).split(": ")[-1].startswith(text)


def test_of_a_copy_that_is_known_in_part_that_is_said() -> None:
    large = replace(COPY, total_jobs=25_000, open_jobs=24_999)
    assert words(large).startswith("Of the first 4 jobs: 2 of 12 files")


def test_the_time_left_counts_from_the_first_launch_and_not_from_the_submission() -> None:
    assert first_launch(JOBS) == at(0)
    assert seconds_left(COPY, JOBS, at(10), PausedTime()) == 10 * 60 * 3
    assert first_launch(QUEUED) is None
    assert seconds_left(COPY, QUEUED, at(10), PausedTime()) is None
    assert seconds_left(replace(COPY, cancelled_at=said(9)), JOBS, at(10), PausedTime()) is None


@pytest.mark.parametrize("subject", ["all", "copy run-42", "project to"])
def test_the_time_of_a_pause_is_left_out(subject: str) -> None:
    paused = replace(COPY, pauses=(Pause(subject, said(4)),))
    assert words(paused).endswith("about 12 min left once it is resumed")


def test_a_pause_that_a_watch_has_seen_end_is_left_out_too() -> None:
    time = PausedTime()
    time.note(replace(COPY, pauses=(Pause("all", said(2)),)), JOBS, at(3))
    time.note(replace(COPY, pauses=(Pause("all", said(4), reason="another"),)), JOBS, at(4))
    time.note(COPY, JOBS, at(6))
    assert time.seconds(at(0), at(8)) == 4 * 60
    assert time.seconds(at(3), at(8)) == 3 * 60
    assert in_words(COPY, JOBS, at(8), time).endswith("about 12 min left")


def test_a_copy_that_goes_on_in_part_is_not_paused() -> None:
    elsewhere = job(5, "QUEUED", project_id="elsewhere")
    pauses = (Pause("project to", said(4)), Pause("copy run-43", said(3)))
    assert paused_since(replace(COPY, pauses=pauses), [*JOBS, elsewhere]) is None
    assert paused_since(replace(COPY, pauses=pauses), JOBS) == at(4)
    both = (*pauses, Pause("project elsewhere", said(6)))
    assert paused_since(replace(COPY, pauses=both), [*JOBS, elsewhere]) == at(6)
