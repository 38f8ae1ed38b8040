"""The stack's answers as frozen dataclasses. Unknown keys are ignored, since a newer stack may add some.

Times are text: UTC, ISO 8601 with ``Z``. They sort as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from icav2_copy_batch.client.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

OPEN, COMPLETED, FAILED, CANCELLED = "OPEN", "COMPLETED", "FAILED", "CANCELLED"
"""The statuses of a copy."""
JOB_ENDED = ("PASSED", "FAILED", "CANCELLED")
"""The statuses of a job that has ended."""


def read(kind: type[T], answer: object) -> T:
    """An answer as one of these dataclasses. Raises ``Unavailable`` for what is not one."""
    if not isinstance(answer, Mapping):
        raise Unavailable(f"the stack's answer is not a {kind.__name__}: {str(answer)[:200]}")
    values = {}
    for each in fields(kind):
        value = answer.get(each.name)
        if value is not None:
            values[each.name] = _read_value(value, each.metadata)
    try:
        return kind(**values)
    except TypeError as error:
        raise Unavailable(f"the stack's answer is not a {kind.__name__}: {error}; is the stack older?") from None


def _read_value(value: Any, metadata: Mapping[str, Any]) -> Any:
    if kind := metadata.get("one"):
        return read(kind, value)
    if kind := metadata.get("many"):
        return tuple(read(kind, each) for each in value)
    return tuple(value) if isinstance(value, list) else value


def one(kind: type[DataclassInstance]) -> dict[str, Any]:
    """The metadata of a field that holds one of that dataclass."""
    return {"one": kind}


def many(kind: type[DataclassInstance]) -> dict[str, Any]:
    """The metadata of a field that holds several of that dataclass."""
    return {"many": kind}


@dataclass(frozen=True, slots=True)
class Pause:
    """What is paused: ``all``, ``project <id>`` or ``copy <id>``; since when, by whom, and why."""

    subject: str
    since: str = ""
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class HeldJobs:
    """How many jobs of a copy are held for a reason of ``domain.job.HoldReason``, and what is said of one of them."""

    reason: str
    jobs: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CopySummary:
    """A copy and its counts."""

    copy_id: str
    status: str
    """``OPEN`` until it has settled and is published; then ``COMPLETED``, ``FAILED`` or ``CANCELLED``."""
    submitted_at: str
    ingested_at: str | None = None
    """When all of its jobs were written."""
    settled_at: str | None = None
    published_at: str | None = None
    delayed_at: str | None = None
    cancelled_at: str | None = None
    total_jobs: int = 0
    open_jobs: int = 0
    passed_jobs: int = 0
    failed_jobs: int = 0
    cancelled_jobs: int = 0
    passed_bytes: int = 0
    """Bytes of the jobs that have passed, as far as they are known."""
    manifest_uri: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    redrive_of: str | None = None
    """The id of the copy whose failed and cancelled jobs this one retries."""
    paused_at: str | None = None
    """Since when the copy itself is paused; see ``pauses`` for whatever else holds it."""
    redriven_as: tuple[str, ...] = ()
    """The ids of the copies that retry what failed in this one."""
    result_uri: str | None = None
    pauses: tuple[Pause, ...] = field(default=(), metadata=many(Pause))
    """The pauses that concern it. A list has those of the copy itself and of everything, ``status`` with ``holds`` also
    those of the projects of its open jobs."""
    queued_jobs: int | None = None
    """This, the next two and ``holds`` are known of ``status`` with ``holds``, and of ``watch`` with ``jobs``."""
    launching_jobs: int | None = None
    running_jobs: int | None = None
    holds: tuple[HeldJobs, ...] = field(default=(), metadata=many(HeldJobs))
    """What holds its open jobs, the most frequent reason first."""

    @property
    def is_open(self) -> bool:
        return self.status == OPEN


@dataclass(frozen=True, slots=True)
class HoldSummary:
    """Why a job does not move on: a reason of ``domain.job.HoldReason``, and a sentence."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """An attempt that has ended."""

    number: int
    outcome: str = ""
    claimed_at: str | None = None
    """When its launch began."""
    ended_at: str | None = None
    ica_job_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job: one destination folder, and how many sources go there."""

    job_id: str
    status: str
    attempt: int = 0
    dest_uri: str = ""
    project_id: str | None = None
    """The id of the destination's project, which ``dest_uri`` may call by its name."""
    sources: int = 0
    folders: int | None = None
    """How many of its sources are folders."""
    due_at: str | None = None
    """None in a backlog, and once it has ended."""
    hold: HoldSummary | None = field(default=None, metadata=one(HoldSummary))
    """Why it does not move on now."""
    ica_job_id: str | None = None
    reason: str | None = None
    attempts: tuple[AttemptSummary, ...] = field(default=(), metadata=many(AttemptSummary))
    queued_at: str | None = None
    claimed_at: str | None = None
    running_at: str | None = None
    ended_at: str | None = None
    total_bytes: int | None = None
    """Bytes of the files among its sources; known once it was launched."""
    redriven_as: str | None = None
    """The id of the copy that retries this job."""

    @property
    def has_ended(self) -> bool:
        return self.status in JOB_ENDED


@dataclass(frozen=True, slots=True)
class LeftJob:
    """A job that a cancelled copy leaves at ICA, which cannot stop it."""

    job_id: str
    status: str
    ica_job_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A copied file or folder that was deleted or changed in ICA after its job ended."""

    job_id: str
    source: str
    copy: str
    """The URI of the copied file or folder; a folder's ends in a slash."""
    change: str
    """``GONE`` or ``CHANGED``."""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of ``verify``: what of a settled copy is unchanged, and what was deleted or changed."""

    copied: int = 0
    """Sources that were copied."""
    same: int = 0
    unknown: int = 0
    """Those that cannot be compared: RENAME copies, what was not compared then, and folders that are too large."""
    changed: tuple[ChangedFile, ...] = field(default=(), metadata=many(ChangedFile))


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of ``cancel``: how many jobs it has ended, and which jobs ICA still has."""

    copy: CopySummary = field(metadata=one(CopySummary))
    cancelled: int = 0
    left: tuple[LeftJob, ...] = field(default=(), metadata=many(LeftJob))


@dataclass(frozen=True, slots=True)
class Redriven:
    """The new copy of what failed, and how many jobs it has."""

    copy_id: str
    jobs: int = 0


@dataclass(frozen=True, slots=True)
class FileSummary:
    """A file that lies below a folder in ICA."""

    path: str
    """Below that folder."""
    uri: str
    """The file's URI, with the project spelled as in the folder's URI."""
    size: int | None = None
    status: str = ""
    """``AVAILABLE``, or what keeps it from being copied."""
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The result of ``subscribe`` for one project, which is named as the caller named it."""

    project: str
    status: str
    """``subscribed``, ``there`` (it was already), ``enabled`` (it was disabled), ``refused`` or ``unavailable``."""
    project_id: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """The result of one check of ``doctor``."""

    check: str
    """What was checked, such as ``token`` or ``queue``."""
    status: str
    """``ok``, ``warning``, ``problem``, or ``unknown`` where the check could not be made or decided."""
    what: str = ""
    """What was seen."""
    about: str | None = None
    """Which project, or which queue, where there are several."""
    fix: str | None = None
    """What to do, where it is not ok."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a copy: the copy as it is now and, if asked for, those of its jobs that have changed."""

    copy: CopySummary = field(metadata=one(CopySummary))
    jobs: tuple[JobSummary, ...] = field(default=(), metadata=many(JobSummary))
