"""The details of the six events that are published, and the result document of a copy.

CopyCompleted, CopyFailed and CopyCancelled contain the output document of the Step Functions tool that this replaces,
with the same keys and nesting, so that its consumers need no change. Our own keys stand beside them. A URI that is a
value of its own calls its project what the client calls it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from icav2_copy_batch.domain.job import Copy, CopyStatus, Job, JobStatus, OpenJob, timestamp
from icav2_copy_batch.domain.problems import Refused
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.report.files import Totals, ends_of
from icav2_copy_batch.domain.report.places import PAGE, beside

SCHEMA_VERSION = "1.1"
EVENT_SOURCE = "icav2-copy-batch"
COPY_STARTED, COPY_DELAYED, COPY_COMPLETED, COPY_FAILED, COPY_CANCELLED, COPY_REJECTED = (
    "CopyStarted",
    "CopyDelayed",
    "CopyCompleted",
    "CopyFailed",
    "CopyCancelled",
    "CopyRejected",
)
SETTLED_TYPES = {
    CopyStatus.COMPLETED: COPY_COMPLETED,
    CopyStatus.FAILED: COPY_FAILED,
    CopyStatus.CANCELLED: COPY_CANCELLED,
}
"""Which event a settled copy gets."""
MAX_DETAIL_BYTES = 256 * 1024 - 1024
"""The largest detail that every receiver of an event accepts, less a little for the rest of the event.

EventBridge itself accepts 1 MB since January 2026 (AWS Compute Blog, "More room to build"; its pages for China still
say 256 KB). But the output of a Step Functions task has at most 256 KiB, and so has a message of an SNS topic by
default:
https://docs.aws.amazon.com/step-functions/latest/apireference/API_TaskSucceededEventDetails.html.
"""
MAX_CAUSE_BYTES = 32_768
"""Step Functions' limit for the cause of a failed task:
https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html."""
MAX_REJECTED_TAGS_BYTES = 8 * 1024
"""With these, the longest copy id and the longest problem fit into a cause."""
JOBS_KEY = "job_list_with_attempt_counter"
CAUSE_KEYS = ("copy_id", "status", "settled_at", "result_uri", "report_uri", "counters", "failed_jobs")
MAX_FAILED_KEPT = 4 * 1024**2
"""Characters of the list of failed jobs that are kept while a result is written."""
FAILED_JOBS_WHEN_TRUNCATED = 100
FAILED_SOURCES_LISTED = 20
"""How many failed sources are listed for each failed job, so that one bad folder does not fill the event."""

Detail = dict[str, Any]


def event_id(subject_id: str, detail_type: str) -> str:
    """An id that is the same for every repetition of an event, so that a consumer can drop repetitions."""
    return str(uuid5(NAMESPACE_URL, f"{EVENT_SOURCE}/{subject_id}/{detail_type}"))


def started_detail(copy: Copy) -> Detail:
    """The detail of ``CopyStarted``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "event_id": event_id(copy.copy_id, COPY_STARTED),
        "copy_id": copy.copy_id,
        "status": CopyStatus.OPEN.value,  # also if the event is repeated after the copy has settled
        "submitted_at": copy.submitted_at,
        "manifest_uri": copy.manifest_uri,
        "total_jobs": copy.total_jobs,
        **_known_by(copy),
    }


def delayed_detail(copy: Copy, jobs: Iterable[OpenJob], now: datetime) -> Detail:
    """The detail of ``CopyDelayed``: the jobs that have been in one status for too long.

    There are no such jobs if the copy is delayed because not all of its jobs were ever written.
    """
    detail = {
        "schema_version": SCHEMA_VERSION,
        "event_id": event_id(copy.copy_id, COPY_DELAYED),
        "copy_id": copy.copy_id,
        "status": copy.status.value,
        "submitted_at": copy.submitted_at,
        "delayed_at": timestamp(now),
        "manifest_uri": copy.manifest_uri,
        "open_jobs": copy.open_jobs,
        "all_jobs_written": copy.ingested_at is not None,
        **_known_by(copy),
        "delayed_jobs": [_delayed_job(copy, job) for job in jobs],
    }
    return _shrunk(detail, "delayed_jobs", MAX_CAUSE_BYTES)


def _delayed_job(copy: Copy, job: OpenJob) -> Detail:
    reasons = {
        JobStatus.RUNNING: f"ICA job {job.ica_job_id} has not ended, or ICA does not show it",
        JobStatus.LAUNCHING: "it is not known yet whether ICA has started a copy batch for it",
        JobStatus.QUEUED: "it has not been launched yet",
    }
    return {
        "job_id": job.job_id,
        "dest_uri": as_spelled(job.destination, copy.project_names),
        "job_status": job.status.value,
        "since": job.status_since,
        "attempt": job.attempt,
        "ica_job_id": job.ica_job_id,
        "reason": _shorten(job.hold.detail if job.hold else reasons[job.status]),
    }


def settled_type(copy: Copy) -> str:
    """Which of the three settling events a copy gets."""
    return SETTLED_TYPES[copy.settled_status]


