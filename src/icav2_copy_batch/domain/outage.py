"""Outage: keeping a job's attempts while ICA's copy engine fails everything.

A job has a handful of attempts, which are meant for failures now and then. In an outage of the copy engine they would
be used up within a minute. So the outcomes of the last attempts into each destination project are kept, a letter each.
While most of them are failures, a job's next attempt waits, longer after each of its failures. As soon as attempts
succeed again, the next one is launched at once.

A job that always fails, and is the only one into its project, looks like an outage: it is given up after about 40
minutes instead of one. It is not held if other jobs into the project succeed meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from icav2_copy_batch.domain.job import Hold, HoldReason, Job, timestamp

PASSED, FAILED = "P", "F"
REMEMBERED = 6
"""How many of a project's most recent outcomes are kept."""
FORGOTTEN_AFTER = timedelta(hours=1)
"""Outcomes that are older than this say nothing about ICA now."""
LAST_ALL_FAILED, MOST_FAILED = 3, 5
"""It is an outage if the last three attempts have failed, or five of the last six."""
WAITS = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 3, 9, 27))
"""How long a job waits in an outage after its first failed attempt, its second, and so on."""
LATER_WAIT = timedelta(minutes=5)
"""How long it waits after each further one. What fails for so long may well be the job's own fault."""
LEAST_SHARE = 0.8
"""Jitter: each job waits for at least this share of its time, and at most for all of it."""
OUTAGE = Hold(HoldReason.OUTAGE, "ICA has failed most of the recent attempts into its project: its next attempt waits")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the last attempts into one destination project ended."""

    recent: str = ""
    """One letter for each attempt, the oldest first."""
    last_at: str | None = None
    """When the last of them was recorded."""

    def plus(self, passed: int, failed: int, now: datetime) -> Outcomes:
        """These outcomes, followed by those that one poll has found.

        The order in which they ended is not known. The passed ones count as the later ones, since they show that ICA
        works.
        """
        recent = ("" if self._is_old(now) else self.recent) + FAILED * failed + PASSED * passed
        return Outcomes(recent[-REMEMBERED:], timestamp(now))

    @property
    def has_failures(self) -> bool:
        return FAILED in self.recent

    def is_outage(self, now: datetime) -> bool:
        """Whether ICA fails most attempts, so that the next attempt should wait."""
        if self._is_old(now):
            return False
        return self.recent.endswith(FAILED * LAST_ALL_FAILED) or self.recent.count(FAILED) >= MOST_FAILED

    def _is_old(self, now: datetime) -> bool:
        return self.last_at is None or self.last_at <= timestamp(now - FORGOTTEN_AFTER)


def wait_in_outage(job: Job) -> timedelta:
    """How long the next attempt of a job waits in an outage.

    Not at all after the first failed attempt, which may be an ordinary failure; then 1, 3, 9 and 27 minutes. So six
    attempts span more than 30 minutes, even if the first three are made at once because it takes three failures to show
    that there is an outage.
    """
    failed = job.failed_attempts
    longest = WAITS[failed] if failed < len(WAITS) else LATER_WAIT
    chance = (
        crc32(f"{job.copy_id} {job.job_id} {job.attempt}".encode()) / 2**32
    )  # the same for a job, whoever computes it
    return longest * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
