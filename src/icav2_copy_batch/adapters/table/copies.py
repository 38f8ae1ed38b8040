"""The items of copies: accepted, published, and waited for by Step Functions tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from icav2_copy_batch.adapters.table.models import (
    COPY_ITEM,
    WAITED_FOR_KEY,
    CopyItem,
    JobItem,
    Models,
    WaitedForItem,
    month_of,
)
from icav2_copy_batch.adapters.table.reads import read_items
from icav2_copy_batch.adapters.table.stops import write_pause
from icav2_copy_batch.adapters.table.writes import accepted, retried
from icav2_copy_batch.domain.job import (
    Copy,
    CopyStatus,
    OpenCopy,
    SubmittedCopy,
    timestamp,
)
from icav2_copy_batch.domain.stops import hold


class Copies:
    def __init__(self, models: Models) -> None:
        self._models = models

    def create_copy(self, copy: Copy) -> Copy | None:
        """Write a new copy's item, with its pause if it has one. Returns None, or the copy that has this id already."""
        item = self._models.copy(
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
            tags=dict(copy.tags) or None,
            paused_at=copy.paused_at,
            redrive_of=copy.redrive_of,
            listed=month_of(copy.submitted_at),
        )

        def write() -> None:
            # The race: the same submission delivered twice, or two submissions with one copy_id.
            new = CopyItem.copy_id.does_not_exist()
            if not (copy.task_tokens or copy.paused_at):
                item.save(new)
                return
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.save(item, new)
                if copy.task_tokens:
                    transaction.save(self._models.waited_for(item=copy.copy_id))
                if copy.paused_at:
                    write_pause(self._models, transaction, hold(copy.copy_id, copy.paused_at))

        return None if accepted(write) else self.get_copy(copy.copy_id)

    def mark_ingested(self, copy_id: str, now: datetime) -> None:
        """Note that all the copy's jobs and backlogs are written."""
        self._note(copy_id, CopyItem.ingested_at.set(timestamp(now)))

    def count_unwritten(self, copy_id: str, unwritten: int, now: datetime) -> bool:
        """Count so many jobs of a cancelled copy as cancelled, since they are not and never will be written.

        From now on it counts as ingested. False where it does already, or is not cancelled.
        """
        counts: list[Action] = [
            CopyItem.open_jobs.add(-unwritten),
            CopyItem.cancelled_jobs.add(unwritten),
            CopyItem.settled_at.set(timestamp(now)),
        ]
        condition = (
            # The race: two pollers that find the same copy.
            CopyItem.ingested_at.does_not_exist()
            # No race: a cancel is for good. Only of a cancelled copy no job is written any more.
            & CopyItem.cancelled_at.exists()
        )
        actions: list[Action] = [CopyItem.ingested_at.set(timestamp(now)), *(counts if unwritten else [])]
        return accepted(lambda: self._models.copy(copy_id).update(actions, condition))

    def add_task_token(self, copy_id: str, task_token: str) -> bool:
        """Add a task to those that are answered when the copy settles; False when it was published already."""
        # The race: the copy settles and is published meanwhile; nobody would answer this token.
        still_open = CopyItem.status == CopyStatus.OPEN

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(self._models.copy(copy_id), [CopyItem.task_tokens.add({task_token})], still_open)
                transaction.save(self._models.waited_for(item=copy_id))

        return accepted(write)

    def get_copy(self, copy_id: str) -> Copy | None:
        """A copy as it is now; None where there is no such copy."""
        try:
            return _copy(self._models.copy.get(copy_id, COPY_ITEM, consistent_read=True))
        except self._models.copy.DoesNotExist:
            return None

    def begin_publication(self, copy_id: str, now: datetime, until: datetime) -> Copy | None:
        """Claim the publication of a settled copy until a moment; None when it is not there to be claimed."""
        item = self._models.copy(copy_id)
        condition = (
            # The race: the job that would have been the last is not, or the copy is not there.
            (CopyItem.open_jobs == 0)
            # The race: a repeated stream record, or the poller after the stream.
            & (CopyItem.status == CopyStatus.OPEN)
            # The race: stream and poller at the same moment. A claim whose holder died runs out.
            & (CopyItem.publishing_until.does_not_exist() | (CopyItem.publishing_until < timestamp(now)))
        )
        actions: list[Action] = [CopyItem.publishing_until.set(timestamp(until))]
        return _copy(item) if accepted(lambda: item.update(actions, condition)) else None

    def abandon_publication(self, copy_id: str) -> None:
        """Give the claim back, since the publication failed: it may be tried again at once."""
        self._note(copy_id, CopyItem.publishing_until.remove())

    def mark_published(self, copy: Copy, now: datetime, unanswered: frozenset[str]) -> bool:
        """OPEN → COMPLETED, FAILED or CANCELLED; ``unanswered`` are the task tokens that are still to be answered.

        False when the copy's tokens are not those with which it was read.
        """
        tokens = CopyItem.task_tokens
        return accepted(
            lambda: self._models.copy(copy.copy_id).update(
                [
                    CopyItem.status.set(copy.settled_status),
                    CopyItem.published_at.set(timestamp(now)),
                    CopyItem.due_at.remove(),
                    CopyItem.publishing_until.remove(),
                    tokens.set(set(unanswered)) if unanswered else tokens.remove(),
                ],
                # The race: a submission of the same copy adds its task token meanwhile.
                (tokens == set(copy.task_tokens)) if copy.task_tokens else tokens.does_not_exist(),
            )
        )

    def copies_waited_for(self, beaten_before: datetime) -> list[str]:
        """Ids of the copies whose waiting tasks had no heartbeat since a moment, the longest without one first."""
        found = [
            (each.beaten_at or "", each.item)
            for each in self._models.waited_for.query(WAITED_FOR_KEY, consistent_read=True)
            if (each.beaten_at or "") < timestamp(beaten_before)
        ]
        return [copy_id for _, copy_id in sorted(found)]

    def note_heartbeat(self, copy_id: str, now: datetime) -> bool:
        """Note that the tasks that wait for a copy get a heartbeat now; False when none wait any more."""
        item = self._models.waited_for(item=copy_id)
        # The race: another poller has found that none wait any more, and removed the item: it is not to be made anew.
        return accepted(
            lambda: item.update([WaitedForItem.beaten_at.set(timestamp(now))], WaitedForItem.copy_id.exists())
        )

    def drop_task_token(self, copy_id: str, task_token: str) -> None:
        """Take away the token of a task that does not wait any more."""
        # No race: a token that is not there is taken away as well. The condition keeps this from making a copy.
        accepted(
            lambda: self._models.copy(copy_id).update(
                [CopyItem.task_tokens.delete({task_token})], CopyItem.copy_id.exists()
            )
        )

    def forget_waiting(self, copy_id: str) -> None:
        """Send no more heartbeats for a copy: it is published, and its tasks have their answers."""
        self._models.waited_for(item=copy_id).delete()

    def mark_delayed(self, copy_id: str, now: datetime) -> None:
        """Note that it was reported that the copy takes longer than it should."""
        self._note(copy_id, CopyItem.delayed_at.set(timestamp(now)))

    def mark_copy_redriven(self, copy_id: str, redriven_as: str) -> None:
        """Note the copy that copies what this one has not."""
        self._note(copy_id, CopyItem.redriven_as.add({redriven_as}))

    def open_copies(self) -> list[OpenCopy]:
        """The copies that are not published, the oldest first."""
        return [
            OpenCopy(item.copy_id, str(item.due_at), int(item.open_jobs or 0), item.settled_at)
            for item in self._models.job.due.query(CopyStatus.OPEN)
        ]

    def unfinished_copies(self, submitted_before: datetime) -> list[str]:
        """Ids of the copies that were submitted before a moment and whose jobs may not all be written."""
        unfinished = JobItem.ingested_at.does_not_exist()
        found = self._models.job.due.query(CopyStatus.OPEN, JobItem.due_at < timestamp(submitted_before), unfinished)
        return [item.copy_id for item in found]

    def submitted_copies(
        self, since: datetime, until: datetime, limit: int, before: SubmittedCopy | None = None
    ) -> list[SubmittedCopy]:
        """The copies submitted from one moment to another, the newest first, at most ``limit``.

        ``before`` is the last one of the page before: those that come after it.
        """
        first, last = timestamp(since), timestamp(until)
        start = None
        if before and before.submitted_at <= last:
            last, start = before.submitted_at, _index_key(before)
        found: list[SubmittedCopy] = []
        for month in _months(first, last):
            if len(found) < limit:
                items = self._models.copy.by_time.query(
                    month,
                    CopyItem.submitted_at.between(first, last),
                    scan_index_forward=False,
                    limit=limit - len(found),
                    last_evaluated_key=start,
                )
                found += map(_submitted, items)
            start = None
        return found

    def get_copies(self, copy_ids: Sequence[str]) -> list[Copy]:
        """The copies of these ids as they are now, in this order; without those that are not there."""
        keys = [_key(copy_id) for copy_id in dict.fromkeys(copy_ids)]
        read = map(self._models.copy.from_raw_data, read_items(self._models, keys))
        found = {item.copy_id: _copy(item) for item in read}
        return [found[copy_id] for copy_id in copy_ids if copy_id in found]

    def _note(self, copy_id: str, action: Action) -> None:
        """Change an attribute of a copy. Raises ``UpdateError`` where there is no such copy: this makes none."""
        item = self._models.copy(copy_id)
        retried(lambda: item.update([action], CopyItem.copy_id.exists()))


