"""The copy table, through pynamodb: one item per copy, one per job, one write per move.

Keys: ``copy_id`` and ``item`` (``COPY`` or ``JOB#<job id>``). Sources that take more than some bytes have an item of
their own (``SOURCES#<job id>``), so that they are not written again, and paid for, with each move. The index ``due``
is sparse: it holds only what the poller has to look at (``due_at`` comes with a job's first launch message and goes
when the job ends or the copy is published), so that no scan is ever needed, and what waits in a backlog is in no one's
way. What is looked at for all copies (backlogs, leases, the count of slots in use, the folders in use) has a key that
begins with ``#``.

A job that is LAUNCHING or RUNNING has a slot, and its destination folder to itself and its copy. Both are taken and
given back by the transaction that makes the job's move: they are right at every moment, whoever dies.

A refused condition is an expected answer (somebody else has moved it already): the method returns False or None. A
write that meets another transaction, or of which DynamoDB has too many at the moment, is made again for some seconds.
Every other error of DynamoDB propagates.
"""

from __future__ import annotations

from icav2_copy_batch.adapters.table.copies import Copies
from icav2_copy_batch.adapters.table.jobs import Jobs
from icav2_copy_batch.adapters.table.leases import Leases
from icav2_copy_batch.adapters.table.models import Models
from icav2_copy_batch.adapters.table.schedule import Schedule


class CopyTable(Copies, Jobs, Schedule, Leases):
    """Every read and write of the table that the product makes."""

    def __init__(self, table_name: str) -> None:
        super().__init__(Models(table_name))
