"""Outage: attempts are not used up while ICA's copy engine fails whatever it is given.

A job has a handful of attempts. They are for jobs that fail now and then; in an outage of the copy engine they would be
gone within a minute. So what became of the last attempts into each destination project is kept in a few letters, and
while most of them have failed, a job's next attempt waits: longer after each. As soon as attempts succeed again, it
goes at once.

A job that always fails, and is the only one into its project, cannot be told from an outage: it is given up after
about 40 minutes instead of one. Where others succeed meanwhile, it is not held.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from icav2_copy_batch.domain.job import Hold, HoldReason, Job, timestamp

PASSED, FAILED = "P", "F"
REMEMBERED = 6
"""So many outcomes of a project are kept, and are what is called most recent."""
FORGOTTEN_AFTER = timedelta(hours=1)
"""What was seen so long ago says nothing of ICA now."""
LAST_ALL_FAILED, MOST_FAILED = 3, 5
"""It is an outage when the last three have failed; or five of the last six, though one got through."""
WAITS = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 3, 9, 27))
"""After the first failed attempt of a job, the second, and so on."""
LATER_WAIT = timedelta(minutes=5)
"""After each further one, where a job has more than six: what fails for so long may well be the job's own fault."""
LEAST_SHARE = 0.8
"""Jitter: each job waits between this share of its time and all of it."""
OUTAGE = Hold(HoldReason.OUTAGE, "ICA has failed most of the recent attempts into its project: its next attempt waits")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the last attempts into one destination project have ended."""

    recent: str = ""
    """A letter each, the oldest first."""
    last_at: str | None = None
    """When the last of them was noted."""

    def plus(self, passed: int, failed: int, now: datetime) -> Outcomes:
        """With those that were seen to have ended in one look.

        In which order these have ended is not known: what passed counts as later, for it shows that ICA can.
        """
        recent = ("" if self._is_old(now) else self.recent) + FAILED * failed + PASSED * passed
        return Outcomes(recent[-REMEMBERED:], timestamp(now))

    @property
    def has_failures(self) -> bool:
        return FAILED in self.recent

    def is_outage(self, now: datetime) -> bool:
        """Whether ICA fails most of what it is given, so that another attempt is better made later."""
        if self._is_old(now):
            return False
        return self.recent.endswith(FAILED * LAST_ALL_FAILED) or self.recent.count(FAILED) >= MOST_FAILED

    def _is_old(self, now: datetime) -> bool:
        return self.last_at is None or self.last_at <= timestamp(now - FORGOTTEN_AFTER)


def wait_in_outage(job: Job) -> timedelta:
    """How long the next attempt of a job waits in an outage, by the attempt that has just failed.

    Not at all after the first, which may be an ordinary failure; then 1, 3, 9 and 27 minutes. Six attempts reach over
    more than 30 minutes also where the first three are made at once, since it takes these to show that it is an outage.
    """
    failed = job.failed_attempts
    longest = WAITS[failed] if failed < len(WAITS) else LATER_WAIT
    chance = crc32(f"{job.copy_id} {job.job_id} {job.attempt}".encode()) / 2**32  # the same for a job whoever asks
    return longest * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
