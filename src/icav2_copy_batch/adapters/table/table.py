"""The copy table, through pynamodb: one item per copy, one per job, one write per move.

Keys: ``copy_id`` and ``item`` (``COPY`` or ``JOB#<job id>``). Sources that take more than some bytes have an item of
their own (``SOURCES#<job id>``), so that they are not written again, and paid for, with each move. The index ``due``
is sparse: it holds only what the poller has to look at (``due_at`` comes with a job's first launch message and goes
when the job ends or the copy is announced), so that no scan is ever needed, and what waits in a backlog is in no one's
way. What is looked at for all copies (backlogs, leases, the count of slots in use, the folders in use) has a key that
begins with ``#``.

A job that is LAUNCHING or RUNNING has a slot, and its destination folder to itself and its copy. Both are taken and
given back by the transaction that makes the job's move: they are right at every moment, whoever dies.

A refused condition is an expected answer (somebody else has moved it already): the method returns False or None. A
write that meets another transaction, or of which DynamoDB has too many at the moment, is made again for some seconds.
Every other error of DynamoDB propagates.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.connection import Connection
from pynamodb.exceptions import CancellationReason, DeleteError, PutError, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from icav2_copy_batch.domain.intent import Intent
from icav2_copy_batch.domain.job import (
    MOVES,
    Attempt,
    Claim,
    Copy,
    CopyStatus,
    Hold,
    Job,
    JobStatus,
    LaunchRequest,
    job_id_of,
    timestamp,
)
from icav2_copy_batch.domain.manifest import CopyOptions, PlannedJob
from icav2_copy_batch.domain.outage import Outcomes
from icav2_copy_batch.domain.pace import Pace
from icav2_copy_batch.domain.schedule import FOLDER_REST, Backlog, Slots, Waiting
from icav2_copy_batch.domain.uri import parse_uri

COPY_ITEM = "COPY"
JOB_PREFIX = "JOB#"
SOURCES_PREFIX = "SOURCES#"
MOST_SOURCES_BYTES = 256
"""Of packed sources in a job's own item: with more it would soon be larger than 1 KB, the unit that a write costs."""
BACKLOG_KEY = "#backlog"
WAITED_FOR_KEY = "#waited for"
SLOTS_KEY = ("#slots", "SLOTS")
SLOTS_PREFIX = "project "
PACE_KEY = ("#pace", "PACE")
PARALLEL_WRITES = 8
REFUSED = "ConditionalCheckFailed"
PASSING = frozenset(
    {
        # Another transaction is at work on one of the items.
        *("TransactionConflict", "TransactionConflictException", "TransactionInProgressException"),
        # More than a key or a table takes: 1,000 write units a second for one key, whatever is paid for.
        *("ThrottlingError", "ThrottlingException", "ProvisionedThroughputExceeded"),
        *("ProvisionedThroughputExceededException", "RequestLimitExceeded"),
    }
)
"""Why a write was not made that may be made a moment later: reasons to cancel a transaction, and errors of any request.

See "Transaction conflict handling" and "Error handling with DynamoDB" in the developer guide.
"""
LONGEST_TROUBLE_SECONDS = 20.0
"""For so long such a write is made again; then it is an error, and the message that asked for it comes again later.

botocore makes each request again by itself too, reads as well, but four times at most.
"""
LONGEST_WAIT_SECONDS = 2.0
PACE_KEPT = timedelta(days=1)
"""After which DynamoDB may remove the pace of calls to ICA, which is over long before."""
UNUSED_FOLDER_DAYS = 400
"""After which DynamoDB may remove the item of a folder that no job has claimed since."""


class DueIndex(GlobalSecondaryIndex["JobItem"]):
    """What is open, by status and by when it is due; with what the poller needs to decide on a job."""

    class Meta:
        index_name = "due"
        projection = IncludeProjection(
            [
                "job_id",
                "attempt",
                "destination",
                "queued_at",
                "claimed_at",
                "running_at",
                "ica_project_id",
                "ica_job_id",
                "ica_batch_id",
                "undecided_since",
                "held_up_by",
                "hold",
                "open_jobs",
                "settled_at",
                "ingested_at",
            ]
        )

    status = UnicodeAttribute(hash_key=True)
    due_at = UnicodeAttribute(range_key=True)


class AttemptMap(MapAttribute[str, Any]):
    number = NumberAttribute()
    outcome = UnicodeAttribute()
    ended_at = UnicodeAttribute()
    queued_at = UnicodeAttribute(null=True)
    claimed_at = UnicodeAttribute(null=True)
    running_at = UnicodeAttribute(null=True)
    ica_job_id = UnicodeAttribute(null=True)
    ica_batch_id = UnicodeAttribute(null=True)
    ica_created_at = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    packed_outcomes = BinaryAttribute(legacy_encoding=False, null=True)


class IntentMap(MapAttribute[str, Any]):
    asked_at = UnicodeAttribute()
    folder_id = UnicodeAttribute(null=True)
    count = NumberAttribute()
    digest = UnicodeAttribute()
    id_filter = BinaryAttribute(legacy_encoding=False)
    has_folders = BooleanAttribute()


class OptionsMap(MapAttribute[str, Any]):
    action_on_exist = UnicodeAttribute()
    copy_user_tags = BooleanAttribute()
    copy_technical_tags = BooleanAttribute()
    copy_instrument_info = BooleanAttribute()


