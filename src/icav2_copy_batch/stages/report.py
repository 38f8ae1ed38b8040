"""Report: a settled copy's table of files and its page, which are written while its result is.

They are made of the same jobs, so that these are read once for all three. Result and event matter more: a report that
breaks, or for which there is no time, is given up. A page that says so takes its place then, and the copy is published
all the same. What S3 does not take is raised, as for the result: the publication is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from icav2_copy_batch.domain.job import Copy, Job
from icav2_copy_batch.domain.report import table
from icav2_copy_batch.domain.report.files import Totals, ends_of
from icav2_copy_batch.domain.report.page import Page, page_without_files
from icav2_copy_batch.domain.report.places import PAGE, TABLE, beside, key_of
from icav2_copy_batch.ports import Bucket

SECONDS_TO_REPORT = 240.0
"""With less time left the report is given up: what there is belongs to the rest of the result."""
CSV, HTML = "text/csv; charset=utf-8", "text/html; charset=utf-8"

logger = logging.getLogger(__name__)


class Report:
    """Writes the table and the page of one copy, job by job."""

    def __init__(self, copy: Copy, result_uri: str, bucket: Bucket, seconds_left: Callable[[], float]) -> None:
        self._copy, self._result_uri, self._bucket, self._seconds_left = copy, result_uri, bucket, seconds_left
        self._page = Page(copy, result_uri, beside(result_uri, TABLE))
        self._totals = Totals()
        self._table_upload = bucket.upload(key_of(copy.copy_id, TABLE), CSV)
        self._page_upload = bucket.upload(key_of(copy.copy_id, PAGE), HTML)
        self._is_given_up = False
        self._add(lambda: (table.header(), self._page.begin()))

    def noting(self, read: Callable[[], Iterable[Job]]) -> Callable[[], Iterable[Job]]:
        """What ``read`` does; the jobs of its first call are noted here as they are read."""
        reads = 0

        def jobs() -> Iterable[Job]:
            nonlocal reads
            reads += 1
            return self._noted(read()) if reads == 1 else read()

        return jobs

    def finish(self) -> None:
        """Store the table and the page."""
        if not self._is_given_up:
            self._add(lambda: ("", self._page.end(self._totals)))
        if self._is_given_up:
            page = page_without_files(self._copy, self._result_uri)
            self._bucket.put(key_of(self._copy.copy_id, PAGE), page.encode(), HTML)
            return
        self._table_upload.finish()
        self._page_upload.finish()

    def give_up(self) -> None:
        """Write no more of it."""
        self._is_given_up = True
        self._table_upload.abandon()
        self._page_upload.abandon()

    def _noted(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            self._note(job)
            yield job

    def _note(self, job: Job) -> None:
        if self._is_given_up:
            return
        if self._seconds_left() < SECONDS_TO_REPORT:
            logger.error("report too large to be written", extra={"copy_id": self._copy.copy_id})
            self.give_up()
            return
        self._add(lambda: self._pieces_of(job))

    def _pieces_of(self, job: Job) -> tuple[str, str]:
        """A job in the table and in the page."""
        ends = ends_of(job)
        self._totals.add(job, ends)
        return table.rows(self._copy, job, ends), self._page.add(job, ends)

    def _add(self, make: Callable[[], tuple[str, str]]) -> None:
        """Append to the table and to the page. Where that breaks, the report is given up."""
        try:
            rows, page = make()
        except Exception:
            logger.exception("report cannot be made", extra={"copy_id": self._copy.copy_id})
            self.give_up()
            return
        self._table_upload.add(rows)
        self._page_upload.add(page)
