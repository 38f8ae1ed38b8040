"""Polls copies until they have settled, with growing pauses, and yields each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from icav2_copy_batch.client.answers import OPEN, Change, CopySummary, HeldJobs, JobSummary
from icav2_copy_batch.client.errors import NoSuchCopy, Refused, Unavailable, WaitTimedOut
from icav2_copy_batch.client.submission import Submission

FIRST_PAUSE, LONGEST_PAUSE, PAUSES_GROW = 1.0, 15.0, 1.5
"""Seconds between two looks."""
MAY_APPEAR_WITHIN = 60.0
"""Seconds for which a copy of an unknown id may still be on its way from the queue."""
OURS_APPEARS_WITHIN = 7200.0
"""Seconds after which a submission of ours is not ingested any more: it has become a dead letter by then."""
MAY_BE_REFUSED_WITHIN = 30.0
"""Seconds for which a copy that was there before a submission of its id may still be refused to that submission."""
FAILURES_BORNE = 8
"""How many looks in a row may fail after the first success: a wait outlasts a minute without the network."""
JOBS_A_LOOK = 3000
"""So many jobs are asked for at once, in three pages."""
MOST_JOBS = 20_000
"""So many jobs of one copy are watched: the first ones. They take some 50 MB."""

T = TypeVar("T")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Time:
    """Time as this machine has it."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Copies(Protocol):
    """What is asked about copies."""

    def status(self, copy_id: str, *, holds: bool = False) -> CopySummary: ...
    def jobs(self, copy_id: str, *, after: str | None = None) -> Iterator[JobSummary]: ...
    def list_copies(self, *, since: datetime | None = None, status: str | None = None) -> list[CopySummary]: ...
    def rejection(self, copy_id: str, submission_id: str | None = None) -> Refused | None: ...


class Cadence:
    """One look after another, with pauses between them, up to a moment after which there is no more waiting."""

    def __init__(self, time: Time, timeout: float | None) -> None:
        self._time, self._began, self._timeout = time, time.monotonic(), timeout
        self._next_pause = FIRST_PAUSE
        self._has_seen = False

    @property
    def waited(self) -> float:
        """Seconds since the beginning."""
        return self._time.monotonic() - self._began

    def look(self, ask: Callable[[], T]) -> T:
        """What is answered. Where AWS does not answer a later look, it is asked again some times."""
        for _ in range(FAILURES_BORNE if self._has_seen else 0):
            try:
                return ask()
            except Unavailable:
                self.pause("AWS does not answer")
        answer = ask()
        self._has_seen = True
        return answer

    def pause(self, what: str) -> None:
        """Wait before the next look. Raises ``WaitTimedOut`` where the time is over."""
        seconds = self._next_pause
        if self._timeout is not None:
            if self.waited >= self._timeout:
                raise WaitTimedOut(f"{what} after {self._timeout:,.0f} s; it goes on: wait again, or see its status")
            seconds = min(seconds, self._timeout - self.waited)
        self._time.sleep(seconds)
        self._next_pause = min(self._next_pause * PAUSES_GROW, LONGEST_PAUSE)

    def hurry(self) -> None:
        """Look again soon, since something has just changed."""
        self._next_pause = FIRST_PAUSE


class SeenJobs:
    """The jobs of a copy as they were last seen. A look asks for some of those that may have changed since."""

    def __init__(self, copies: Copies, copy_id: str) -> None:
        self._copies, self._copy_id = copies, copy_id
        self._seen: dict[str, JobSummary] = {}
        self._ids: list[str] = []
        self._ended = 0
        """So many of the first jobs have ended: nothing changes there any more."""
        self._next: str | None = None
        """After this job the next look begins."""

    def look(self, *, to_the_end: bool) -> tuple[JobSummary, ...]:
        """The next jobs that have changed. Behind the last, the look after it begins again with the first open one."""
        most = MOST_JOBS if to_the_end else JOBS_A_LOOK
        after = self._first_open() if to_the_end else self._next
        present = list(islice(self._copies.jobs(self._copy_id, after=after), most))
        is_over = len(present) < most
        changed = []
        for job in present:
            before = self._seen.get(job.job_id)
            if before is None and len(self._ids) >= MOST_JOBS:
                is_over = True
                break
            if before is None:
                self._ids.append(job.job_id)
            if before is None or _job_is_news(job, before):
                changed.append(job)
                self._seen[job.job_id] = job
        while self._ended < len(self._ids) and self._seen[self._ids[self._ended]].has_ended:
            self._ended += 1
        self._next = self._first_open() if is_over else present[-1].job_id
        return tuple(changed)

    def _first_open(self) -> str | None:
        """The id of the last of the first jobs that have all ended."""
        return self._ids[self._ended - 1] if self._ended else None