class CopyItem(Model):
    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default=COPY_ITEM)
    status = UnicodeAttribute()
    due_at = UnicodeAttribute(null=True)
    digest = UnicodeAttribute()
    submitted_at = UnicodeAttribute()
    manifest_uri = UnicodeAttribute()
    total_jobs = NumberAttribute()
    open_jobs = NumberAttribute()
    passed_jobs = NumberAttribute()
    failed_jobs = NumberAttribute()
    task_tokens = UnicodeSetAttribute(null=True)
    project_names: MapAttribute[str, str] = MapAttribute(null=True)
    max_sources_per_job = NumberAttribute(null=True)
    ingested_at = UnicodeAttribute(null=True)
    settled_at = UnicodeAttribute(null=True)
    announcing_until = UnicodeAttribute(null=True)
    announced_at = UnicodeAttribute(null=True)
    delayed_at = UnicodeAttribute(null=True)


class JobItem(Model):
    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    job_id = UnicodeAttribute()
    status = UnicodeAttribute()
    due_at = UnicodeAttribute(null=True)
    attempt = NumberAttribute()
    destination = UnicodeAttribute()
    packed_sources = BinaryAttribute(legacy_encoding=False, null=True)
    copied = BinaryAttribute(legacy_encoding=False, null=True)
    batch_limit = NumberAttribute(null=True)
    options = OptionsMap(null=True)
    attempts = ListAttribute(of=AttemptMap, null=True)
    queued_at = UnicodeAttribute(null=True)
    claimed_at = UnicodeAttribute(null=True)
    running_at = UnicodeAttribute(null=True)
    ended_at = UnicodeAttribute(null=True)
    ica_project_id = UnicodeAttribute(null=True)
    ica_job_id = UnicodeAttribute(null=True)
    ica_batch_id = UnicodeAttribute(null=True)
    lease_until = UnicodeAttribute(null=True)
    intent = IntentMap(null=True)
    answer_lost_at = UnicodeAttribute(null=True)
    undecided_since = UnicodeAttribute(null=True)
    mismatch_since = UnicodeAttribute(null=True)
    verified_up_to = UnicodeAttribute(null=True)
    held_up_by = UnicodeAttribute(null=True)
    hold = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    open_jobs = NumberAttribute(null=True)  # of a copy's item, as read through the index; so are the next two
    settled_at = UnicodeAttribute(null=True)
    ingested_at = UnicodeAttribute(null=True)

    due = DueIndex()


class SourcesItem(Model):
    """The sources of a job that has many: written once."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    packed_sources = BinaryAttribute(legacy_encoding=False)


class LeaseItem(Model):
    """Who may do a thing of which there must be one at a time, and until when."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="LEASE")
    owner = UnicodeAttribute()
    until = UnicodeAttribute()


class SlotsItem(Model):
    """How many slots are in use: in all, and under each project's id (see ``_of_project``)."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True, default=SLOTS_KEY[0])
    item = UnicodeAttribute(range_key=True, default=SLOTS_KEY[1])
    in_use = NumberAttribute()


class WaitedForItem(Model):
    """That Step Functions tasks wait for a copy: by this the poller finds those to which it sends heartbeats."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True, default=WAITED_FOR_KEY)
    item = UnicodeAttribute(range_key=True)
    """The copy's id."""
    beaten_at = UnicodeAttribute(null=True)


class OutcomesItem(Model):
    """How the last attempts into a project have ended."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="OUTCOMES")
    recent = UnicodeAttribute()
    last_at = UnicodeAttribute()


class PaceItem(Model):
    """How fast ICA may be called by all together, once it has answered 429."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True, default=PACE_KEY[0])
    item = UnicodeAttribute(range_key=True, default=PACE_KEY[1])
    low = NumberAttribute()
    ceiling = NumberAttribute(null=True)
    answered = NumberAttribute()
    lowered_at = NumberAttribute()  # seconds since 1970, with more places than a timestamp has; so is the next
    next_at = NumberAttribute()
    serial = NumberAttribute()
    expires_at = NumberAttribute()