class Sendable:
    """What a settled copy's event and its callers are sent, gathered while its result is written.

    It never holds more than can be sent, however large the copy is. The list of jobs is dropped as soon as it does not
    fit any more. The list of failed jobs keeps the first ones.
    """

    def __init__(self, copy: Copy, result_uri: str) -> None:
        self._copy = copy
        self._head = _settled_head(copy, result_uri)
        self._jobs, self._failed_jobs = _Fitting(), _Fitting()

    @property
    def is_full(self) -> bool:
        """Whether more jobs would change nothing."""
        return self._jobs.is_cut and (self._failed_jobs.is_cut or self._failed_jobs.added == self._copy.failed_jobs)

    def detail(self) -> Detail:
        """The detail of the settling event, without the list of jobs if that would exceed the services' limit."""
        failed_jobs = self._failed_jobs.entries
        whole = {**self._head, "failed_jobs": failed_jobs, **_loop_of_old(self._copy), JOBS_KEY: self._jobs.entries}
        if not self._jobs.is_cut and not self._failed_jobs.is_cut and _size(whole) <= MAX_DETAIL_BYTES:
            return whole
        shorter = {key: value for key, value in whole.items() if key != JOBS_KEY}
        shorter |= {"truncated": True, "failed_jobs": failed_jobs[:FAILED_JOBS_WHEN_TRUNCATED]}
        return _shrunk(shorter, "failed_jobs", MAX_DETAIL_BYTES)

    def cause(self) -> Detail:
        """The cause with which a Step Functions task is failed: as many failed jobs as fit."""
        detail = {**self._head, **_loop_of_old(self._copy), "failed_jobs": self._failed_jobs.entries}
        cause = {key: detail[key] for key in CAUSE_KEYS}
        return _shrunk(cause, "failed_jobs", MAX_CAUSE_BYTES)

    def leave_out_jobs(self) -> None:
        """Send no list of jobs, since it is not complete."""
        self._jobs.cut()

    def add_failed(self, entry: Detail, size: int) -> None:
        self._failed_jobs.add(entry, size)

    def add_job(self, entry: Detail, size: int) -> None:
        self._jobs.add(entry, size)
        if self._jobs.is_cut:
            self.leave_out_jobs()  # a part of the list is of no use


class _Fitting:
    """A list of entries, which stops growing when it does not fit into an event any more."""

    def __init__(self) -> None:
        self.entries: list[Detail] = []
        self.is_cut = False
        self.added = 0
        self._size = 0

    def add(self, entry: Detail, size: int) -> None:
        self.added += 1
        self._size += size
        self.is_cut = self.is_cut or self._size > MAX_DETAIL_BYTES
        if not self.is_cut:
            self.entries.append(entry)

    def cut(self) -> None:
        self.is_cut = True
        self.entries = []


def result(copy: Copy, jobs: Callable[[], Iterable[Job]], result_uri: str, sendable: Sendable) -> Iterator[str]:
    """The whole result document of a settled copy, as JSON text in pieces, one job at a time.

    ``jobs`` returns all jobs in order. It is called once, and a second time only if very much is to be said of failed
    jobs. ``sendable`` gathers meanwhile what is sent.
    """
    head, loop = encode(_settled_head(copy, result_uri)), encode(_loop_of_old(copy))
    yield f"{head[:-1]},{loop[1:-1]},{json.dumps(JOBS_KEY)}:["
    totals, failed, comma = Totals(), _FailedJobs(copy, sendable), ""
    for job in jobs():
        entry = _job_of_old(copy, job)
        text = encode(entry)
        sendable.add_job(entry, len(text))  # the text is ASCII, so that this is its size in bytes
        failed.add(job)
        totals.add(job, ends_of(job))
        yield f"{comma}{text[:-1]},{encode(_history(job))[1:]}"
        comma = ","
    yield '],"failed_jobs":['
    yield from failed.texts(jobs)
    yield f"],{encode(_added_up(totals))[1:]}"


class _FailedJobs:
    """The list of failed jobs in a result, kept until all jobs are written; if it is long, the jobs are read again."""

    def __init__(self, copy: Copy, sendable: Sendable) -> None:
        self._copy, self._sendable = copy, sendable
        self._kept: list[str] = []
        self._size = 0

    def add(self, job: Job) -> None:
        if job.status is not JobStatus.FAILED:
            return
        entry = _failed_job(self._copy, job)
        text = encode(entry)
        self._sendable.add_failed(entry, len(text))
        self._size += len(text)
        if self._size <= MAX_FAILED_KEPT:
            self._kept.append(text)

    def texts(self, jobs: Callable[[], Iterable[Job]]) -> Iterator[str]:
        texts: Iterable[str] = self._kept
        if self._size > MAX_FAILED_KEPT:
            texts = (encode(_failed_job(self._copy, job)) for job in jobs() if job.status is JobStatus.FAILED)
        comma = ""
        for text in texts:
            yield comma + text
            comma = ","