def _months(first: str, last: str) -> Iterator[str]:
    """The partitions of the index ``listed`` that hold these two timestamps and what is between, the last first."""
    day = datetime.fromisoformat(last)
    while first <= last and (month := month_of(timestamp(day))) >= month_of(first):
        yield month
        day = day.replace(day=1) - timedelta(days=1)


def _key(copy_id: str) -> dict[str, dict[str, str]]:
    return {"copy_id": {"S": copy_id}, "item": {"S": COPY_ITEM}}


def _index_key(copy: SubmittedCopy) -> dict[str, dict[str, str]]:
    """Where a copy stands in the index ``listed``."""
    at = copy.submitted_at
    return {**_key(copy.copy_id), "listed": {"S": month_of(at)}, "submitted_at": {"S": at}}


def _submitted(item: CopyItem) -> SubmittedCopy:
    return SubmittedCopy(
        copy_id=item.copy_id,
        submitted_at=item.submitted_at,
        total_jobs=int(item.total_jobs),
        tags=item.tags.as_dict() if item.tags else {},
        redrive_of=item.redrive_of,
    )


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
        cancelled_jobs=int(item.cancelled_jobs or 0),
        passed_bytes=int(item.passed_bytes or 0),
        status=CopyStatus(item.status),
        task_tokens=frozenset(item.task_tokens or ()),
        project_names=item.project_names.as_dict() if item.project_names else {},
        max_sources_per_job=None if item.max_sources_per_job is None else int(item.max_sources_per_job),
        ingested_at=item.ingested_at,
        settled_at=item.settled_at,
        published_at=item.published_at,
        delayed_at=item.delayed_at,
        paused_at=item.paused_at,
        resumed_at=item.resumed_at,
        cancelled_at=item.cancelled_at,
        tags=item.tags.as_dict() if item.tags else {},
        redrive_of=item.redrive_of,
        redriven_as=frozenset(item.redriven_as or ()),
    )