class FolderItem(Model):
    """A destination folder: whose jobs write into it, and which these are."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True, default="FOLDER")
    holder = UnicodeAttribute()
    jobs = UnicodeSetAttribute(null=True)
    left_at = UnicodeAttribute(null=True)
    """When a job last gave the folder back."""
    expires_at = NumberAttribute()


class BacklogItem(Model):
    """The jobs of a copy into one project that were never sent a launch message."""

    class Meta:
        table_name = "named by CopyTable"

    copy_id = UnicodeAttribute(hash_key=True, default=BACKLOG_KEY)
    item = UnicodeAttribute(range_key=True)
    of_copy = UnicodeAttribute()
    project = UnicodeAttribute()
    next_number = NumberAttribute()
    last_number = NumberAttribute()
    since = UnicodeAttribute()


class CopyTable:
    """Every read and write of the table that the product makes."""

    def __init__(self, table_name: str) -> None:
        for model in (CopyItem, JobItem, SourcesItem, BacklogItem, SlotsItem, FolderItem):
            model.Meta.table_name = table_name
        for other in (LeaseItem, WaitedForItem, OutcomesItem, PaceItem):
            other.Meta.table_name = table_name
        self._connection = Connection()

    # --- accepting a copy --------------------------------------------------------------------------------------------

    def create_copy(self, copy: Copy) -> Copy | None:
        """Write a new copy's item. Returns None, or the copy that has this id already."""
        item = CopyItem(
            copy.copy_id,
            status=copy.status,
            due_at=copy.submitted_at,
            digest=copy.digest,
            submitted_at=copy.submitted_at,
            manifest_uri=copy.manifest_uri,
            total_jobs=copy.total_jobs,
            open_jobs=copy.open_jobs,
            passed_jobs=copy.passed_jobs,
            failed_jobs=copy.failed_jobs,
            task_tokens=set(copy.task_tokens) or None,
            project_names=dict(copy.project_names) or None,
            max_sources_per_job=copy.max_sources_per_job,
        )

        def write() -> None:
            # The race: the same submission delivered twice, or two submissions with one copy_id.
            new = CopyItem.copy_id.does_not_exist()
            if not copy.task_tokens:
                item.save(new)
                return
            with TransactWrite(connection=self._connection) as transaction:
                transaction.save(item, new)
                transaction.save(WaitedForItem(item=copy.copy_id))

        return None if _accepted(write) else self.get_copy(copy.copy_id)

    def create_jobs(
        self,
        copy_id: str,
        planned: Sequence[PlannedJob],
        options: CopyOptions,
        now: datetime,
        first: int = 1,
    ) -> None:
        """Write the items of a copy's jobs, each unless it is there; ``first`` is the number of the first of these.

        They are QUEUED, and due only once they are taken from a backlog.
        """

        def create(numbered: tuple[int, PlannedJob]) -> None:
            number, plan = numbered
            job_id = job_id_of(number)
            inline = len(plan.packed_sources) <= MOST_SOURCES_BYTES
            if not inline:  # before the job, which must not be without
                sources = SourcesItem(copy_id, SOURCES_PREFIX + job_id, packed_sources=plan.packed_sources)
                # The race: a redelivered submission finds a job at work on its sources. It may have been planned
                # otherwise, since the parameters can have changed.
                _accepted(lambda: sources.save(SourcesItem.copy_id.does_not_exist()))
            item = JobItem(
                copy_id,
                JOB_PREFIX + job_id,
                job_id=job_id,
                status=JobStatus.QUEUED,
                attempt=1,
                destination=plan.destination,
                packed_sources=plan.packed_sources if inline else None,
                options=OptionsMap(**asdict(options)),
                queued_at=timestamp(now),
            )
            # The race: a redelivered submission finds jobs that were written, launched or ended before.
            _accepted(lambda: item.save(JobItem.copy_id.does_not_exist()))

        with ThreadPoolExecutor(PARALLEL_WRITES) as pool:
            list(pool.map(create, enumerate(planned, start=first)))

    def jobs_written(self, copy_id: str) -> int:
        """The number of the last of a copy's jobs that is in the table; 0 where none is."""
        last = JobItem.query(
            copy_id, JobItem.item.startswith(JOB_PREFIX), consistent_read=True, scan_index_forward=False, limit=1
        )
        return next((int(item.job_id) for item in last), 0)

    def create_backlogs(self, backlogs: Sequence[Backlog]) -> None:
        """Write the backlogs of a copy, whose jobs are all there; each unless it is there."""

        def create(backlog: Backlog) -> None:
            item = _backlog_item(backlog, next_number=backlog.next, last_number=backlog.last, since=backlog.since)
            # The race: a redelivered submission finds a backlog of which jobs have been taken.
            _accepted(lambda: item.save(BacklogItem.copy_id.does_not_exist()))

        with ThreadPoolExecutor(PARALLEL_WRITES) as pool:
            list(pool.map(create, backlogs))

    def mark_ingested(self, copy_id: str, now: datetime) -> None:
        """Note that all the copy's jobs and backlogs are written."""
        _retried(
            lambda: CopyItem(copy_id).update([CopyItem.ingested_at.set(timestamp(now))], CopyItem.copy_id.exists())
        )

    def add_task_token(self, copy_id: str, task_token: str) -> bool:
        """Have one more task answered when the copy settles; False when it was announced already."""
        # The race: the copy settles and is announced meanwhile; nobody would answer this token.
        still_open = CopyItem.status == CopyStatus.OPEN

        def write() -> None:
            with TransactWrite(connection=self._connection) as transaction:
                transaction.update(CopyItem(copy_id), [CopyItem.task_tokens.add({task_token})], still_open)
                transaction.save(WaitedForItem(item=copy_id))

        return _accepted(write)

    # --- the moves of a job, each named in MOVES ---------------------------------------------------------------------

    def claim_for_launch(
        self, job: Job, ica_project_id: str, now: datetime, lease_until: datetime, slots: Slots
    ) -> Claim:
        """QUEUED → LAUNCHING, with a slot and the destination folder."""
        actions: list[Action] = [
            JobItem.claimed_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(lease_until)),
            JobItem.lease_until.set(timestamp(lease_until)),
            JobItem.ica_project_id.set(ica_project_id),
            JobItem.held_up_by.remove(),
        ]
        taken = _of_project(ica_project_id)
        free = (
            # The race: launches that take the last slot at the same moment; in all, and into one project.
            (SlotsItem.in_use.does_not_exist() | (SlotsItem.in_use < slots.total))
            & (taken.does_not_exist() | (taken < slots.per_project))
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
            with TransactWrite(connection=self._connection) as transaction:
                transaction.update(_item_of(job), _to("claim_for_launch", actions), _may_move("claim_for_launch", job))
                transaction.update(SlotsItem(), [SlotsItem.in_use.add(1), taken.add(1)], free)
                transaction.update(
                    _folder_of(job, ica_project_id),
                    [
                        FolderItem.holder.set(_holder(job)),
                        FolderItem.jobs.add({_job_key(job)}),
                        FolderItem.expires_at.set(int(expires_at.timestamp())),
                    ],
                    ours,
                )

        try:
            _retried(write)
        except TransactWriteError as error:
            refused = [_code(reason) == REFUSED for reason in error.cancellation_reasons]
            if not any(refused):
                raise
            return (Claim.MOVED_ON, Claim.NO_SLOT, Claim.FOLDER_BUSY)[refused.index(True)]
        return Claim.CLAIMED

    def release(
        self, job: Job, now: datetime, due_at: datetime, held_up_by: str, batch_limit: int | None = None
    ) -> bool:
        """LAUNCHING → QUEUED, the same attempt: ICA has started nothing.

        With a ``batch_limit`` this was too large, and no copy batch of the job is to have more sources from now on.
        """
        actions: list[Action] = [
            JobItem.claimed_at.remove(),
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.held_up_by.set(held_up_by),
            *([JobItem.batch_limit.set(batch_limit)] if batch_limit else []),
            *_forget_launch(),
        ]
        return self._leave("release", job, now, actions)

    def mark_running(self, job: Job, ica_job_id: str, ica_batch_id: str, now: datetime, due_at: datetime) -> bool:
        """LAUNCHING → RUNNING: ICA has started this copy batch."""
        actions: list[Action] = [
            JobItem.running_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.ica_job_id.set(ica_job_id),
            JobItem.ica_batch_id.set(ica_batch_id),
            JobItem.held_up_by.remove(),
            *_forget_launch(),
        ]
        item, moves = _item_of(job), _to("mark_running", actions)
        return _accepted(lambda: item.update(moves, _may_move("mark_running", job)))

    def requeue(
        self, job: Job, ended: Attempt, copied: bytes, now: datetime, due_at: datetime, hold: Hold | None = None
    ) -> bool:
        """RUNNING → QUEUED, the next attempt: this one failed, or copied a part; ``copied`` says which sources are.

        With a ``hold`` it gets its launch message only when it is due.
        """
        actions: list[Action] = [
            JobItem.attempt.set(job.attempt + 1),
            JobItem.attempts.set(_attempts_with(job, ended)),
            JobItem.copied.set(copied) if copied else JobItem.copied.remove(),
            JobItem.queued_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            *([JobItem.hold.set(hold)] if hold else []),
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
        return self._end("mark_passed", job, ended, now, CopyItem.passed_jobs)

    def give_up(self, job: Job, ended: Attempt, now: datetime) -> bool:
        """LAUNCHING or RUNNING → FAILED with the attempt's reason, and one open job less."""
        return self._end("give_up", job, ended, now, CopyItem.failed_jobs)

    def _end(self, verb: str, job: Job, ended: Attempt, now: datetime, counter: NumberAttribute) -> bool:
        """End a job and count it, in one transaction: the count of open jobs is right at every moment."""
        job_actions: list[Action] = [
            JobItem.ended_at.set(timestamp(now)),
            JobItem.attempts.set(_attempts_with(job, ended)),
            JobItem.due_at.remove(),
            *([JobItem.reason.set(ended.reason)] if ended.reason else []),
            *_forget_launch(),
        ]
        copy_actions: list[Action] = [
            CopyItem.open_jobs.add(-1),
            counter.add(1),
            CopyItem.settled_at.set(timestamp(now)),
        ]
        return self._leave(verb, job, now, job_actions, copy_actions)

    def _leave(
        self, verb: str, job: Job, now: datetime, actions: list[Action], copy_actions: Sequence[Action] = ()
    ) -> bool:
        """A move out of LAUNCHING or RUNNING: with it go the job's slot and its claim on the folder."""
        project_id = job.ica_project_id or ""
        folder_actions: list[Action] = [FolderItem.jobs.delete({_job_key(job)}), FolderItem.left_at.set(timestamp(now))]

        def write() -> None:
            with TransactWrite(connection=self._connection) as transaction:
                transaction.update(_item_of(job), _to(verb, actions), _may_move(verb, job))
                transaction.update(SlotsItem(), [SlotsItem.in_use.add(-1), _of_project(project_id).add(-1)])
                transaction.update(_folder_of(job, project_id), folder_actions)
                if copy_actions:
                    # A copy that has no open job has nothing left to count: never below zero.
                    transaction.update(CopyItem(job.copy_id, COPY_ITEM), [*copy_actions], CopyItem.open_jobs > 0)

        return _accepted(write)

    def wait(self, request: LaunchRequest, due_at: datetime, held_up_by: str) -> bool:
        """No move: the launch message of a queued job is used up, and the poller sends another when it is due."""
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at)), JobItem.held_up_by.set(held_up_by)]
        return _accepted(lambda: _item_of(request).update(actions, _still_queued(request)))

    def mark_sent(self, waiting: Waiting, now: datetime, due_at: datetime) -> bool:
        """No move: a launch message for a queued job is about to be sent, which is taken to be lost by ``due_at``."""
        request = waiting.request
        # The race: two that find the same job waiting; one of them is to send.
        as_seen = JobItem.due_at == waiting.due_at if waiting.due_at else JobItem.due_at.does_not_exist()
        actions: list[Action] = [
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.held_up_by.remove(),
            JobItem.hold.remove(),
        ]
        if waiting.waited_for_a_slot:
            actions.append(JobItem.queued_at.set(timestamp(now)))
        return _accepted(lambda: _item_of(request).update(actions, _still_queued(request) & as_seen))

    def shorten_backlog(self, backlog: Backlog, to: int) -> None:
        """Take the jobs before the number ``to`` from a backlog; one that is empty is removed."""
        item = _backlog_item(backlog)
        if to > backlog.last:
            _retried(item.delete)
            return
        # The race: two that take from it at once; who is late puts nothing back, and makes no backlog that is gone.
        _accepted(lambda: item.update([BacklogItem.next_number.set(to)], BacklogItem.next_number < to))

    def postpone(self, job: Job, due_at: datetime, held_up_by: str | None = None) -> bool:
        """No move: the poller looks at the job again at another moment."""
        condition = (
            # The race: the job moves on, and with it what is due.
            (JobItem.status == job.status)
            & (JobItem.attempt == job.attempt)
            # The race: two pollers that find the same job overdue; one of them is to see to it.
            & (JobItem.due_at == job.due_at)
        )
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at))]
        if held_up_by:
            actions.append(JobItem.held_up_by.set(held_up_by))
        return _accepted(lambda: _item_of(job).update(actions, condition))

    def record_intent(self, job: Job, intent: Intent, due_at: datetime) -> bool:
        """No move: a launch is about to ask ICA for this. False when the claim is not its own any more: it must not.

        From ``due_at`` on it is searched for in ICA.
        """
        actions: list[Action] = [
            JobItem.intent.set(_intent_map(intent)),
            JobItem.due_at.set(timestamp(due_at)),
        ]
        return _accepted(lambda: _item_of(job).update(actions, _same_claim(job)))

    def mark_answer_lost(self, job: Job, now: datetime, due_at: datetime, held_up_by: str) -> bool:
        """No move: the launch has given up waiting for ICA's answer, and asks for nothing more."""
        actions: list[Action] = [
            JobItem.answer_lost_at.set(timestamp(now)),
            JobItem.due_at.set(timestamp(due_at)),
            JobItem.held_up_by.set(held_up_by),
        ]
        return _accepted(lambda: _item_of(job).update(actions, _same_claim(job)))

    def mark_undecided(self, job: Job, now: datetime, held_up_by: str) -> bool:
        """No move: nobody can tell whether ICA has started a copy batch for the job. The first such moment is kept."""
        actions: list[Action] = [
            JobItem.undecided_since.set(JobItem.undecided_since | timestamp(now)),
            JobItem.held_up_by.set(held_up_by),
        ]
        return _accepted(lambda: _item_of(job).update(actions, _same_claim(job)))

    def note_comparison(
        self, job: Job, due_at: datetime, mismatch_since: datetime | None = None, verified_up_to: str | None = None
    ) -> bool:
        """No move: a running job's files are looked at again, since they are not all as they should be, or compared.

        Of the moments since when they were not, the first is kept.
        """
        condition = (
            # The race: the job has moved on.
            (JobItem.status == JobStatus.RUNNING)
            # The race: the same, once it runs in a later attempt, of which nothing is compared yet.
            & (JobItem.attempt == job.attempt)
        )
        actions: list[Action] = [JobItem.due_at.set(timestamp(due_at))]
        if mismatch_since:
            # The race: two that look at the same moment. The earlier look counts.
            actions.append(JobItem.mismatch_since.set(JobItem.mismatch_since | timestamp(mismatch_since)))
        if verified_up_to:
            actions.append(JobItem.verified_up_to.set(verified_up_to))
        return _accepted(lambda: _item_of(job).update(actions, condition))

    # --- announcing a settled copy -----------------------------------------------------------------------------------

    def begin_announcement(self, copy_id: str, now: datetime, until: datetime) -> Copy | None:
        """Claim the announcement of a settled copy until a moment; None when it is not there to be claimed."""
        item = CopyItem(copy_id)
        condition = (
            # The race: the job that would have been the last is not, or the copy is not there.
            (CopyItem.open_jobs == 0)
            # The race: a repeated stream record, or the poller after the stream.
            & (CopyItem.status == CopyStatus.OPEN)
            # The race: stream and poller at the same moment. A claim whose holder died runs out.
            & (CopyItem.announcing_until.does_not_exist() | (CopyItem.announcing_until < timestamp(now)))
        )
        actions: list[Action] = [CopyItem.announcing_until.set(timestamp(until))]
        return _copy(item) if _accepted(lambda: item.update(actions, condition)) else None

    def abandon_announcement(self, copy_id: str) -> None:
        """Give the claim back, since the announcement failed: it may be tried again at once."""
        _retried(lambda: CopyItem(copy_id).update([CopyItem.announcing_until.remove()], CopyItem.copy_id.exists()))

    def mark_announced(self, copy: Copy, now: datetime, unanswered: frozenset[str]) -> bool:
        """OPEN → COMPLETED or FAILED, with the task tokens that are to be answered yet.

        False when the copy's tokens are not those with which it was read.
        """
        tokens = CopyItem.task_tokens
        return _accepted(
            lambda: CopyItem(copy.copy_id).update(
                [
                    CopyItem.status.set(copy.settled_status),
                    CopyItem.announced_at.set(timestamp(now)),
                    CopyItem.due_at.remove(),
                    CopyItem.announcing_until.remove(),
                    tokens.set(set(unanswered)) if unanswered else tokens.remove(),
                ],
                # The race: a submission of the same copy adds its task token meanwhile.
                (tokens == set(copy.task_tokens)) if copy.task_tokens else tokens.does_not_exist(),
            )
        )

    # --- tasks that wait for a copy ----------------------------------------------------------------------------------

    def copies_waited_for(self, beaten_before: datetime) -> list[str]:
        """Ids of the copies for which tasks wait that had no heartbeat since; those that have waited longest first."""
        found = [
            (each.beaten_at or "", each.item)
            for each in WaitedForItem.query(WAITED_FOR_KEY, consistent_read=True)
            if (each.beaten_at or "") < timestamp(beaten_before)
        ]
        return [copy_id for _, copy_id in sorted(found)]

    def note_heartbeat(self, copy_id: str, now: datetime) -> bool:
        """Note that the tasks that wait for a copy are about to be seen to; False when none do any more."""
        item = WaitedForItem(item=copy_id)
        # The race: another poller has seen to them, and forgotten them: nothing is to be put back.
        return _accepted(
            lambda: item.update([WaitedForItem.beaten_at.set(timestamp(now))], WaitedForItem.copy_id.exists())
        )

    def drop_task_token(self, copy_id: str, task_token: str) -> None:
        """Take away the token of a task that does not wait any more."""
        # The race: none; a token that is not there is taken away as well. Only no copy is to be made by it.
        _accepted(
            lambda: CopyItem(copy_id).update([CopyItem.task_tokens.delete({task_token})], CopyItem.copy_id.exists())
        )

    def forget_waiting(self, copy_id: str) -> None:
        """Look no more for tasks that wait for a copy: it is announced, so that no token comes in any more."""
        WaitedForItem(item=copy_id).delete()

    def mark_delayed(self, copy_id: str, now: datetime) -> None:
        """Note that it was said that the copy takes longer than it should."""
        _retried(lambda: CopyItem(copy_id).update([CopyItem.delayed_at.set(timestamp(now))], CopyItem.copy_id.exists()))

    # --- reading -----------------------------------------------------------------------------------------------------

    def get_copy(self, copy_id: str) -> Copy | None:
        try:
            return _copy(CopyItem.get(copy_id, COPY_ITEM, consistent_read=True))
        except CopyItem.DoesNotExist:
            return None

    def get_job(self, copy_id: str, job_id: str) -> Job | None:
        try:
            item = JobItem.get(copy_id, JOB_PREFIX + job_id, consistent_read=True)
        except JobItem.DoesNotExist:
            return None
        if item.packed_sources is None:
            item.packed_sources = SourcesItem.get(copy_id, SOURCES_PREFIX + job_id, consistent_read=True).packed_sources
        return _job(item)

    def jobs(self, copy_id: str) -> Iterator[Job]:
        """All jobs of a copy, in order."""
        jobs = JobItem.query(copy_id, JobItem.item.startswith(JOB_PREFIX), consistent_read=True)
        sources = SourcesItem.query(copy_id, SourcesItem.item.startswith(SOURCES_PREFIX), consistent_read=True)
        for item in jobs:
            if item.packed_sources is None:  # both come in the order of the jobs
                own = SOURCES_PREFIX + item.job_id
                item.packed_sources = next(each.packed_sources for each in sources if each.item == own)
            yield _job(item)

    def jobs_in(self, status: JobStatus, due_before: datetime | None = None) -> list[Job]:
        """Open jobs of a status, by way of the index: without sources, options and past attempts."""
        condition = JobItem.due_at < timestamp(due_before) if due_before else None
        return [_job(item) for item in JobItem.due.query(status, condition)]

    def backlogs(self) -> list[Backlog]:
        """All backlogs that are not empty, the oldest first."""
        found = [
            Backlog(each.of_copy, each.project, int(each.next_number), int(each.last_number), each.since)
            for each in BacklogItem.query(BACKLOG_KEY, consistent_read=True)
        ]
        return sorted(found, key=lambda backlog: backlog.since)

    def unannounced_copies(self, settled_before: datetime) -> list[str]:
        """Ids of the copies that settled before a moment and are not announced."""
        settled = (JobItem.open_jobs == 0) & (JobItem.settled_at < timestamp(settled_before))
        return [item.copy_id for item in JobItem.due.query(CopyStatus.OPEN, filter_condition=settled)]

    def unfinished_copies(self, submitted_before: datetime) -> list[str]:
        """Ids of the copies that were submitted before a moment and whose jobs may not all be written."""
        unfinished = JobItem.ingested_at.does_not_exist()
        found = JobItem.due.query(CopyStatus.OPEN, JobItem.due_at < timestamp(submitted_before), unfinished)
        return [item.copy_id for item in found]

    def slots_in_use(self) -> Counter[str]:
        """How many slots are in use, by ICA project id; a moment later it may be otherwise."""
        key = {"copy_id": {"S": SLOTS_KEY[0]}, "item": {"S": SLOTS_KEY[1]}}
        client: Any = self._connection.client
        answer = client.get_item(TableName=SlotsItem.Meta.table_name, Key=key)
        counts = {name: int(value["N"]) for name, value in answer.get("Item", {}).items() if "N" in value}
        return Counter(
            {name.removeprefix(SLOTS_PREFIX): count for name, count in counts.items() if name.startswith(SLOTS_PREFIX)}
        )

    # --- how attempts end --------------------------------------------------------------------------------------------

    def outcomes(self, project_id: str) -> Outcomes:
        """How the last attempts into an ICA project have ended."""
        try:
            item = OutcomesItem.get(f"#outcomes {project_id}", OutcomesItem.item.default, consistent_read=True)
        except OutcomesItem.DoesNotExist:
            return Outcomes()
        return Outcomes(item.recent, item.last_at)

    def replace_outcomes(self, project_id: str, seen: Outcomes, outcomes: Outcomes) -> bool:
        """Keep these in place of those that were ``seen``; False where these are not there any more."""
        item = OutcomesItem(f"#outcomes {project_id}", recent=outcomes.recent, last_at=outcomes.last_at)
        # The race: two looks that add to the same outcomes at once; those of the one would be lost.
        as_seen = OutcomesItem.last_at.does_not_exist()
        if seen.last_at:
            as_seen = (OutcomesItem.last_at == seen.last_at) & (OutcomesItem.recent == seen.recent)
        return _accepted(lambda: item.save(as_seen))

    # --- one at a time -----------------------------------------------------------------------------------------------

    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Take or keep the lease of that name; False while another owner holds it."""
        free = LeaseItem.copy_id.does_not_exist() | (LeaseItem.until < timestamp(now)) | (LeaseItem.owner == owner)
        return _accepted(lambda: LeaseItem(f"#{name}", owner=owner, until=timestamp(until)).save(free))

    def lease_until(self, name: str) -> str | None:
        """Until when the lease of that name was last taken."""
        try:
            return LeaseItem.get(f"#{name}", LeaseItem.item.default, consistent_read=True).until
        except LeaseItem.DoesNotExist:
            return None

    def drop_lease(self, name: str, owner: str) -> None:
        """Free the lease, if this owner still holds it."""
        _accepted(lambda: LeaseItem(f"#{name}").delete(LeaseItem.owner == owner))

    # --- how fast ICA may be called ----------------------------------------------------------------------------------

    def pace(self) -> Pace | None:
        """What was last written of it; None where ICA has never limited calls, or long ago."""
        try:
            item = PaceItem.get(*PACE_KEY, consistent_read=True)
        except PaceItem.DoesNotExist:
            return None
        return Pace(
            low=float(item.low),
            ceiling=None if item.ceiling is None else float(item.ceiling),
            answered=int(item.answered),
            lowered_at=datetime.fromtimestamp(item.lowered_at, UTC),
            next_at=datetime.fromtimestamp(item.next_at, UTC),
            serial=int(item.serial),
        )

    def write_pace(self, pace: Pace, seen: Pace | None) -> bool:
        """Write it anew; False where it is not any more what was ``seen``, None if there was none."""
        item = PaceItem(
            low=pace.low,
            ceiling=pace.ceiling,
            answered=pace.answered,
            lowered_at=pace.lowered_at.timestamp(),
            next_at=pace.next_at.timestamp(),
            serial=pace.serial,
            expires_at=int((pace.lowered_at + PACE_KEPT).timestamp()),
        )
        # The race: two that take the same moments to call at, or lower the rate for the same reason.
        as_seen = PaceItem.serial == seen.serial if seen else PaceItem.serial.does_not_exist()
        return _accepted(lambda: item.save(as_seen))


def _may_move(verb: str, job: Job) -> Condition:
    """The condition of every move."""
    # The race: a late or repeated message about a job that has moved on.
    allowed: Condition = JobItem.status.is_in(*MOVES[verb].sources)
    # The race: the same, once the job has come back to this status in a later attempt.
    condition: Condition = allowed & (JobItem.attempt == job.attempt)
    if JobStatus.LAUNCHING in MOVES[verb].sources:
        # The race: the same, once it has been claimed anew for this attempt. Only its own claim may be ended.
        condition &= JobItem.claimed_at == job.claimed_at
    return condition


def _same_claim(job: Job) -> Condition:
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


def _forget_launch() -> list[Action]:
    """What is kept of a launch is of no use once its job has left LAUNCHING."""
    kept = (JobItem.lease_until, JobItem.intent, JobItem.answer_lost_at, JobItem.undecided_since)
    return [each.remove() for each in kept]


def _to(verb: str, actions: list[Action]) -> list[Action]:
    return [JobItem.status.set(MOVES[verb].target), *actions]


def _attempts_with(job: Job, ended: Attempt) -> Any:
    """The list of ended attempts with one more; the first to end starts it."""
    return JobItem.attempts.append([_attempt_map(ended)]) if job.attempt > 1 else [_attempt_map(ended)]


def _of_project(ica_project_id: str) -> Path:
    """The attribute that counts a project's slots in use."""
    return Path([SLOTS_PREFIX + ica_project_id])


