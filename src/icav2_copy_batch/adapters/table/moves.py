"""The moves of jobs, one conditional write each, and what else is written to a job's item."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from icav2_copy_batch.adapters.table.jobs import attempt_map
from icav2_copy_batch.adapters.table.models import (
    COPY_ITEM,
    JOB_PREFIX,
    SLOTS_PREFIX,
    CopyItem,
    FolderItem,
    IntentMap,
    JobItem,
    Models,
    SlotsItem,
)
from icav2_copy_batch.adapters.table.packing import (
    pack_copied,
)
from icav2_copy_batch.adapters.table.stops import read_stops
from icav2_copy_batch.adapters.table.writes import REFUSED, accepted, code, retried
from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    CANCELLED,
    MOVES,
    Attempt,
    Claim,
    Hold,
    Job,
    JobStatus,
    LaunchRequest,
    OpenJob,
    timestamp,
)
from icav2_copy_batch.domain.schedule import FOLDER_REST, Slots
from icav2_copy_batch.domain.stops import pause_subjects
from icav2_copy_batch.domain.uri import parse_uri

UNUSED_FOLDER_DAYS = 400
"""After so many days DynamoDB may remove the item of a folder that no job has claimed since."""


class Moves:
    """Moves jobs. Each method answers False where its condition was refused: the job has moved on meanwhile."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def claim_for_launch(
        self, job: OpenJob, ica_project_id: str, now: datetime, lease_until: datetime, slots: Slots
    ) -> Claim:
        """QUEUED → LAUNCHING, with a slot and the destination folder."""
        actions: list[Action] = [
            JobItem.claimed_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(lease_until)),
            JobItem.lease_until.set(timestamp(lease_until)),
            JobItem.ica_project_id.set(ica_project_id),
            *set_hold(None),
        ]
        taken = _of_project(ica_project_id)
        free = (
            # The race: launches that take the last slot at the same moment; in all, and into one project.
            (SlotsItem.in_use.does_not_exist() | (SlotsItem.in_use < slots.total))
            & (taken.does_not_exist() | (taken < slots.per_project))
            # The race: somebody pauses or cancels while the launch message is under way.
            & _not_stopped(job.copy_id, ica_project_id)
        )
        quiet_since = timestamp(now - FOLDER_REST)
        ours = (
            # The race: two copies of the same files into one folder. A copy's own jobs do not share a file.
            (FolderItem.holder == _holder(job))
            | (
                FolderItem.jobs.does_not_exist()
                # The race: a copy batch of the copy before could be taken for one of ours whose start nobody saw.
                & (FolderItem.left_at.does_not_exist() | (FolderItem.left_at < quiet_since))
            )
        )
        expires_at = now + timedelta(days=UNUSED_FOLDER_DAYS)

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(
                    self._item_of(job), _to("claim_for_launch", actions), _may_move("claim_for_launch", job)
                )
                transaction.update(self._models.slots(), [SlotsItem.in_use.add(1), taken.add(1)], free)
                transaction.update(
                    self._folder_of(job, ica_project_id),
                    [
                        FolderItem.holder.set(_holder(job)),
                        FolderItem.jobs.add({_job_key(job)}),
                        FolderItem.expires_at.set(int(expires_at.timestamp())),
                    ],
                    ours,
                )

        try:
            retried(write)
        except TransactWriteError as error:
            refused = [code(reason) == REFUSED for reason in error.cancellation_reasons]
            if not any(refused):
                raise
            answer = (Claim.MOVED_ON, Claim.NO_SLOT, Claim.FOLDER_BUSY)[refused.index(True)]
            is_stopped = answer is Claim.NO_SLOT and read_stops(self._models).holds(job.copy_id, ica_project_id)
            return Claim.STOPPED if is_stopped else answer
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
        """LAUNCHING → QUEUED, the same attempt: ICA has started nothing. It gets its launch message when it is due.

        From now on no copy batch of the job has more sources than ``batch_limit``, and its launch has been deferred
        ``deferrals`` times. Both stay as they are where they are not given.
        """
        actions: list[Action] = [
            JobItem.claimed_at.remove(),
            JobItem.due_at.set(timestamp(due_at)),
            *set_hold(hold),
            *([JobItem.batch_limit.set(batch_limit)] if batch_limit else []),
            *([JobItem.deferrals.set(deferrals)] if deferrals else []),
            *_forget_launch(),
        ]
        return self._leave("release", job, now, actions)

    def mark_running(self, job: OpenJob, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime) -> bool:
        """LAUNCHING → RUNNING: ICA has started this copy batch."""
        actions: list[Action] = [
            JobItem.running_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.ica_job_id.set(ica_job_id),
            JobItem.ica_batch_id.set(ica_batch_id),
            JobItem.deferrals.remove(),
            *set_hold(None),
            *_forget_launch(),
        ]
        item, moves = self._item_of(job), _to("mark_running", actions)
        return accepted(lambda: item.update(moves, _may_move("mark_running", job)))

    def requeue(
        self, job: Job, ended: Attempt, copied: frozenset[str], now: datetime, due_at: datetime, hold: Hold
    ) -> bool:
        """RUNNING → QUEUED, the next attempt: this one failed, or copied a part; ``copied`` says which sources are.

        It gets its launch message when it is due.
        """
        actions: list[Action] = [
            JobItem.attempt.set(job.attempt + 1),
            JobItem.attempts.set(_attempts_with(job, ended)),
            JobItem.copied.set(packed) if (packed := pack_copied(job.sources, copied)) else JobItem.copied.remove(),
            JobItem.queued_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            *set_hold(hold),
            *(
                each.remove()
                for each in (
                    JobItem.claimed_at,
                    JobItem.running_at,
                    JobItem.ica_job_id,
                    JobItem.ica_batch_id,
                    JobItem.mismatch_since,
                    JobItem.verified_up_to,
                )
            ),
        ]
        return self._leave("requeue", job, now, actions)

    def mark_passed(self, job: Job, ended: Attempt, now: datetime) -> bool:
        """RUNNING → PASSED, and one open job less."""
        copied = ended.bytes_copied or job.total_bytes or 0
        return self._end(
            "mark_passed", job, ended, now, [CopyItem.passed_jobs.add(1), CopyItem.passed_bytes.add(copied)]
        )

    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool:
        """LAUNCHING or RUNNING → FAILED with the attempt's reason, and one open job less."""
        return self._end("give_up", job, ended, now, [CopyItem.failed_jobs.add(1)])

    def cancel(self, job: OpenJob, now: datetime) -> bool:
        """QUEUED, or LAUNCHING before ICA is asked for anything → CANCELLED, and one open job less."""
        job_actions: list[Action] = [
            JobItem.ended_at.set(timestamp(now)),
            JobItem.reason.set(CANCELLED),
            JobItem.due_at.remove(),
            *set_hold(None),
            *_forget_launch(),
        ]
        copy_actions = _count_end([CopyItem.cancelled_jobs.add(1)], now)
        if job.status is JobStatus.LAUNCHING:
            # The race: the launch is about to ask ICA, or has asked.
            return self._leave("cancel", job, now, job_actions, copy_actions, JobItem.intent.does_not_exist())

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(self._item_of(job), _to("cancel", job_actions), _may_move("cancel", job))
                transaction.update(self._models.copy(job.copy_id, COPY_ITEM), copy_actions, CopyItem.open_jobs > 0)

        return accepted(write)

    def mark_redriven(self, job: Job, copy_id: str) -> bool:
        """No move: what the job has not copied is copied by this copy. False where it passed, or by another copy."""
        condition = (
            # No race: whoever asks has read that the job has ended so, and an ended job stays as it is.
            JobItem.status.is_in(JobStatus.FAILED, JobStatus.CANCELLED)
            # The race: two that redrive the same job, as different copies. Each of its sources is copied once.
            & (JobItem.redriven_as.does_not_exist() | (JobItem.redriven_as == copy_id))
        )
        return accepted(lambda: self._item_of(job).update([JobItem.redriven_as.set(copy_id)], condition))

    def _end(self, verb: str, job: Job, ended: Attempt, now: datetime, counts: Sequence[Action]) -> bool:
        """End a job and count it, in one transaction: the count of open jobs is right at every moment."""
        job_actions: list[Action] = [
            JobItem.ended_at.set(timestamp(now)),
            JobItem.attempts.set(_attempts_with(job, ended)),
            JobItem.due_at.remove(),
            *([JobItem.reason.set(ended.reason)] if ended.reason else []),
            *_forget_launch(),
        ]
        return self._leave(verb, job, now, job_actions, _count_end(counts, now))

    def _leave(
        self,
        verb: str,
        job: OpenJob,
        now: datetime,
        actions: list[Action],
        copy_actions: Sequence[Action] = (),
        condition: Condition | None = None,
    ) -> bool:
        """Move a job out of LAUNCHING or RUNNING, and give back its slot and its claim on the folder."""
        may_move = _may_move(verb, job) if condition is None else _may_move(verb, job) & condition
        project_id = job.ica_project_id or ""
        folder_actions: list[Action] = [FolderItem.jobs.delete({_job_key(job)}), FolderItem.left_at.set(timestamp(now))]

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(self._item_of(job), _to(verb, actions), may_move)
                transaction.update(self._models.slots(), [SlotsItem.in_use.add(-1), _of_project(project_id).add(-1)])
                transaction.update(self._folder_of(job, project_id), folder_actions)
                if copy_actions:
                    # A copy that has no open job has nothing left to count: never below zero.
                    transaction.update(
                        self._models.copy(job.copy_id, COPY_ITEM), [*copy_actions], CopyItem.open_jobs > 0
                    )

        return accepted(write)

    def wait(self, request: LaunchRequest, due_at: datetime, hold: Hold) -> bool:
        """No move: the launch message of a queued job is used up, and it gets another when it is due."""
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at)), *set_hold(hold)]
        return accepted(lambda: self._item_of(request).update(actions, still_queued(request)))

    def postpone(self, job: OpenJob, due_at: datetime, hold: Hold | None = None) -> bool:
        """No move: the job is due at another moment, for the same reason or another."""
        condition = (
            # The race: the job moves on, and with it what is due.
            (JobItem.status == job.status)
            & (JobItem.attempt == job.attempt)
            # The race: two pollers that find the same job overdue; only one of them is to go on with it.
            & (JobItem.due_at == job.due_at)
        )
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at)), *(set_hold(hold) if hold else [])]
        return accepted(lambda: self._item_of(job).update(actions, condition))

    def record_intent(self, job: OpenJob, intent: Intent, due_at: datetime, total_bytes: int) -> bool:
        """No move: a launch is about to ask ICA for this. False when the claim is not its own any more: it must not.

        From ``due_at`` on it is searched for in ICA. The first ``total_bytes`` is kept: a later attempt has fewer
        sources.
        """
        actions: list[Action] = [
            JobItem.intent.set(_intent_map(intent)),
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.total_bytes.set(JobItem.total_bytes | total_bytes),
        ]
        return accepted(lambda: self._item_of(job).update(actions, _same_claim(job)))

    def mark_answer_lost(self, job: OpenJob, now: datetime, due_at: datetime, hold: Hold) -> bool:
        """No move: the launch has given up waiting for ICA's answer, and asks for nothing more."""
        actions: list[Action] = [
            JobItem.answer_lost_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            *set_hold(hold),
        ]
        return accepted(lambda: self._item_of(job).update(actions, _same_claim(job)))

    def mark_undecided(self, job: OpenJob, now: datetime, hold: Hold) -> bool:
        """No move: nobody can tell whether ICA has started a copy batch for the job. The first such moment is kept."""
        actions: list[Action] = [
            JobItem.undecided_since.set(JobItem.undecided_since | timestamp(now)),
            *set_hold(hold),
        ]
        return accepted(lambda: self._item_of(job).update(actions, _same_claim(job)))

    def note_comparison(
        self, job: OpenJob, due_at: datetime, mismatch_since: datetime | None = None, verified_up_to: str | None = None
    ) -> bool:
        """No move: the files of a running job are compared again when it is due, or further.

        The first ``mismatch_since`` is kept.
        """
        condition = (
            # The race: the job has moved on.
            (JobItem.status == JobStatus.RUNNING)
            # The race: the same, once it runs in a later attempt, of which nothing is compared yet.
            & (JobItem.attempt == job.attempt)
        )
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at))]
        if mismatch_since:
            # The race: two that compare at the same moment. The earlier moment counts.
            actions.append(JobItem.mismatch_since.set(JobItem.mismatch_since | timestamp(mismatch_since)))
        if verified_up_to:
            actions.append(JobItem.verified_up_to.set(verified_up_to))
        return accepted(lambda: self._item_of(job).update(actions, condition))

    def _item_of(self, job: OpenJob | LaunchRequest) -> JobItem:
        return self._models.job(job.copy_id, JOB_PREFIX + job.job_id)

    def _folder_of(self, job: OpenJob, ica_project_id: str) -> FolderItem:
        folder = f"{ica_project_id}{parse_uri(job.destination).path}"
        # A key has 2048 bytes at most.
        return self._models.folder(f"#folder {hashlib.sha256(folder.encode()).hexdigest()}")


