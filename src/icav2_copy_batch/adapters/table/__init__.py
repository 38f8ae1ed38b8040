"""The copy table, through pynamodb: one item per copy, one per job, one write per move.

Keys: ``copy_id`` and ``item`` (``COPY`` or ``JOB#<job id>``). A job with many sources keeps them in another item
(``SOURCES#<job id>``), so that its moves do not write them again, and pay for them. What all copies share (backlogs,
leases, slots in use, folders in use) has a key that begins with ``#``.

Two sparse indexes spare every scan. ``due`` holds what the poller has to see: ``due_at`` comes with a job's first
launch message and goes when the job ends or the copy is published, so that a backlog of any length is in no one's way.
``listed`` holds copies by when they were submitted, with nothing that changes later: it is written once a copy.

A job that is LAUNCHING or RUNNING has a slot, and its destination folder to itself and its copy. The transaction that
makes the job's move takes or gives back both: they are right at every moment, whoever dies.

A refused condition is an expected answer, since somebody else has moved the item: the method returns False or None. A
write that meets another transaction, or that DynamoDB throttles, is made again for some seconds. Every other error of
DynamoDB propagates.
"""

from __future__ import annotations

from icav2_copy_batch.adapters.table.copies import Copies
from icav2_copy_batch.adapters.table.jobs import Jobs
from icav2_copy_batch.adapters.table.leases import Leases
from icav2_copy_batch.adapters.table.models import Models
from icav2_copy_batch.adapters.table.moves import Moves
from icav2_copy_batch.adapters.table.schedule import Schedule
from icav2_copy_batch.adapters.table.stops import Stopping


class CopyTable(Copies, Jobs, Moves, Schedule, Stopping, Leases):
    """Every read and write of the table that the product makes."""

    def __init__(self, table_name: str) -> None:
        super().__init__(Models(table_name))