def _holder(job: Job) -> str:
    """Whose jobs share no file: those of one copy into one destination."""
    return f"{job.copy_id} {job.destination}"


def _folder_of(job: Job, ica_project_id: str) -> FolderItem:
    folder = f"{ica_project_id}{parse_uri(job.destination).path}"
    return FolderItem(f"#folder {hashlib.sha256(folder.encode()).hexdigest()}")  # a key has 2048 bytes at most


def _job_key(job: Job) -> str:
    return f"{job.copy_id} {job.job_id}"


def _accepted(write: Callable[[], object]) -> bool:
    """Do one conditional write: True when done, False when its condition was refused."""
    try:
        _retried(write)
    except (PutError, UpdateError, DeleteError) as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    except TransactWriteError as error:
        if REFUSED not in map(_code, error.cancellation_reasons):
            raise
        return False
    return True


def _retried(write: Callable[[], object]) -> None:
    """Make a write again while the reason why it was not made may pass, with full jitter: many jobs move at once."""
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_random_exponential(multiplier=0.05, max=LONGEST_WAIT_SECONDS),
        stop=stop_after_delay(LONGEST_TROUBLE_SECONDS),
        reraise=True,
    )
    retrying(write)


def _may_pass(error: BaseException) -> bool:
    """Whether a write failed for a reason of the moment. A condition that was refused beside that is an answer."""
    if not isinstance(error, PutError | UpdateError | DeleteError | TransactWriteError):
        return False
    reasons = list(map(_code, error.cancellation_reasons)) if isinstance(error, TransactWriteError) else []
    return REFUSED not in reasons and not PASSING.isdisjoint([error.cause_response_code, *reasons])