def _may_move(verb: str, job: OpenJob) -> Condition:
    """The condition of every move."""
    # The race: a late or repeated message about a job that has moved on.
    allowed: Condition = JobItem.status.is_in(*MOVES[verb].sources)
    # The race: the same, once the job has come back to this status in a later attempt.
    condition: Condition = allowed & (JobItem.attempt == job.attempt)
    if JobStatus.LAUNCHING in MOVES[verb].sources:
        # The race: the same, once it has been claimed anew for this attempt. Only its own claim may be ended.
        claimed_at = JobItem.claimed_at
        condition &= claimed_at == job.claimed_at if job.claimed_at else claimed_at.does_not_exist()
    return condition


def _same_claim(job: OpenJob) -> Condition:
    """The condition of a change to a job that a launch has claimed, which is no move."""
    condition: Condition = (
        # The race: the job has moved on.
        (JobItem.status == JobStatus.LAUNCHING)
        # The race: the same, once it has been claimed for a later attempt.
        & (JobItem.attempt == job.attempt)
        # The race: the same, once it has been claimed anew for this attempt.
        & (JobItem.claimed_at == job.claimed_at)
    )
    return condition


def still_queued(request: LaunchRequest) -> Condition:
    """The condition of a change to a queued job that is no move."""
    condition: Condition = (
        # The race: the job was launched meanwhile, by another message about it.
        (JobItem.status == JobStatus.QUEUED)
        # The race: the same, once it has come back for a later attempt.
        & (JobItem.attempt == request.attempt)
    )
    return condition


