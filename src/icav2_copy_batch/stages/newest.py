"""The newest copies: which there are comes from the index of submissions, and how they stand from their items."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from icav2_copy_batch.domain.job import Copy
from icav2_copy_batch.ports import Table

PAGE = 100
"""So many copies are read at once: what one request of DynamoDB takes."""


def newest_copies(table: Table, since: datetime, until: datetime, most: int) -> Iterator[Copy]:
    """The copies submitted from one moment to another, the newest first, at most ``most``; read page by page."""
    before = None
    for first in range(0, most, PAGE):
        size = min(PAGE, most - first)
        page = table.submitted_copies(since, until, size, before)
        yield from table.get_copies([copy.copy_id for copy in page])
        if len(page) < size:
            return
        before = page[-1]
