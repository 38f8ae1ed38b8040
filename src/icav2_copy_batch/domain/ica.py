"""ICA's data and jobs, and what its answers mean: job statuses (``VERDICTS``), failed calls (``ERRORS_OF_FAILURES``).

What is only believed about ICA, and not documented by it, stands in docs/ica-beliefs.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

SECONDS_TO_START = 45.0
"""No call that starts a copy batch is made with less time left than this. The lease of the job's claim relies on it."""
PROBE_PREFIX = ".iap_"
"""How the names of ICA's probes begin."""


@dataclass(frozen=True, slots=True)
class IcaData:
    """A file or a folder in a project of ICA's."""

    data_id: str
    path: str
    """The whole path: ``/a/b`` for a file, ``/a/b/`` for a folder."""
    status: str
    """PARTIAL, AVAILABLE, ARCHIVING, ARCHIVED, UNARCHIVING or DELETING."""
    size: int | None = None
    """Bytes; None for a folder."""
    etag: str | None = None
    """The object's ETag, as the cloud provider made it. Some kinds of copy have another ETag than their source."""
    created_at: str | None = None
    """By our clock: UTC, ISO 8601 with ``Z``. None if ICA does not say, or if its clock is unknown."""

    @property
    def is_probe(self) -> bool:
        """Whether it is one of the files that ICA leaves in folders which lie in a bucket of the customer's."""
        return self.path.rpartition("/")[2].startswith(PROBE_PREFIX)

    def is_older_than(self, moment: datetime | None) -> bool:
        """Whether ICA says that this was created before a moment."""
        return bool(moment and self.created_at and datetime.fromisoformat(self.created_at) < moment)


@dataclass(frozen=True, slots=True)
class IcaJob:
    """An ICA job, such as the one that carries out a copy batch."""

    job_id: str
    status: str
    """One of the keys of ``VERDICTS``, or a status that is new to us."""
    reason: str | None = None
    created_at: str | None = None
    """By our clock: UTC, ISO 8601 with ``Z``. None if ICA does not say, or if its clock is unknown."""
    subject_id: str | None = None
    """The id of what it carries out. For the job of a copy batch that is presumably the batch's id."""
    subject_type: str | None = None
    """The kind of what it carries out. The kind of copy batches is not documented; it is learned from our own jobs."""
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class StartedCopyBatch:
    """A copy batch that ICA has just started, and its ICA job."""

    batch_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class CopyBatchItem:
    """A source of a copy batch and what became of it."""

    data_id: str
    status: str
    """QUEUED, COPYING, COPIED, PARTIALLY_COPIED, FAILED, or a status that is new to us."""
    reason: str | None = None
    created: IcaData | None = None
    """The file or folder at the destination, as ICA showed it with the item. None if ICA does not say."""

    @property
    def is_copied(self) -> bool:
        return self.status == "COPIED"


class Verdict(Enum):
    """What the status of an ICA job means for its attempt."""

    STILL_RUNNING = "still running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"
VERDICTS = {
    "INITIALIZED": Verdict.STILL_RUNNING,
    "WAITING_FOR_RESOURCES": Verdict.STILL_RUNNING,
    "RUNNING": Verdict.STILL_RUNNING,
    "SUCCEEDED": Verdict.SUCCEEDED,
    PARTIALLY_SUCCEEDED: Verdict.FAILED,
    "FAILED": Verdict.FAILED,
    "STOPPED": Verdict.FAILED,
}
"""ICA's seven job statuses. For a status that is not here, see ``verdict_of``."""


def verdict_of(ica_status: str) -> Verdict:
    """What a status means. An unknown one counts as still running, so that no second ICA job writes the same files."""
    return VERDICTS.get(ica_status, Verdict.STILL_RUNNING)


JOB_STATUS_CHANGED = "ICA_JOB_001"
"""ICA's event code for a change of a job's status."""


def ended_job_of(notification: str) -> str | None:
    """The id of the ICA job that has ended, according to a notification from ICA; None if it says anything else.

    A notification is a hint. It may be wrong, late, repeated or a test message, so that only the id is used.
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
    """ICA could not do what was asked. Each subclass says what may be done about it."""

    def __init__(self, message: str, *, http_status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.retry_after = retry_after
        """Seconds, if ICA has said so."""

    @property
    def is_throttling(self) -> bool:
        """Whether ICA limits the rate of calls (429)."""
        return self.http_status == 429


class IcaUnavailable(IcaError):
    """ICA has done nothing, and the same call may work later. It is repeated, and no attempt is used up."""


class IcaRefused(IcaError):
    """ICA has done nothing, and would refuse the same call again. The job fails at once."""


class IcaRefusedBatch(IcaRefused):
    """ICA has refused a copy batch of several sources. It may be too large; ICA does not say how many it takes."""


class IcaAnswerLost(IcaError):
    """The call may or may not have been carried out: its answer was lost or cannot be read.

    A call that starts a copy batch must not be repeated before this is settled: ICA has no idempotency key for it.
    """


class CallFailure(Enum):
    """The ways in which a call to ICA can fail."""

    NOT_REACHED = "no connection"
    NO_ANSWER = "408, or the connection timed out or was dropped"
    UNREADABLE = "an answer that is not the API's: a proxy's HTML page, an empty 4xx, a 4xx without a Problem document"
    TURNED_AWAY = "401, 409, 425 or 429, from ICA or from a proxy"
    SERVER_ERROR = "5xx"
    REFUSED = "400, 403, 404 or another 4xx with the API's Problem document; 413, 414 or 431 from ICA or from a proxy"


ERRORS_OF_FAILURES: dict[CallFailure, tuple[type[IcaError], type[IcaError]]] = {
    # failure: (error of a call that may be repeated, error of the call that starts a copy batch)
    CallFailure.NOT_REACHED: (IcaUnavailable, IcaUnavailable),
    CallFailure.NO_ANSWER: (IcaUnavailable, IcaAnswerLost),
    CallFailure.UNREADABLE: (IcaUnavailable, IcaAnswerLost),
    CallFailure.TURNED_AWAY: (IcaUnavailable, IcaUnavailable),
    CallFailure.SERVER_ERROR: (IcaUnavailable, IcaAnswerLost),
    CallFailure.REFUSED: (IcaRefused, IcaRefused),
}
"""Which error each failure becomes: one for "later", one for "never", one for "unknown"."""


def failure_of(http_status: int, *, is_problem: bool = True) -> CallFailure:
    """What an HTTP status other than success means. ``is_problem`` is whether it came with the API's Problem document.

    A 4xx without that document may come from a proxy, so that it says nothing about what ICA would answer.
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
