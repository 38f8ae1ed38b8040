"""The product's events, as frozen dataclasses: ``parse_event`` reads what EventBridge delivers.

Within ``schema_version`` 1.x keys are only added; unknown ones are ignored. The fields have the
names of the keys, which ``events/schemas`` describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icav2_copy_batch.client.answers import many, one, read
from icav2_copy_batch.client.errors import Invalid, Unavailable
from icav2_copy_batch.domain.events import EVENT_SOURCE
from icav2_copy_batch.domain.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """What every event has."""

    event_id: str
    """The same for every repetition of an event."""
    schema_version: str = "1.0"
    copy_id: str | None = None
    """None only of a rejected submission that named none."""
    tags: Mapping[str, str] = field(default_factory=dict)
    redrive_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStarted(EventBase):
    """A submission was accepted."""

    status: str = ""
    submitted_at: str = ""
    manifest_uri: str = ""
    total_jobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedJob:
    """A job that has been in one status for too long."""

    job_id: str
    dest_uri: str = ""
    job_status: str = ""
    since: str | None = None
    attempt: int = 0
    ica_job_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDelayed(EventBase):
    """A copy takes longer than it should. It goes on."""

    status: str = ""
    submitted_at: str = ""
    delayed_at: str = ""
    manifest_uri: str = ""
    open_jobs: int = 0
    all_jobs_written: bool = True
    delayed_jobs: tuple[DelayedJob, ...] = field(default=(), metadata=many(DelayedJob))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """How many jobs have passed and failed."""

    jobs_passed: int = 0
    jobs_failed: int = 0
    jobs_running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSource:
    """A source that was not copied."""

    source_uri: str
    outcome: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job that did not pass, and why."""

    dest_uri: str
    attempts: int = 0
    failed_jobs_list: tuple[str, ...] = ()
    reason: str | None = None
    failed_sources: tuple[FailedSource, ...] = field(default=(), metadata=many(FailedSource))


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledJob:
    """A job, as the tool that this replaces lists it."""

    dest_uri: str
    job_status: bool = False
    """Whether it has passed."""
    job_id: str | None = None
    job_attempt_counter: int = 0
    failed_jobs_list: tuple[str, ...] = ()
    source_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettled(EventBase):
    """Every job of a copy has ended."""

    status: str = ""
    submitted_at: str = ""
    settled_at: str = ""
    manifest_uri: str = ""
    result_uri: str = ""
    report_uri: str | None = None
    truncated: bool = False
    """Whether the list of jobs was left out, and that of failed jobs shortened: all is at ``result_uri``."""
    cancelled_jobs: int = 0
    counters: Counters = field(default_factory=Counters, metadata=one(Counters))
    failed_jobs: tuple[FailedJob, ...] = field(default=(), metadata=many(FailedJob))
    job_list_with_attempt_counter: tuple[SettledJob, ...] = field(default=(), metadata=many(SettledJob))


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCompleted(CopySettled):
    """Every job has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFailed(CopySettled):
    """Some jobs have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCancelled(CopySettled):
    """The copy was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRejected(EventBase):
    """A submission was refused."""

    submission_id: str
    rejected_at: str = ""
    problem_count: int = 0
    problems: tuple[Problem, ...] = field(default=(), metadata=many(Problem))
    upload_uri: str | None = None
    submission_uri: str | None = None
    problems_uri: str | None = None


AnyEvent = CopyStarted | CopyDelayed | CopyCompleted | CopyFailed | CopyCancelled | CopyRejected
KINDS: Mapping[str, type[AnyEvent]] = {
    kind.__name__: kind for kind in (CopyStarted, CopyDelayed, CopyCompleted, CopyFailed, CopyCancelled, CopyRejected)
}
"""The dataclass of each detail type."""


def parse_event(event: str | Mapping[str, Any]) -> AnyEvent:
    """Parse an event as EventBridge delivers it (or its JSON text, as a queue holds it).

    Raises ``Invalid`` for what is not an event of this product, or of a kind that this version does not know.
    """
    try:
        found = json.loads(event) if isinstance(event, str) else event
    except ValueError as error:
        raise Invalid(f"not an event: {error}") from None
    if not isinstance(found, Mapping) or found.get("source") != EVENT_SOURCE:
        raise Invalid(f"not an event of this product: its source has to be {EVENT_SOURCE}")
    kind = KINDS.get(str(found.get("detail-type")))
    if kind is None:
        raise Invalid(f"an event of the unknown kind {found.get('detail-type')}; known are {', '.join(KINDS)}")
    try:
        return read(kind, found.get("detail"))
    except Unavailable as error:
        raise Invalid(f"not an event of the kind {kind.__name__}: {error}") from None