def _code(reason: CancellationReason | None) -> str | None:
    return reason.code if reason else None


def _still_queued(request: LaunchRequest) -> Condition:
    """The condition of a change to a queued job that is no move."""
    condition: Condition = (
        # The race: the job was launched meanwhile, by another message about it.
        (JobItem.status == JobStatus.QUEUED)
        # The race: the same, once it has come back for a later attempt.
        & (JobItem.attempt == request.attempt)
    )
    return condition


def _item_of(job: Job | LaunchRequest) -> JobItem:
    return JobItem(job.copy_id, JOB_PREFIX + job.job_id)


def _backlog_item(backlog: Backlog, **attributes: Any) -> BacklogItem:
    key = f"{backlog.copy_id} {job_id_of(backlog.last)}"
    return BacklogItem(item=key, of_copy=backlog.copy_id, project=backlog.project, **attributes)


def _intent_map(intent: Intent) -> IntentMap:
    return IntentMap(**asdict(intent))


def _intent(item: IntentMap) -> Intent:
    held = item.as_dict()
    return Intent(**{**held, "folder_id": held.get("folder_id"), "count": int(held["count"])})


def _attempt_map(attempt: Attempt) -> AttemptMap:
    return AttemptMap(**{**asdict(attempt), "packed_outcomes": attempt.packed_outcomes or None})


