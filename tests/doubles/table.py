"""``CopyTable`` in memory, with the adapter's own conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    CANCELLED,
    MOVES,
    Attempt,
    Claim,
    Copy,
    CopyStatus,
    Hold,
    HoldReason,
    Job,
    JobStatus,
    LaunchRequest,
    OpenCopy,
    OpenJob,
    SubmittedCopy,
    job_id_of,
    timestamp,
)
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.pace import Pace
from icav2_copy_batch.domain.schedule import FOLDER_REST, Backlog, Slots, Waiting
from icav2_copy_batch.domain.stops import Paused, Stops, copy_subject, hold
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import parse_uri
from tests.doubles.line import Line

FORGET_LAUNCH: dict[str, None] = dict.fromkeys(("lease_until", "intent", "answer_lost_at", "undecided_since"))
"""What a job that leaves LAUNCHING loses."""


@dataclass
class CopyRow:
    """A copy's item: the copy, and the attributes that only the table knows."""

    copy: Copy
    due_at: str | None
    publishing_until: str | None = None


@dataclass
class FolderRow:
    holder: str
    jobs: set[str] = field(default_factory=set)
    left_at: str | None = None


class ConditionRefused(Exception):
    """A write that must not be refused was: what the adapter lets propagate."""


@dataclass
class Table:
    """``CopyTable`` in memory: the same methods, conditions and answers."""

    line: Line = field(default_factory=Line, compare=False)
    copies: dict[str, CopyRow] = field(default_factory=dict)
    job_items: dict[tuple[str, str], Job] = field(default_factory=dict)
    backlog_items: dict[tuple[str, int], Backlog] = field(default_factory=dict)
    """Copy id and the number of the last job → the backlog."""
    leases: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name → owner and until when."""
    paused_items: dict[str, Paused] = field(default_factory=dict)
    """Subject → pause."""
    resumed_items: dict[str, str] = field(default_factory=dict)
    """Subject, of a project or everything → when its last pause was ended."""
    cancelled: set[str] = field(default_factory=set)
    """Ids of cancelled copies of which jobs may still be open."""
    slots: Counter[str] = field(default_factory=Counter)
    """ICA project id → slots in use."""
    folders: dict[tuple[str, str], FolderRow] = field(default_factory=dict)
    """ICA project id and path → who writes there, and by which jobs."""
    waited_for: dict[str, str | None] = field(default_factory=dict)
    """Id of a copy for which tasks wait → when they last had a heartbeat."""
    outcomes_of: dict[str, Outcomes] = field(default_factory=dict)
    """ICA project id → how the last attempts into it have ended."""
    pace_item: Pace | None = None
    settled: Callable[[Copy], None] = field(default=lambda copy: None, compare=False)
    """The stream: called with each copy whose open jobs a write has taken to zero."""

    # --- accepting a copy --------------------------------------------------------------------------------------------

    def create_copy(self, copy: Copy) -> Copy | None:
        with self.line.request():
            if copy.copy_id in self.copies:
                return self.copies[copy.copy_id].copy
            later = ("ingested_at", "settled_at", "published_at", "delayed_at", "resumed_at", "cancelled_at")
            written = replace(copy, **dict.fromkeys(later), redriven_as=frozenset())  # type: ignore[arg-type]
            self.copies[copy.copy_id] = CopyRow(written, due_at=copy.submitted_at)
            if copy.task_tokens:
                self.waited_for[copy.copy_id] = None
            if copy.paused_at:
                self.paused_items[copy_subject(copy.copy_id)] = hold(copy.copy_id, copy.paused_at)
            return None

    def create_jobs(
        self,
        copy_id: str,
        planned: Sequence[PlannedJob],
        options: CopyOptions,
        now: datetime,
        first: int = 1,
    ) -> None:
        for number, plan in enumerate(planned, start=first):
            job = Job(
                copy_id=copy_id,
                job_id=job_id_of(number),
                status=JobStatus.QUEUED,
                attempt=1,
                destination=plan.destination,
                sources=plan.sources,
                options=options,
                former=plan.former,
                queued_at=timestamp(now),
            )
            with self.line.request():
                self.job_items.setdefault((copy_id, job.job_id), job)

    def create_backlogs(self, backlogs: Sequence[Backlog]) -> None:
        for backlog in backlogs:
            with self.line.request():
                self.backlog_items.setdefault((backlog.copy_id, backlog.last), backlog)

    def jobs_written(self, copy_id: str) -> int:
        with self.line.request():
            return max((int(job_id) for of_copy, job_id in self.job_items if of_copy == copy_id), default=0)

    def count_jobs(self, copy_id: str) -> int:
        with self.line.request():
            return sum(of_copy == copy_id for of_copy, _ in self.job_items)

    def count_unwritten(self, copy_id: str, unwritten: int, now: datetime) -> bool:
        with self.line.request():
            row = self.copies.get(copy_id)
            if row is None or row.copy.ingested_at or not row.copy.cancelled_at:
                return False
            row.copy = replace(row.copy, ingested_at=timestamp(now))
            if unwritten:
                row.copy = replace(
                    row.copy,
                    open_jobs=row.copy.open_jobs - unwritten,
                    cancelled_jobs=row.copy.cancelled_jobs + unwritten,
                    settled_at=timestamp(now),
                )
                if row.copy.is_settled:
                    self.settled(row.copy)
            return True

    def mark_ingested(self, copy_id: str, now: datetime) -> None:
        with self.line.request():
            row = self._existing(copy_id)
            row.copy = replace(row.copy, ingested_at=timestamp(now))

    def add_task_token(self, copy_id: str, task_token: str) -> bool:
        with self.line.request():
            row = self.copies.get(copy_id)
            if row is None or row.copy.status is not CopyStatus.OPEN:
                return False
            row.copy = replace(row.copy, task_tokens=row.copy.task_tokens | {task_token})
            self.waited_for[copy_id] = None
            return True

    # --- the moves of a job ------------------------------------------------------------------------------------------

    def claim_for_launch(
        self, job: OpenJob, ica_project_id: str, now: datetime, lease_until: datetime, slots: Slots
    ) -> Claim:
        with self.line.request():
            present = self._movable("claim_for_launch", job)
            if present is None:
                return Claim.MOVED_ON
            if self._stops().holds(job.copy_id, ica_project_id):
                return Claim.STOPPED
            if sum(self.slots.values()) >= slots.total or self.slots[ica_project_id] >= slots.per_project:
                return Claim.NO_SLOT
            holder = f"{job.copy_id} {job.destination}"
            folder = self.folders.setdefault(_folder(job, ica_project_id), FolderRow(holder))
            resting = folder.left_at is not None and folder.left_at >= timestamp(now - FOLDER_REST)
            if folder.holder != holder and (folder.jobs or resting):
                return Claim.FOLDER_BUSY
            self.slots[ica_project_id] += 1
            folder.holder = holder
            folder.jobs.add(f"{job.copy_id} {job.job_id}")
            self._move(
                "claim_for_launch",
                present,
                claimed_at=timestamp(now),
                due_at=timestamp(lease_until),
                lease_until=timestamp(lease_until),
                ica_project_id=ica_project_id,
                hold=None,
            )
            return Claim.CLAIMED

    def release(
        self,
        job: OpenJob,
        now: datetime,
        due_at: datetime,
        hold: Hold,
        *,
        batch_limit: int | None = None,
        deferrals: int | None = None,
    ) -> bool:
        with self.line.request():
            changes: dict[str, Any] = {"claimed_at": None, "due_at": timestamp(due_at), "hold": hold}
            changes |= {"batch_limit": batch_limit} if batch_limit else {}
            changes |= {"deferrals": deferrals} if deferrals else {}
            return self._leave("release", job, now, **changes, **FORGET_LAUNCH)

    def mark_running(self, job: OpenJob, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime) -> bool:
        with self.line.request():
            present = self._movable("mark_running", job)
            if present is None:
                return False
            self._move(
                "mark_running",
                present,
                running_at=timestamp(now),
                due_at=timestamp(due_at),
                ica_job_id=ica_job_id,
                ica_batch_id=ica_batch_id,
                hold=None,
                deferrals=0,
                **FORGET_LAUNCH,
            )
            return True

    def requeue(
        self, job: Job, ended: Attempt, copied: frozenset[str], now: datetime, due_at: datetime, hold: Hold
    ) -> bool:
        with self.line.request():
            return self._leave(
                "requeue",
                job,
                now,
                attempt=job.attempt + 1,
                attempts=self._attempts_with(job, ended),
                copied=copied,
                queued_at=timestamp(now),
                due_at=timestamp(due_at),
                hold=hold,
                claimed_at=None,
                running_at=None,
                ica_job_id=None,
                ica_batch_id=None,
                mismatch_since=None,
                verified_up_to=None,
            )

    def mark_passed(self, job: Job, ended: Attempt, now: datetime) -> bool:
        return self._end("mark_passed", job, ended, now)

    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool:
        return self._end("give_up", job, ended, now)

    def _end(self, verb: str, job: Job, ended: Attempt, now: datetime) -> bool:
        """Job and copy in one transaction: both or neither."""
        with self.line.request():
            row = self.copies.get(job.copy_id)
            if row is None or row.copy.open_jobs <= 0:
                return False
            attempts = self._attempts_with(job, ended)
            changes = {"ended_at": timestamp(now), "attempts": attempts, "due_at": None, **FORGET_LAUNCH}
            if not self._leave(verb, job, now, **changes, **({"reason": ended.reason} if ended.reason else {})):
                return False
            passed = MOVES[verb].target is JobStatus.PASSED
            self._count_end(row, MOVES[verb].target, now, ended.bytes_copied or job.total_bytes or 0 if passed else 0)
            return True

    def _count_end(self, row: CopyRow, end: JobStatus, now: datetime, copied: int = 0) -> None:
        row.copy = replace(
            row.copy,
            open_jobs=row.copy.open_jobs - 1,
            passed_jobs=row.copy.passed_jobs + (end is JobStatus.PASSED),
            failed_jobs=row.copy.failed_jobs + (end is JobStatus.FAILED),
            cancelled_jobs=row.copy.cancelled_jobs + (end is JobStatus.CANCELLED),
            passed_bytes=row.copy.passed_bytes + copied,
            settled_at=timestamp(now),
        )
        if row.copy.is_settled:
            self.settled(row.copy)

    def cancel(self, job: OpenJob, now: datetime) -> bool:
        with self.line.request():
            row = self.copies.get(job.copy_id)
            present = self._movable("cancel", job)
            if row is None or row.copy.open_jobs <= 0 or present is None or present.intent is not None:
                return False
            changes: dict[str, Any] = {
                "ended_at": timestamp(now),
                "reason": CANCELLED,
                "due_at": None,
                "hold": None,
                **FORGET_LAUNCH,
            }
            if present.status is JobStatus.LAUNCHING:
                self._leave("cancel", job, now, **changes)
            else:
                self._move("cancel", present, **changes)
            self._count_end(row, JobStatus.CANCELLED, now)
            return True

    def mark_redriven(self, job: Job, copy_id: str) -> bool:
        with self.line.request():
            present = self.job_items.get(job.key)
            if present is None or present.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
                return False
            if present.redriven_as not in (None, copy_id):
                return False
            self.job_items[job.key] = replace(present, redriven_as=copy_id)
            return True

    # --- what is not to be launched ----------------------------------------------------------------------------------

    def stops(self) -> Stops:
        with self.line.request():
            return self._stops()

    def _stops(self) -> Stops:
        return Stops(frozenset(self.paused_items), frozenset(self.cancelled))

    def pauses(self) -> list[Paused]:
        with self.line.request():
            return sorted(self.paused_items.values(), key=lambda pause: pause.subject)

    def resumed(self) -> dict[str, str]:
        with self.line.request():
            return dict(self.resumed_items)

    def pause(self, pause: Paused, copy_id: str | None = None) -> bool:
        with self.line.request():
            row = self.copies.get(copy_id) if copy_id else None
            if copy_id and (row is None or row.copy.open_jobs <= 0):
                return False
            self.paused_items[pause.subject] = pause
            self.resumed_items.pop(pause.subject, None)
            if row:
                row.copy = replace(row.copy, paused_at=pause.since)
            return True

    def resume(self, subject: str, now: datetime, copy_id: str | None = None) -> bool:
        with self.line.request():
            row = self.copies.get(copy_id) if copy_id else None
            if subject not in self.paused_items or (copy_id and row is None):
                return False
            del self.paused_items[subject]
            if row:
                row.copy = replace(row.copy, paused_at=None, resumed_at=timestamp(now))
            else:
                self.resumed_items[subject] = timestamp(now)
            return True

    def mark_cancelled(self, copy_id: str, now: datetime) -> bool:
        with self.line.request():
            row = self.copies.get(copy_id)
            if row is None or row.copy.open_jobs <= 0:
                return False
            row.copy = replace(row.copy, cancelled_at=row.copy.cancelled_at or timestamp(now))
            self.cancelled.add(copy_id)
            return True

    def forget_cancelled(self, copy_id: str) -> None:
        with self.line.request():
            self.cancelled.discard(copy_id)

    def mark_copy_redriven(self, copy_id: str, redriven_as: str) -> None:
        with self.line.request():
            row = self._existing(copy_id)
            row.copy = replace(row.copy, redriven_as=row.copy.redriven_as | {redriven_as})

    def wait(self, request: LaunchRequest, due_at: datetime, hold: Hold) -> bool:
        with self.line.request():
            job = self.job_items.get((request.copy_id, request.job_id))
            if job is None or job.status is not JobStatus.QUEUED or job.attempt != request.attempt:
                return False
            waiting = replace(job, due_at=timestamp(due_at), hold=hold)
            self.job_items[request.copy_id, request.job_id] = waiting
            return True

    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        with self.line.request():
            request = waiting.request
            job = self.job_items.get((request.copy_id, request.job_id))
            seen = (JobStatus.QUEUED, request.attempt, waiting.due_at)
            if job is None or (job.status, job.attempt, job.due_at) != seen:
                return False
            queued_at = timestamp(now) if waiting.waited_for_a_slot else job.queued_at
            held_for = job.hold.reason if job.hold else HoldReason.NO_SLOT
            sent = replace(job, due_at=timestamp(due_at), queued_at=queued_at, hold=None, held_for=held_for)
            self.job_items[request.copy_id, request.job_id] = sent
            return True

    def shorten_backlog(self, backlog: Backlog, to: int) -> None:
        with self.line.request():
            key = (backlog.copy_id, backlog.last)
            present = self.backlog_items.get(key)
            if to > backlog.last:
                self.backlog_items.pop(key, None)
            elif present and present.next < to:
                self.backlog_items[key] = replace(present, next=to)

    def postpone(self, job: OpenJob, due_at: datetime, hold: Hold | None = None) -> bool:
        with self.line.request():
            present = self.job_items.get((job.copy_id, job.job_id))
            seen = (job.status, job.attempt, job.due_at)
            if present is None or (present.status, present.attempt, present.due_at) != seen:
                return False
            later = replace(present, due_at=timestamp(due_at), hold=hold or present.hold)
            self.job_items[job.copy_id, job.job_id] = later
            return True

    def record_intent(self, job: OpenJob, intent: Intent, due_at: datetime, total_bytes: int) -> bool:
        def asking(present: Job) -> Job:
            first = total_bytes if present.total_bytes is None else present.total_bytes
            return replace(present, intent=intent, due_at=timestamp(due_at), total_bytes=first)

        return self._change_claimed(job, asking)

    def mark_answer_lost(self, job: OpenJob, now: datetime, due_at: datetime, hold: Hold) -> bool:
        def lost(present: Job) -> Job:
            return replace(present, answer_lost_at=timestamp(now), due_at=timestamp(due_at), hold=hold)

        return self._change_claimed(job, lost)

    def mark_undecided(self, job: OpenJob, now: datetime, hold: Hold) -> bool:
        def undecided(present: Job) -> Job:
            since = present.undecided_since or timestamp(now)
            return replace(present, undecided_since=since, hold=hold)

        return self._change_claimed(job, undecided)

    def _change_claimed(self, job: OpenJob, change: Callable[[Job], Job]) -> bool:
        """What a launch, or the search for what it has started, notes of a claimed job."""
        with self.line.request():
            present = self.job_items.get((job.copy_id, job.job_id))
            claim = (JobStatus.LAUNCHING, job.attempt, job.claimed_at)
            if present is None or (present.status, present.attempt, present.claimed_at) != claim:
                return False
            self.job_items[job.copy_id, job.job_id] = change(present)
            return True

    def note_comparison(
        self, job: OpenJob, due_at: datetime, mismatch_since: datetime | None = None, verified_up_to: str | None = None
    ) -> bool:
        with self.line.request():
            present = self.job_items.get((job.copy_id, job.job_id))
            if present is None or (present.status, present.attempt) != (JobStatus.RUNNING, job.attempt):
                return False
            self.job_items[job.copy_id, job.job_id] = replace(
                present,
                due_at=timestamp(due_at),
                mismatch_since=present.mismatch_since or (timestamp(mismatch_since) if mismatch_since else None),
                verified_up_to=verified_up_to or present.verified_up_to,
            )
            return True

    def _leave(self, verb: str, job: OpenJob, now: datetime, **changes: object) -> bool:
        present = self._movable(verb, job)
        if present is None:
            return False
        project_id = job.ica_project_id or ""
        self.slots[project_id] -= 1
        folder = self.folders[_folder(job, project_id)]
        folder.jobs.discard(f"{job.copy_id} {job.job_id}")
        folder.left_at = timestamp(now)
        self._move(verb, present, **changes)
        return True

    def _movable(self, verb: str, job: OpenJob) -> Job | None:
        present = self.job_items.get((job.copy_id, job.job_id))
        if present is None or present.status not in MOVES[verb].sources or present.attempt != job.attempt:
            return None
        same_claim = JobStatus.LAUNCHING not in MOVES[verb].sources or present.claimed_at == job.claimed_at
        return present if same_claim else None

    def _move(self, verb: str, job: Job, **changes: object) -> Job:
        moved = replace(job, **{"status": MOVES[verb].target, **changes})  # type: ignore[arg-type]
        self.job_items[job.copy_id, job.job_id] = moved
        return moved

    def _attempts_with(self, job: Job, ended: Attempt) -> tuple[Attempt, ...]:
        """The first attempt to end starts the list: a job read through the index does not bring it along."""
        present = self.job_items.get((job.copy_id, job.job_id))
        return (*(present.attempts if present and job.attempt > 1 else ()), ended)

    # --- publishing a settled copy -----------------------------------------------------------------------------------

    def begin_publication(self, copy_id: str, now: datetime, until: datetime) -> Copy | None:
        with self.line.request():
            row = self.copies.get(copy_id)
            if (
                row is None
                or row.copy.open_jobs != 0
                or row.copy.status is not CopyStatus.OPEN
                or (row.publishing_until is not None and row.publishing_until >= timestamp(now))
            ):
                return None
            row.publishing_until = timestamp(until)
            return row.copy

    def abandon_publication(self, copy_id: str) -> None:
        with self.line.request():
            self._existing(copy_id).publishing_until = None

    def mark_published(self, copy: Copy, now: datetime, unanswered: frozenset[str]) -> bool:
        with self.line.request():
            row = self._existing(copy.copy_id)
            if row.copy.task_tokens != copy.task_tokens:
                return False
            changes = {"status": copy.settled_status, "published_at": timestamp(now), "task_tokens": unanswered}
            row.copy = replace(row.copy, **changes)  # type: ignore[arg-type]
            row.due_at, row.publishing_until = None, None
            return True

    def _existing(self, copy_id: str) -> CopyRow:
        if copy_id not in self.copies:
            raise ConditionRefused(copy_id)
        return self.copies[copy_id]

    # --- tasks that wait for a copy ----------------------------------------------------------------------------------

    def copies_waited_for(self, beaten_before: datetime) -> list[str]:
        with self.line.request():
            found = [(beaten_at or "", copy_id) for copy_id, beaten_at in self.waited_for.items()]
            return [copy_id for beaten_at, copy_id in sorted(found) if beaten_at < timestamp(beaten_before)]

    def note_heartbeat(self, copy_id: str, now: datetime) -> bool:
        with self.line.request():
            if copy_id not in self.waited_for:
                return False
            self.waited_for[copy_id] = timestamp(now)
            return True

    def drop_task_token(self, copy_id: str, task_token: str) -> None:
        with self.line.request():
            if row := self.copies.get(copy_id):
                row.copy = replace(row.copy, task_tokens=row.copy.task_tokens - {task_token})

    def forget_waiting(self, copy_id: str) -> None:
        with self.line.request():
            self.waited_for.pop(copy_id, None)

    def mark_delayed(self, copy_id: str, now: datetime) -> None:
        with self.line.request():
            row = self._existing(copy_id)
            row.copy = replace(row.copy, delayed_at=timestamp(now))

    # --- reading -----------------------------------------------------------------------------------------------------

    def get_copy(self, copy_id: str) -> Copy | None:
        with self.line.request():
            row = self.copies.get(copy_id)
            return row.copy if row else None

    def get_job(self, copy_id: str, job_id: str) -> Job | None:
        with self.line.request():
            return self.job_items.get((copy_id, job_id))

    def jobs(self, copy_id: str, after: str | None = None) -> Iterator[Job]:
        with self.line.request():
            mine = (job for job in self.job_items.values() if job.copy_id == copy_id and job.job_id > (after or ""))
            return iter(sorted(mine, key=lambda job: job.job_id))

    def unlaunched_jobs(self, copy_id: str) -> Iterator[OpenJob]:
        with self.line.request():
            found = [job for job in self.job_items.values() if job.copy_id == copy_id]
        launching = [job for job in found if job.status is JobStatus.LAUNCHING and job.intent is None]
        queued = [job for job in found if job.status is JobStatus.QUEUED]
        return map(_shown, sorted([*queued, *launching], key=lambda job: job.job_id))

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[OpenJob]:
        with self.line.request():
            end = timestamp(due_before) if due_before else None
            due = [
                (job.due_at, job)
                for job in self.job_items.values()
                if job.status is status and job.due_at and (end is None or job.due_at < end)
            ]
        return [_shown(job) for _, job in sorted(due, key=lambda pair: pair[0])]

    def submitted_copies(
        self, since: datetime, until: datetime, limit: int, before: SubmittedCopy | None = None
    ) -> list[SubmittedCopy]:
        with self.line.request():
            found = [
                SubmittedCopy(**{each.name: getattr(row.copy, each.name) for each in fields(SubmittedCopy)})
                for row in self.copies.values()
                if timestamp(since) <= row.copy.submitted_at <= timestamp(until)
            ]

        def place(copy: SubmittedCopy) -> tuple[str, str]:
            return copy.submitted_at, copy.copy_id

        left = [copy for copy in found if before is None or place(copy) < place(before)]
        return sorted(left, key=place, reverse=True)[:limit]

    def get_copies(self, copy_ids: Sequence[str]) -> list[Copy]:
        with self.line.request():
            return [self.copies[copy_id].copy for copy_id in copy_ids if copy_id in self.copies]

    def backlogs(self) -> list[Backlog]:
        with self.line.request():
            return sorted(self.backlog_items.values(), key=lambda backlog: backlog.since)

    def open_copies(self) -> list[OpenCopy]:
        with self.line.request():
            found = [
                OpenCopy(copy_id, row.due_at, row.copy.open_jobs, row.copy.settled_at)
                for copy_id, row in self.copies.items()
                if row.due_at and row.copy.status is CopyStatus.OPEN
            ]
        return sorted(found, key=lambda copy: (copy.submitted_at, copy.copy_id))

    def unfinished_copies(self, submitted_before: datetime) -> list[str]:
        with self.line.request():
            found = [
                (row.due_at, copy_id)
                for copy_id, row in self.copies.items()
                if row.due_at
                and row.copy.status is CopyStatus.OPEN
                and row.due_at < timestamp(submitted_before)
                and row.copy.ingested_at is None
            ]
        return [copy_id for _, copy_id in sorted(found)]

    def slots_in_use(self) -> Counter[str]:
        with self.line.request():
            return +self.slots

    # --- how attempts end --------------------------------------------------------------------------------------------

    def outcomes(self, project_id: str) -> Outcomes:
        with self.line.request():
            return self.outcomes_of.get(project_id, Outcomes())

    def replace_outcomes(self, project_id: str, seen: Outcomes, outcomes: Outcomes) -> bool:
        with self.line.request():
            if self.outcomes_of.get(project_id, Outcomes()) != seen:
                return False
            self.outcomes_of[project_id] = outcomes
            return True

    # --- one at a time -----------------------------------------------------------------------------------------------

    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        with self.line.request():
            held_by, held_until = self.leases.get(name, (owner, ""))
            if held_by != owner and held_until >= timestamp(now):
                return False
            self.leases[name] = (owner, timestamp(until))
            return True

    def lease_until(self, name: str) -> str | None:
        with self.line.request():
            return self.leases[name][1] if name in self.leases else None

    def drop_lease(self, name: str, owner: str) -> None:
        with self.line.request():
            if name in self.leases and self.leases[name][0] == owner:
                del self.leases[name]

    # --- how fast ICA may be called ----------------------------------------------------------------------------------

    def pace(self) -> Pace | None:
        with self.line.request():
            return self.pace_item

    def write_pace(self, pace: Pace, seen: Pace | None) -> bool:
        with self.line.request():
            if (self.pace_item and self.pace_item.serial) != (seen and seen.serial):
                return False
            self.pace_item = pace
            return True


def _shown(job: Job) -> OpenJob:
    """What the index shows of it."""
    return OpenJob(**{each.name: getattr(job, each.name) for each in fields(OpenJob)})


def _folder(job: OpenJob, ica_project_id: str) -> tuple[str, str]:
    return ica_project_id, parse_uri(job.destination).path