def _settled_head(copy: Copy, result_uri: str) -> Detail:
    return {
        "schema_version": SCHEMA_VERSION,
        "event_id": event_id(copy.copy_id, settled_type(copy)),
        "copy_id": copy.copy_id,
        "status": copy.settled_status.value,
        "submitted_at": copy.submitted_at,
        "settled_at": copy.settled_at,
        "manifest_uri": copy.manifest_uri,
        "result_uri": result_uri,
        "report_uri": beside(result_uri, PAGE),
        "cancelled_jobs": copy.cancelled_jobs,
        **_known_by(copy),
        "truncated": False,
    }


def _known_by(copy: Copy) -> Detail:
    """What a client knows a copy by, beside its id."""
    return {"tags": dict(copy.tags), "redrive_of": copy.redrive_of}


def rejected_detail(
    submission_id: str,
    copy_id: str | None,
    refused: Refused,
    rejected_at: str,
    stored: Mapping[str, str | None],
    *,
    tags: Mapping[str, str],
    redrive_of: str | None,
) -> Detail:
    """The detail of ``CopyRejected``.

    ``stored`` has the URIs in S3: ``upload_uri``, and ``submission_uri`` and ``problems_uri``, which are kept by us.
    Tags that would leave too little room for problems are left out.
    """
    detail: Detail = {
        "schema_version": SCHEMA_VERSION,
        "event_id": event_id(submission_id, COPY_REJECTED),
        "submission_id": submission_id,
        "copy_id": copy_id and _shorten(copy_id),
        "rejected_at": rejected_at,
        "problem_count": refused.total,
        "problems": [{"about": _shorten(each.about), "problem": _shorten(each.problem)} for each in refused.problems],
        **stored,
        "tags": dict(tags) if _size(tags) <= MAX_REJECTED_TAGS_BYTES else {},
        "redrive_of": redrive_of,
    }
    return _shrunk(detail, "problems", MAX_CAUSE_BYTES)


def _loop_of_old(copy: Copy) -> Detail:
    """The old state machine's output without its jobs. The loop controls have the values with which its loop ended."""
    return {
        "job_status_iterable_parameter": {"job_status_iterable": 1},
        "wait_parameter": {"wait": True},
        "counters": {
            "jobs_failed": copy.failed_jobs,
            "jobs_running": copy.open_jobs,
            "jobs_passed": copy.passed_jobs,
        },
    }


def _job_of_old(copy: Copy, job: Job) -> Detail:
    """A job in the old state machine's output."""
    return {
        "job_attempt_counter": job.attempt,
        "job_id": job.attempts[-1].ica_job_id if job.attempts else None,
        "failed_jobs_list": _failed_ica_jobs(job),
        "dest_uri": as_spelled(job.destination, copy.project_names),
        "source_uris": [as_spelled(source, copy.project_names) for source in job.sources],
        "job_status": job.status is JobStatus.PASSED,
    }


def _history(job: Job) -> Detail:
    """What the result adds to a job in the old state machine's output: it would make events longer."""
    return {
        "job_number": int(job.job_id),
        "status": job.status.value,
        "queued_at": job.attempts[0].queued_at if job.attempts else job.queued_at,
        "ended_at": job.ended_at,
        "attempts": [
            {
                "outcome": each.outcome,
                "ica_job_id": each.ica_job_id,
                "queued_at": each.queued_at,
                "claimed_at": each.claimed_at,
                "running_at": each.running_at,
                "ended_at": each.ended_at,
                "reason": each.reason,
            }
            for each in job.attempts
        ],
    }


def _added_up(totals: Totals) -> Detail:
    """What the result says of all jobs together."""
    return {
        "first_launched_at": totals.first_launched_at,
        "attempts": totals.attempts,
        "ica_jobs": totals.ica_jobs,
        "files": totals.files,
        "folders": totals.folders,
        "bytes": totals.bytes,
        "outcomes": totals.outcomes,
    }


def _failed_ica_jobs(job: Job) -> list[str]:
    return [attempt.ica_job_id for attempt in job.attempts if attempt.ica_job_id and not attempt.has_passed]


def _failed_job(copy: Copy, job: Job) -> Detail:
    return {
        "dest_uri": as_spelled(job.destination, copy.project_names),
        "attempts": len(job.attempts),
        "failed_jobs_list": _failed_ica_jobs(job),
        "reason": _shorten(job.reason or "unknown"),
        "failed_sources": [
            {
                "source_uri": as_spelled(each.source, copy.project_names),
                "outcome": each.outcome,
                "reason": each.reason,
            }
            for each in job.last_outcomes[:FAILED_SOURCES_LISTED]
        ],
    }


def _shrunk(detail: Detail, key: str, max_bytes: int) -> Detail:
    """The detail with the list at ``key`` halved until all of it fits."""
    while _size(detail) > max_bytes and detail[key]:
        detail = {**detail, key: detail[key][: len(detail[key]) // 2]}
    return detail


def _shorten(text: str, limit: int = 1000) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _size(detail: Mapping[str, Any]) -> int:
    return len(encode(detail).encode())


def encode(detail: Mapping[str, Any]) -> str:
    return json.dumps(detail, separators=(",", ":"))