def _copy(item: CopyItem) -> Copy:
    return Copy(
        copy_id=item.copy_id,
        digest=item.digest,
        submitted_at=item.submitted_at,
        total_jobs=int(item.total_jobs),
        open_jobs=int(item.open_jobs),
        manifest_uri=item.manifest_uri,
        passed_jobs=int(item.passed_jobs),
        failed_jobs=int(item.failed_jobs),
        status=CopyStatus(item.status),
        task_tokens=frozenset(item.task_tokens or ()),
        project_names=item.project_names.as_dict() if item.project_names else {},
        max_sources_per_job=None if item.max_sources_per_job is None else int(item.max_sources_per_job),
        ingested_at=item.ingested_at,
        settled_at=item.settled_at,
        delayed_at=item.delayed_at,
    )


def _job(item: JobItem) -> Job:
    return Job(
        copy_id=item.copy_id,
        job_id=item.job_id,
        status=JobStatus(item.status),
        attempt=int(item.attempt),
        destination=item.destination,
        packed_sources=item.packed_sources or b"",
        copied=item.copied or b"",
        batch_limit=None if item.batch_limit is None else int(item.batch_limit),
        options=CopyOptions(**item.options.as_dict()) if item.options else CopyOptions(),
        attempts=tuple(_attempt(each) for each in item.attempts or ()),
        queued_at=item.queued_at,
        claimed_at=item.claimed_at,
        running_at=item.running_at,
        ended_at=item.ended_at,
        due_at=item.due_at,
        ica_project_id=item.ica_project_id,
        ica_job_id=item.ica_job_id,
        ica_batch_id=item.ica_batch_id,
        lease_until=item.lease_until,
        intent=_intent(item.intent) if item.intent else None,
        answer_lost_at=item.answer_lost_at,
        undecided_since=item.undecided_since,
        mismatch_since=item.mismatch_since,
        verified_up_to=item.verified_up_to,
        held_up_by=item.held_up_by,
        hold=Hold(item.hold) if item.hold else None,
        reason=item.reason,
    )


def _attempt(item: AttemptMap) -> Attempt:
    kept = {name: value for name, value in item.as_dict().items() if value is not None}
    return Attempt(**{**kept, "number": int(item.number)})
