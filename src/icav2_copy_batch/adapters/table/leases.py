"""What all functions share: leases, and the pace of calls to ICA."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from icav2_copy_batch.adapters.table.models import PACE_KEY, LeaseItem, Models, PaceItem
from icav2_copy_batch.adapters.table.writes import accepted
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.pace import Pace

PACE_KEPT = timedelta(days=1)
"""After this DynamoDB may remove the pace of calls to ICA, which is over long before."""


class Leases:
    def __init__(self, models: Models) -> None:
        self._models = models

    def hold_lease(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Take or keep the lease of that name; False while another owner holds it."""
        # The race: two that find the lease free at the same moment.
        free = LeaseItem.copy_id.does_not_exist() | (LeaseItem.until < timestamp(now)) | (LeaseItem.owner == owner)
        return accepted(lambda: self._models.lease(f"#{name}", owner=owner, until=timestamp(until)).save(free))

    def lease_until(self, name: str) -> str | None:
        """Until when the lease of that name was last taken."""
        try:
            return self._models.lease.get(f"#{name}", LeaseItem.item.default, consistent_read=True).until
        except self._models.lease.DoesNotExist:
            return None

    def drop_lease(self, name: str, owner: str) -> None:
        """Free the lease, if this owner still holds it."""
        # The race: the lease ran out, and another owner took it.
        accepted(lambda: self._models.lease(f"#{name}").delete(LeaseItem.owner == owner))

    def pace(self) -> Pace | None:
        """The pace of calls to ICA; None where ICA has not limited them for a day."""
        try:
            item = self._models.pace.get(*PACE_KEY, consistent_read=True)
        except self._models.pace.DoesNotExist:
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
        """Replace the pace that was ``seen``, None where there was none; False where another has replaced it."""
        item = self._models.pace(
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
        return accepted(lambda: item.save(as_seen))
