"""What the poller counts, each with one line that says what it means."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum


class Happening(StrEnum):
    """A word for each thing that is counted. Which of them are metrics is said in ``handlers/poll.py``."""

    RUNNING = "running"
    """ICA still works on a job."""
    UNREADABLE = "unreadable"
    """ICA could not be asked about a job: it is asked again."""
    UNKNOWN_STATUS = "unknown_status"
    """ICA's job has a status that is not documented: a person has to see what it means."""
    COMPARING = "comparing"
    """A job's folders are being compared, and take more than one poll."""
    AWAITED = "awaited"
    """ICA has ended a job, and its files may not show yet as they are."""
    PASSED = "passed"
    """A job has ended: its files are there."""
    PART_PASSED = "part_passed"
    """The files of an attempt are there, and the job goes on with its next part."""
    REQUEUED = "requeued"
    """An attempt failed, and there will be another."""
    GIVEN_UP = "given_up"
    """A job has ended: its last attempt failed."""
    MOVED_ON = "moved_on"
    """Somebody else had moved a job: nothing was changed."""
    NOT_MOVED = "not_moved"
    """Something unexpected went wrong with a job: it is tried again."""
    SENT = "sent"
    """The first launch message of an attempt was sent."""
    SENT_AGAIN = "sent_again"
    """Another launch message of an attempt was sent."""
    WAITING = "waiting"
    """It is too early to say whether a launch has started a copy batch."""
    ADOPTED = "adopted"
    """The copy batch of a launch whose end nobody saw was found."""
    RELEASED = "released"
    """A launch has started no copy batch: its job is queued again."""
    UNDECIDED = "undecided"
    """It cannot be found out whether a launch has started a copy batch: a person has to say."""
    DELAYED = "delayed"
    """A job, or a copy, takes too long."""
    COPIES_COMPLETED = "copies_completed"
    """A copy whose jobs have all passed was published in place of the stream."""
    COPIES_FAILED = "copies_failed"
    """A copy of which jobs have failed was published in place of the stream."""
    COPIES_CANCELLED = "copies_cancelled"
    """A copy that was cancelled was published in place of the stream."""
    UNPUBLISHED = "unpublished"
    """A copy could not be published: it is tried again."""


Happenings = Counter[Happening]
"""How often each thing has happened."""
