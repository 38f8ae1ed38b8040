"""What the stages need of the world. Each port is written once; the adapters and the tests' doubles have its methods.

The table's methods return False or None where a condition was refused: somebody else has done it, or moved the job on.
Those of ICA raise ``IcaUnavailable`` where the same call may work later, and ``IcaRefused`` where it will not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

from icav2_copy_batch.domain.commands import CopyOptions
from icav2_copy_batch.domain.events import Detail
from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaError, IcaJob, StartedCopyBatch
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    Attempt,
    Claim,
    Copy,
    CopyStatus,
    Hold,
    Job,
    JobStatus,
    LaunchRequest,
    ListedCopy,
    OpenJob,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.pace import Pace
from icav2_copy_batch.domain.schedule import Backlog, Dispatched, Slots, Waiting
from icav2_copy_batch.domain.stops import Paused, Stops

# --- the table -------------------------------------------------------------------------------------------------------


class Stopping(Protocol):
    """What is not to be launched: pauses and cancels."""

    def stops(self) -> Stops: ...
    def pauses(self) -> list[Paused]: ...
    def pause(self, pause: Paused, copy_id: str | None = None) -> bool: ...
    def resume(self, subject: str, copy_id: str | None = None) -> bool: ...
    def mark_cancelled(self, copy_id: str, now: datetime) -> bool: ...
    def forget_cancelled(self, copy_id: str) -> None: ...


class Copies(Protocol):
    """The items of copies."""

    def create_copy(self, copy: Copy) -> Copy | None: ...
    def get_copy(self, copy_id: str) -> Copy | None: ...
    def mark_ingested(self, copy_id: str, now: datetime) -> None: ...
    def mark_delayed(self, copy_id: str, now: datetime) -> None: ...
    def begin_publication(self, copy_id: str, now: datetime, until: datetime) -> Copy | None: ...
    def abandon_publication(self, copy_id: str) -> None: ...
    def mark_published(self, copy: Copy, now: datetime, unanswered: frozenset[str]) -> bool: ...
    def unpublished_copies(self, settled_before: datetime) -> list[str]: ...
    def unfinished_copies(self, submitted_before: datetime) -> list[str]: ...
    def mark_copy_redriven(self, copy_id: str, redriven_as: str) -> None: ...
    def recent_copies(self, since: datetime, until: datetime, limit: int) -> list[ListedCopy]: ...


class WaitingTasks(Protocol):
    """The Step Functions tasks that wait for a copy."""

    def add_task_token(self, copy_id: str, task_token: str) -> bool: ...
    def drop_task_token(self, copy_id: str, task_token: str) -> None: ...
    def copies_waited_for(self, beaten_before: datetime) -> list[str]: ...
    def note_heartbeat(self, copy_id: str, now: datetime) -> bool: ...
    def forget_waiting(self, copy_id: str) -> None: ...


class Jobs(Protocol):
    """The items of jobs: written, read, and moved."""

    def create_jobs(
        self, copy_id: str, planned: Sequence[PlannedJob], options: CopyOptions, now: datetime, first: int = 1
    ) -> None: ...
    def jobs_written(self, copy_id: str) -> int: ...
    def get_job(self, copy_id: str, job_id: str) -> Job | None: ...
    def jobs(self, copy_id: str, after: str | None = None) -> Iterable[Job]: ...
    def unlaunched_jobs(self, copy_id: str) -> Iterable[OpenJob]: ...
    def claim_for_launch(
        self, job: OpenJob, ica_project_id: str, now: datetime, lease_until: datetime, slots: Slots
    ) -> Claim: ...
    def release(
        self,
        job: OpenJob,
        now: datetime,
        due_at: datetime,
        hold: Hold,
        *,
        batch_limit: int | None = None,
        deferrals: int | None = None,
    ) -> bool: ...
    def mark_running(
        self, job: OpenJob, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime
    ) -> bool: ...
    def requeue(
        self, job: Job, ended: Attempt, copied: frozenset[str], now: datetime, due_at: datetime, hold: Hold
    ) -> bool: ...
    def mark_passed(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool: ...
    def cancel(self, job: OpenJob, now: datetime) -> bool: ...
    def mark_redriven(self, job: Job, copy_id: str) -> bool: ...


class JobNotes(Protocol):
    """What is written to a job's item without moving the job."""

    def wait(self, request: LaunchRequest, due_at: datetime, hold: Hold) -> bool: ...
    def postpone(self, job: OpenJob, due_at: datetime, hold: Hold | None = None) -> bool: ...
    def record_intent(self, job: OpenJob, intent: Intent, due_at: datetime) -> bool: ...
    def mark_answer_lost(self, job: OpenJob, now: datetime, due_at: datetime, hold: Hold) -> bool: ...
    def mark_undecided(self, job: OpenJob, now: datetime, hold: Hold) -> bool: ...
    def note_comparison(
        self, job: OpenJob, due_at: datetime, mismatch_since: datetime | None = None, verified_up_to: str | None = None
    ) -> bool: ...


class Schedule(Protocol):
    """What is due, what waits, and which slots are in use."""

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]: ...
    def create_backlogs(self, backlogs: Sequence[Backlog]) -> None: ...
    def backlogs(self) -> list[Backlog]: ...
    def shorten_backlog(self, backlog: Backlog, to: int) -> None: ...
    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool: ...
    def slots_in_use(self) -> Counter[str]: ...
    def outcomes(self, project_id: str) -> Outcomes: ...
    def replace_outcomes(self, project_id: str, seen: Outcomes, outcomes: Outcomes) -> bool: ...


