"""Unwritten: ends a cancelled copy whose jobs were never all written.

Its ingest cannot be done again: the manifest is gone, or its message was lost. The jobs that were written end as those
of every cancelled copy do. Those that were not are counted off the copy's open jobs, so that it settles.

No ingest may write them meanwhile. After ``GIVEN_UP_AFTER`` none writes anything more of a cancelled copy, and one that
has begun before that, or before the cancel, has been ended by Lambda when the jobs are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from icav2_copy_batch.domain.job import Clock, Copy
from icav2_copy_batch.domain.spread import Spread
from icav2_copy_batch.ports import Table
from icav2_copy_batch.stages.cancel import MOST_AT_ONCE, end_jobs

GIVEN_UP_AFTER = timedelta(hours=3)
"""How long after its submission a cancelled copy may still be ingested. A message comes again for about an hour."""
INGEST_HAS_ENDED = timedelta(minutes=20)
"""So long after a moment each ingest that was under way at that moment has ended: Lambda ends it after 15 minutes."""

logger = logging.getLogger(__name__)


def is_given_up(copy: Copy, now: datetime) -> bool:
    """Whether what is not written of a copy is not to be written any more."""
    is_old = now - datetime.fromisoformat(copy.submitted_at) > GIVEN_UP_AFTER
    return copy.cancelled_at is not None and copy.ingested_at is None and is_old


@dataclass(frozen=True, kw_only=True)
class Unwritten:
    """Ends cancelled copies whose jobs were never all written."""

    table: Table
    clock: Clock
    spread: Spread
    count_cancelled: Callable[[int], None]

    def end(self) -> None:
        """End those of which no ingest is under way any more."""
        then = self.clock() - INGEST_HAS_ENDED
        for copy_id in self.table.unfinished_copies(then - GIVEN_UP_AFTER):
            try:
                copy = self.table.get_copy(copy_id)
                if copy and copy.cancelled_at and datetime.fromisoformat(copy.cancelled_at) < then:
                    self._end(copy)
            except Exception:
                logger.exception("cancelled copy not ended", extra={"copy_id": copy_id})

    def _end(self, copy: Copy) -> None:
        written = list(islice(self.table.unlaunched_jobs(copy.copy_id), MOST_AT_ONCE))
        end_jobs(self.table, written, self.clock(), self.spread, self.count_cancelled)
        if len(written) == MOST_AT_ONCE:
            return  # the next call goes on
        unwritten = copy.total_jobs - self.table.count_jobs(copy.copy_id)
        if self.table.count_unwritten(copy.copy_id, unwritten, self.clock()):
            self.count_cancelled(unwritten)
            logger.warning(
                "jobs that were never written are cancelled", extra={"copy_id": copy.copy_id, "jobs": unwritten}
            )
