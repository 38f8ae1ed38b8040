"""How far a copy has come, in words: files, bytes, attempts, and how long the rest may take at its pace so far."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from icav2_copy_batch.cli.view import duration, in_bytes
from icav2_copy_batch.client import CopySummary, JobSummary
from icav2_copy_batch.client.errors import number


@dataclass
class PausedTime:
    """The time for which a copy was paused: by a pause that holds it now, and by those that a watch has seen end."""

    since: datetime | None = None
    _ended: list[tuple[datetime, datetime]] = field(default_factory=list)

    def note(self, copy: CopySummary, jobs: Collection[JobSummary], now: datetime) -> None:
        """Take in what is paused now."""
        begun = paused_since(copy, jobs)
        if begun is None and self.since:
            self._ended.append((self.since, now))
        self.since = min(filter(None, (begun, self.since))) if begun else None

    def seconds(self, begin: datetime, now: datetime) -> float:
        """How long it was paused after a moment."""
        spans = [*self._ended, *([(self.since, now)] if self.since else [])]
        return sum(max((end - max(since, begin)).total_seconds(), 0.0) for since, end in spans)


def paused_since(copy: CopySummary, jobs: Collection[JobSummary]) -> datetime | None:
    """Since when nothing of a copy is launched: it, everything, or each project of its open jobs is paused.

    None while some of its jobs may be launched.
    """
    since = {each.subject: each.since for each in copy.pauses if each.since}
    whole = [since[subject] for subject in ("all", f"copy {copy.copy_id}") if subject in since]
    projects = {f"project {job.project_id}" for job in jobs if not job.has_ended}
    if projects and projects <= since.keys():
        whole.append(max(since[each] for each in projects))
    return datetime.fromisoformat(min(whole)) if whole else None


def first_launch(jobs: Collection[JobSummary]) -> datetime | None:
    """When the first of these jobs was launched."""
    attempts = [attempt.claimed_at for job in jobs for attempt in job.attempts]
    claimed = [*attempts, *(job.claimed_at for job in jobs)]
    first = min(filter(None, claimed), default=None)
    return datetime.fromisoformat(first) if first else None


def in_words(copy: CopySummary, jobs: Collection[JobSummary], now: datetime, paused: PausedTime) -> str:
    """``2 of 7 files copied, 1.5 GB of 3.0 GB, 5 attempts, about 3 min left``, as far as it is known."""
    passed = [job for job in jobs if job.status == "PASSED"]
    parts = [_sources_in_words(passed, jobs)]
    size = sum(job.total_bytes or 0 for job in passed)
    known = [job.total_bytes for job in jobs if job.total_bytes is not None]
    if sum(known) > size:
        is_whole = len(known) == copy.total_jobs
        parts.append(f"{in_bytes(size)} of {in_bytes(sum(known))}{'' if is_whole else ' known so far'}")
    elif size:
        parts.append(in_bytes(size))
    parts.append(number(sum(map(_attempts, jobs)), "attempt"))
    if left := seconds_left(copy, jobs, now, paused):
        parts.append(f"about {duration(left)} left{' once it is resumed' if paused.since else ''}")
    of_some = f"Of the first {len(jobs):,} jobs: " if len(jobs) < copy.total_jobs else ""
    return f"{of_some}{', '.join(parts)}"


def seconds_left(copy: CopySummary, jobs: Collection[JobSummary], now: datetime, paused: PausedTime) -> float | None:
    """How long the open jobs may take, at the pace since the first launch without the time for which it was paused."""
    ended, began = copy.total_jobs - copy.open_jobs, first_launch(jobs)
    if not ended or not copy.open_jobs or began is None or copy.cancelled_at:
        return None
    worked = (now - began).total_seconds() - paused.seconds(began, now)
    return worked / ended * copy.open_jobs if worked > 0 else None


def _sources_in_words(passed: Collection[JobSummary], jobs: Collection[JobSummary]) -> str:
    done, total = sum(job.sources for job in passed), sum(job.sources for job in jobs)
    if any(job.folders is None for job in jobs):
        return f"{done:,} of {number(total, 'source')} copied"
    folders_done, folders = sum(job.folders or 0 for job in passed), sum(job.folders or 0 for job in jobs)
    files = f"{done - folders_done:,} of {number(total - folders, 'file')}" if total > folders or not folders else ""
    of_folders = f"{folders_done:,} of {number(folders, 'folder')}" if folders else ""
    return f"{' and '.join(filter(None, (files, of_folders)))} copied"


def _attempts(job: JobSummary) -> int:
    """How many attempts a job has had, with the one under way."""
    if job.status in ("LAUNCHING", "RUNNING"):
        return max(len(job.attempts) + 1, job.attempt)
    return max(len(job.attempts), job.attempt - 1)