class Leases(Protocol):
    """What one function at a time may do."""

    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool: ...
    def lease_until(self, name: str) -> str | None: ...
    def drop_lease(self, name: str, owner: str) -> None: ...


class SharedPace(Protocol):
    """The pace of calls to ICA that all functions keep."""

    def pace(self) -> Pace | None: ...
    def write_pace(self, pace: Pace, seen: Pace | None) -> bool: ...


class Table(Copies, WaitingTasks, Jobs, JobNotes, Schedule, Stopping, Leases, SharedPace, Protocol):
    """The copy table, for a stage that needs several of these."""


# --- ICA -------------------------------------------------------------------------------------------------------------


class IcaFiles(Protocol):
    """Files and folders by their paths or ids."""

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]: ...
    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]: ...
    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]: ...


class IcaTrees(Protocol):
    """What lies in a folder."""

    def tree_pages(self, project_id: str, folder: str) -> Iterable[list[IcaData]]: ...
    def file_pages(self, project_id: str, folder: str) -> Iterable[list[IcaData]]: ...
    def folders_in(self, project_id: str, folder: str) -> list[str]: ...


class IcaFolders(Protocol):
    """Destination folders: made, and cleared of what failed attempts have left."""

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> Mapping[str, str | IcaError | None]: ...
    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]: ...
    def delete_data(self, project_id: str, data_ids: Iterable[str]) -> None: ...


class IcaCopyBatches(Protocol):
    """Copy batches. ``start_copy_batch`` alone raises ``IcaAnswerLost``, and is not repeated then."""

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch: ...
    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]: ...


class IcaJobs(Protocol):
    """ICA's jobs by their ids."""

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]: ...


class IcaSearch(IcaJobs, Protocol):
    """What ICA has started since a moment, and what that copies."""

    def recent_jobs(self, since: str) -> list[IcaJob]: ...
    def copy_batch_folder(self, project_id: str, batch_id: str) -> str | None: ...
    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]: ...
    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]: ...


class Ica(IcaFiles, IcaTrees, IcaFolders, IcaCopyBatches, IcaJobs, Protocol):
    """ICA, for a stage that needs several of these."""


class Pacing(Protocol):
    """How fast ICA may be called, where it limits calls."""

    def held_until(self) -> datetime | None: ...
    def calls_possible(self, seconds: float) -> float: ...
    def turn(self, seconds_needed: float) -> AbstractContextManager[None]:
        """Make one call in it: when it is its turn, and with note of how it is answered."""


class TokenSource(Protocol):
    """Where ICA's token comes from."""

    def token(self, *, fresh: bool = False) -> str:
        """The JWT; ``fresh`` passes over any cache."""


# --- the rest of AWS -------------------------------------------------------------------------------------------------


class LaunchQueue(Protocol):
    """The queue of launch messages."""

    def send(self, requests: Iterable[LaunchRequest]) -> None: ...


class SourceQueue(Protocol):
    """The queue that a function is fed by."""

    def deliver_again_soon(self, record: Mapping[str, Any]) -> None: ...


class SubmissionQueue(Protocol):
    """The ingest queue."""

    def send(self, body: str) -> None: ...


class DeadLetters(Protocol):
    """The queue that names the copies which could not be published."""

    def put(self, copy_id: str, error: str) -> None: ...


class PollFunction(Protocol):
    """The poll function, called without waiting for it."""

    def trigger(self) -> None: ...


class Upload(Protocol):
    """An object of the manifest bucket that is written piece by piece, and is there once it is finished."""

    def add(self, text: str) -> None: ...
    def finish(self) -> str: ...
    def abandon(self) -> None: ...


class Bucket(Protocol):
    """The manifest bucket."""

    @property
    def name(self) -> str: ...
    def read(self, bucket: str, key: str, version_id: str | None, max_bytes: int) -> bytes: ...
    def put(self, key: str, content: bytes, content_type: str = "application/json") -> str: ...
    def write(self, key: str, pieces: Iterable[str], content_type: str = "application/json") -> str: ...
    def upload(self, key: str, content_type: str = "application/json") -> Upload: ...
    def keep(self, bucket: str, key: str, version_id: str | None, target_key: str) -> str | None: ...


class Bus(Protocol):
    """The event bus."""

    def put(self, detail_type: str, detail: Detail) -> None: ...


class Tasks(Protocol):
    """Step Functions, which is told how a task has ended."""

    def succeed(self, task_token: str, output: Detail) -> None: ...
    def fail(self, task_token: str, error: str, cause: Detail) -> None: ...
    def send_heartbeat(self, task_token: str) -> bool: ...


class Metrics(Protocol):
    """CloudWatch's metrics, which are sent at the end of an invocation."""

    def add_metric(self, name: str, unit: str, value: float) -> None: ...


# --- one stage for another -------------------------------------------------------------------------------------------


class Dispatcher(Protocol):
    """Sends launch messages to as many jobs as there are slots for. Nobody else sends any."""

    def anything_waits(self, within: timedelta) -> bool: ...
    def send(self) -> Dispatched: ...


class Publisher(Protocol):
    """Publishes settled copies, and keeps the tasks that wait for open ones."""

    def publish(self, copy_id: str) -> CopyStatus | None: ...
    def keep_tasks(self) -> None: ...


class LateAnswers(Protocol):
    """Answers a task that came to wait for a copy after it was published."""

    def answer_published(self, copy_id: str, task_token: str) -> None: ...
