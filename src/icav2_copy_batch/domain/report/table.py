"""The table of a copy's files, as CSV text (RFC 4180)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

from icav2_copy_batch.domain.job import Copy, Job
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.report.files import FileEnd

COLUMNS = ("source", "destination", "size", "outcome", "attempts", "ica_job", "reason", "job", "etag")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""With these a spreadsheet begins a formula, which it would carry out: https://owasp.org/www-community/attacks/CSV_Injection."""


def header() -> str:
    """The first line."""
    return _lines([COLUMNS])


def rows(copy: Copy, job: Job, ends: Iterable[FileEnd]) -> str:
    """A line for each source of an ended job."""
    destination = as_spelled(job.destination, copy.project_names)
    return _lines(
        (
            as_spelled(each.source, copy.project_names),
            destination,
            "" if each.size is None else str(each.size),
            each.outcome,
            "" if each.tries is None else str(each.tries),
            each.ica_job_id or "",
            each.reason or "",
            job.job_id,
            (each.fingerprint and each.fingerprint.etag) or "",
        )
        for each in ends
    )


def _lines(cells: Iterable[Sequence[str]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_harmless(cell) for cell in row] for row in cells)
    return text.getvalue()


def _harmless(cell: str) -> str:
    """The cell; with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