def set_hold(hold: Hold | None) -> list[Action]:
    """Why the job did not move on: this, or nothing any more."""
    if hold is None:
        return [JobItem.hold_reason.remove(), JobItem.hold_detail.remove()]
    return [JobItem.hold_reason.set(hold.reason), JobItem.hold_detail.set(hold.detail)]


def _forget_launch() -> list[Action]:
    """Remove what only a job that is LAUNCHING has."""
    kept = (JobItem.lease_until, JobItem.intent, JobItem.answer_lost_at, JobItem.undecided_since)
    return [each.remove() for each in kept]


def _count_end(counts: Sequence[Action], now: datetime) -> list[Action]:
    """What the end of a job changes of its copy."""
    return [CopyItem.open_jobs.add(-1), *counts, CopyItem.settled_at.set(timestamp(now))]


def _not_stopped(copy_id: str, ica_project_id: str) -> Condition:
    """The condition that neither a pause nor a cancel keeps the job from being launched."""
    condition: Condition = ~SlotsItem.cancelled.contains(copy_id)
    for subject in pause_subjects(copy_id, ica_project_id):
        condition &= ~SlotsItem.paused.contains(subject)
    return condition


def _to(verb: str, actions: list[Action]) -> list[Action]:
    return [JobItem.status.set(MOVES[verb].target), *actions]


def _attempts_with(job: Job, ended: Attempt) -> Any:
    """The list of ended attempts with one more; the first to end starts it."""
    ended_map = attempt_map(job.sources, ended)
    return JobItem.attempts.append([ended_map]) if job.attempt > 1 else [ended_map]


def _of_project(ica_project_id: str) -> Path:
    """The attribute that counts a project's slots in use."""
    return Path([SLOTS_PREFIX + ica_project_id])


def _holder(job: OpenJob) -> str:
    """Those whose jobs may write side by side: one copy's jobs into one destination share no file."""
    return f"{job.copy_id} {job.destination}"


def _job_key(job: OpenJob) -> str:
    return f"{job.copy_id} {job.job_id}"


def _intent_map(intent: Intent) -> IntentMap:
    return IntentMap(**asdict(intent))
