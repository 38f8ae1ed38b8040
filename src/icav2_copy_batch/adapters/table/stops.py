"""What is not to be launched: pauses, and cancelled copies of which jobs may still be open."""

from __future__ import annotations

from datetime import datetime

from pynamodb.exceptions import DoesNotExist
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from icav2_copy_batch.adapters.table.models import PAUSED_KEY, SLOTS_KEY, CopyItem, Models, PausedItem, SlotsItem
from icav2_copy_batch.adapters.table.writes import accepted, retried
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.stops import Paused, Stops


class Stopping:
    """Pauses and cancels. A claim that comes after one is refused: see ``claim_for_launch``."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def stops(self) -> Stops:
        """All that is not to be launched now."""
        return read_stops(self._models)

    def pauses(self) -> list[Paused]:
        """All pauses, with who has made them and why."""
        found = self._models.paused.query(PAUSED_KEY, consistent_read=True)
        return [Paused(each.item, each.since, each.by, each.reason) for each in found if not each.resumed_at]

    def resumed(self) -> dict[str, str]:
        """When the last pause of each project, and of everything, was ended; none of those that are paused again.

        Of a copy its own item says so.
        """
        found = self._models.paused.query(PAUSED_KEY, consistent_read=True)
        return {each.item: each.resumed_at for each in found if each.resumed_at}

    def pause(self, pause: Paused, copy_id: str | None = None) -> bool:
        """Pause a subject: ``copy_id``, where it is a copy. False where that copy is not there, or has settled.

        A subject that is paused already is paused for the reason given last.
        """

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                write_pause(self._models, transaction, pause)
                if copy_id:
                    # The race: the copy settles meanwhile. Whoever publishes it may not see this pause, and end it.
                    transaction.update(
                        self._models.copy(copy_id), [CopyItem.paused_at.set(pause.since)], CopyItem.open_jobs > 0
                    )

        return accepted(write)

    def resume(self, subject: str, now: datetime, copy_id: str | None = None) -> bool:
        """End a pause: of ``copy_id``, where its subject is a copy. False where there is no such pause."""
        item, resumed_at = self._models.paused(item=subject), timestamp(now)
        # The race: another has ended it. What has waited since then is not to seem paused until now.
        is_paused = PausedItem.since.exists() & PausedItem.resumed_at.does_not_exist()

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(self._models.slots(), [SlotsItem.paused.delete({subject})])
                if copy_id is None:
                    transaction.update(item, [PausedItem.resumed_at.set(resumed_at)], is_paused)
                    return
                transaction.delete(item, is_paused)
                actions: list[Action] = [CopyItem.paused_at.remove(), CopyItem.resumed_at.set(resumed_at)]
                # No race: an update would make a copy that is not there.
                transaction.update(self._models.copy(copy_id), actions, CopyItem.copy_id.exists())

        return accepted(write)

    def mark_cancelled(self, copy_id: str, now: datetime) -> bool:
        """Cancel a copy: none of its jobs is claimed from now on. False where it is not there, or has settled.

        A copy that is cancelled already stays so.
        """
        cancelled_at = CopyItem.cancelled_at

        def write() -> None:
            with TransactWrite(connection=self._models.connection) as transaction:
                transaction.update(
                    self._models.copy(copy_id),
                    [cancelled_at.set(cancelled_at | timestamp(now))],
                    # The race: the copy settles meanwhile. There is nothing left to cancel.
                    CopyItem.open_jobs > 0,
                )
                transaction.update(self._models.slots(), [SlotsItem.cancelled.add({copy_id})])

        return accepted(write)

    def forget_cancelled(self, copy_id: str) -> None:
        """Note that no job of a cancelled copy is open any more."""
        retried(lambda: self._models.slots().update([SlotsItem.cancelled.delete({copy_id})]))


def write_pause(models: Models, transaction: TransactWrite, pause: Paused) -> None:
    """Pause a subject in this transaction."""
    transaction.save(models.paused(item=pause.subject, since=pause.since, by=pause.by, reason=pause.reason))
    transaction.update(models.slots(), [SlotsItem.paused.add({pause.subject})])


def read_stops(models: Models) -> Stops:
    """All that is not to be launched now, read consistently."""
    try:
        item = models.slots.get(*SLOTS_KEY, consistent_read=True, attributes_to_get=["paused", "cancelled"])
    except DoesNotExist:
        return Stops()
    return Stops(frozenset(item.paused or ()), frozenset(item.cancelled or ()))
