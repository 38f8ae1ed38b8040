"""What we believe of ICA's answers: its data and jobs, what their statuses mean, and what a failed call means.

The tables ``VERDICTS`` and ``CONSEQUENCES`` say of all that can go wrong which is which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

SECONDS_TO_START = 45.0
"""With less time left than this no call that starts a copy batch is made any more: its claim's lease counts on that."""


@dataclass(frozen=True, slots=True)
class IcaData:
    """A file or a folder in a project."""

    data_id: str
    path: str
    """The whole path: ``/a/b`` for a file, ``/a/b/`` for a folder."""
    status: str
    """PARTIAL, AVAILABLE, ARCHIVING, ARCHIVED, UNARCHIVING or DELETING."""
    size: int | None = None
    """Bytes; None for a folder."""
    etag: str | None = None
    """The object's, as the cloud provider gave it; not of every kind of copy the same as its source's."""
    created_at: str | None = None
    """By our clock: UTC, ISO 8601 with ``Z``. None where ICA does not say, or its clock is unknown."""

    def is_older_than(self, moment: datetime | None) -> bool:
        """Whether ICA says that it was created before a moment."""
        return bool(moment and self.created_at and datetime.fromisoformat(self.created_at) < moment)


@dataclass(frozen=True, slots=True)
class IcaJob:
    """A job of ICA's, such as the one that carries out a copy batch."""

    job_id: str
    status: str
    """One of the keys of ``VERDICTS``, or one that is new to us."""
    reason: str | None = None
    created_at: str | None = None
    """By our clock: UTC, ISO 8601 with ``Z``. None where ICA does not say, or its clock is unknown."""
    subject_id: str | None = None
    """What it carries out: of a copy batch's job, presumably the batch's id."""
    subject_type: str | None = None
    """Which kind of thing that is. The name of a copy batch's kind is not documented: it is learned from our own."""
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class StartedCopyBatch:
    batch_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class CopyBatchItem:
    """A source of a copy batch and what became of it."""

    data_id: str
    status: str
    """QUEUED, COPYING, COPIED, PARTIALLY_COPIED, FAILED, or one that is new to us."""
    reason: str | None = None
    created: IcaData | None = None
    """What it has made at the destination, as ICA showed it with the item. None where ICA does not say."""

    @property
    def is_copied(self) -> bool:
        return self.status == "COPIED"


class Verdict(Enum):
    """What an ICA job's status means for the attempt that it is."""

    STILL_RUNNING = "still running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


VERDICTS = {
    "INITIALIZED": Verdict.STILL_RUNNING,
    "WAITING_FOR_RESOURCES": Verdict.STILL_RUNNING,
    "RUNNING": Verdict.STILL_RUNNING,
    "SUCCEEDED": Verdict.SUCCEEDED,
    "PARTIALLY_SUCCEEDED": Verdict.FAILED,
    "FAILED": Verdict.FAILED,
    "STOPPED": Verdict.FAILED,
}
"""ICA's seven job statuses. One that is not here is new to us: see ``verdict_of``."""


def verdict_of(ica_status: str) -> Verdict:
    """An unknown status counts as still running: to relaunch on a guess could put two live ICA jobs on one file."""
    return VERDICTS.get(ica_status, Verdict.STILL_RUNNING)


JOB_STATUS_CHANGED = "ICA_JOB_001"
"""ICA's code of the notification that a job's status has changed."""


def ended_job_of(notification: str) -> str | None:
    """The id of the job that a notification of ICA's says has ended; None where it says anything else.

    It is a hint that may be wrong, late, repeated or a test message: nothing is believed of it but whom to look at.
    """
    try:
        said = json.loads(notification)
        payload = said["payload"] if said["eventCode"] == JOB_STATUS_CHANGED else {}
        job_id, status = payload["id"], payload["status"]
    except (ValueError, TypeError, KeyError):
        return None
    ended = isinstance(status, str) and verdict_of(status) is not Verdict.STILL_RUNNING
    return job_id if ended and isinstance(job_id, str) else None


class IcaError(Exception):
    """ICA could not do what was asked; each subclass says what may be done about it."""

    def __init__(self, message: str, *, http_status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.retry_after = retry_after
        """Seconds, where ICA said so."""

    @property
    def is_throttling(self) -> bool:
        """Whether ICA asks for fewer calls, from anybody."""
        return self.http_status == 429


class IcaUnavailable(IcaError):
    """Nothing happened, and the same call may work later. It is made again, and no attempt is used up."""


class IcaRefused(IcaError):
    """Nothing happened, and the same call would be refused again. The job fails at once."""


class IcaRefusedBatch(IcaRefused):
    """The same for a copy batch of several sources, which may be too large: ICA does not say how many it takes."""


class IcaAnswerLost(IcaError):
    """The call may or may not have been carried out: its answer was lost or cannot be read.

    Starting a copy batch has no idempotency key, so that it must not be repeated before this is settled.
    """


class CallFailure(Enum):
    """The ways in which a call to ICA can fail."""

    NOT_REACHED = "no connection"
    NO_ANSWER = "408, or the connection timed out or was dropped"
    UNREADABLE = "an answer that is not the API's: an HTML page of a proxy's, an empty 4xx, a 4xx that is no Problem"
    TURNED_AWAY = "401, 409, 425 or 429, whoever says it"
    SERVER_ERROR = "5xx"
    REFUSED = "400, 403, 404 or another 4xx with the API's Problem document; 413, 414 or 431, whoever says it"


CONSEQUENCES: dict[CallFailure, tuple[type[IcaError], type[IcaError]]] = {
    # failure: of a call that may be repeated, of the one that starts a copy batch
    CallFailure.NOT_REACHED: (IcaUnavailable, IcaUnavailable),
    CallFailure.NO_ANSWER: (IcaUnavailable, IcaAnswerLost),
    CallFailure.UNREADABLE: (IcaUnavailable, IcaAnswerLost),
    CallFailure.TURNED_AWAY: (IcaUnavailable, IcaUnavailable),
    CallFailure.SERVER_ERROR: (IcaUnavailable, IcaAnswerLost),
    CallFailure.REFUSED: (IcaRefused, IcaRefused),
}
"""What a failed call is taken for: transient, unknown or permanent."""


def failure_of(http_status: int, *, is_problem: bool = True) -> CallFailure:
    """What an HTTP status that is no success says. ``is_problem``: it came with the API's Problem document.

    Without that a 4xx may be a proxy's, about which ICA itself knows nothing: it says nothing for good.
    """
    if http_status in (401, 409, 425, 429):
        return CallFailure.TURNED_AWAY
    if http_status == 408:
        return CallFailure.NO_ANSWER
    if http_status >= 500:
        return CallFailure.SERVER_ERROR
    if http_status in (413, 414, 431):
        return CallFailure.REFUSED
    return CallFailure.REFUSED if http_status >= 400 and is_problem else CallFailure.UNREADABLE