def _job_is_news(job: JobSummary, before: JobSummary) -> bool:
    """Whether a job has changed; in a backlog, other than in what it waits for, which is the same for all in it."""
    if job.status == before.status == "QUEUED" and job.due_at is None and before.due_at is None:
        return replace(job, hold=None) != replace(before, hold=None)
    return job != before


@dataclass(frozen=True, slots=True)
class Follow:
    """Follows copies."""

    copies: Copies
    time: Time

    def one(
        self, copy_id: str, submission: Submission | None, *, jobs: bool, timeout: float | None
    ) -> Iterator[Change]:
        """A copy's changes until it has settled: the copy as it is now, and the jobs that have changed.

        Raises ``Refused`` where the submission was rejected, ``NoSuchCopy``, and ``WaitTimedOut``.
        """
        looks = Cadence(self.time, timeout)
        seen: CopySummary | None = None
        seen_jobs = SeenJobs(self.copies, copy_id)
        while True:
            copy = looks.look(lambda: self._look(copy_id, submission, looks.waited, holds=jobs))
            if copy:
                changed = looks.look(partial(seen_jobs.look, to_the_end=not copy.is_open)) if jobs else ()
                if seen is None or _is_news(copy, seen) or changed:
                    seen = copy
                    looks.hurry()
                    yield Change(copy, changed)
                if not copy.is_open:
                    return
            looks.pause(f"copy {copy_id} has not {'settled' if copy else 'appeared'}")

    def all(self, timeout: float | None) -> Iterator[Change]:
        """The changes of every copy that is open, or is submitted meanwhile. Ends by ``WaitTimedOut``, or never."""
        looks = Cadence(self.time, timeout)
        began = self.time.now() - timedelta(minutes=1)
        seen: dict[str, CopySummary] = {}
        while True:
            for copy in looks.look(lambda: self._look_at_all(began, seen)):
                if copy != seen.get(copy.copy_id):
                    seen[copy.copy_id] = copy
                    looks.hurry()
                    yield Change(copy)
            looks.pause("the watch ends")

    def _look_at_all(self, began: datetime, seen: dict[str, CopySummary]) -> list[CopySummary]:
        """The copies that are open or new, and those that were open when last seen; the oldest first."""
        present = {each.copy_id: each for each in self.copies.list_copies(status=OPEN)}
        present |= {each.copy_id: each for each in self.copies.list_copies(since=began)}
        gone = [known for known, copy in seen.items() if copy.is_open and known not in present]
        return sorted([*map(self.copies.status, gone), *present.values()], key=lambda copy: copy.submitted_at)

    def _look(self, copy_id: str, submission: Submission | None, waited: float, *, holds: bool) -> CopySummary | None:
        """The copy; None where it may still come. Raises ``Refused`` and ``NoSuchCopy``."""
        try:
            copy = self.copies.status(copy_id, holds=holds)
        except NoSuchCopy:
            if refused := self.copies.rejection(copy_id, submission.submission_id if submission else None):
                raise refused from None
            if waited < (OURS_APPEARS_WITHIN if submission else MAY_APPEAR_WITHIN):
                return None
            if submission is None:
                raise
            where = "see the ingest dead-letter queue"
            raise NoSuchCopy(f"copy {copy_id} was submitted and has not appeared; {where}") from None
        if submission and _was_there_before(copy, submission):
            if refused := self.copies.rejection(copy_id, submission.submission_id):
                raise refused
            if waited < MAY_BE_REFUSED_WITHIN:
                return None
        return copy


def _is_news(copy: CopySummary, before: CopySummary) -> bool:
    """Whether a copy has changed, other than in how many of its jobs wait for what."""

    def told(one: CopySummary) -> CopySummary:
        reasons = sorted(each.reason for each in one.holds if each.reason != "LAUNCH_MESSAGE")
        return replace(
            one, queued_jobs=None, launching_jobs=None, running_jobs=None, holds=tuple(map(HeldJobs, reasons))
        )

    return told(copy) != told(before)


def _was_there_before(copy: CopySummary, submission: Submission) -> bool:
    """Whether a copy may be older than the submission of its id, and so another one.

    Clocks may differ by some seconds: then a copy of ours is taken for an older one, and is believed a little later.
    """
    if submission.is_of_new_id:
        return False
    return datetime.fromisoformat(copy.submitted_at) < submission.sent_at
