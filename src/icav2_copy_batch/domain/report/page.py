"""The page of a copy: one HTML file that needs nothing from elsewhere, and may be opened from a disk.

It holds its data as JSON, which its own script draws. What comes from a path or from ICA is nowhere but in that JSON,
so that it is text and never markup. The page's policy lets no script run but its own, and lets it fetch nothing.

A page holds so much that a browser can handle it. What does not fit is counted, and is in the table.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from os.path import commonprefix
from string import Template
from typing import Any

from icav2_copy_batch.domain.job import Attempt, Copy, CopyStatus, Job, JobStatus
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.report.advice import advice
from icav2_copy_batch.domain.report.files import COPIED, FileEnd, Totals

MOST_FILES = 100_000
"""So many sources are listed in the page."""
MOST_CHARACTERS = 32 * 1024**2
"""So much text of jobs that passed is in the page; jobs that did not may take as much again."""
MOST_REASONS = 300
"""Characters of a file's reason that the page shows. The table has the whole."""


class Page:
    """The pieces of a page, to be asked for in order: ``begin``, ``add`` for each job, ``end``."""

    def __init__(self, copy: Copy, result_uri: str, table_uri: str) -> None:
        self._copy, self._result_uri, self._table_uri = copy, result_uri, table_uri
        self._characters = self._listed_files = self._listed_jobs = 0

    def begin(self) -> str:
        """The page up to its first job."""
        return f'{_head(self._copy, self._table_uri)}{{"copy":{_data(self._about())},"jobs":['

    def add(self, job: Job, ends: Sequence[FileEnd]) -> str:
        """An ended job; empty where the page is full."""
        room = MOST_CHARACTERS if job.status is JobStatus.PASSED else 2 * MOST_CHARACTERS
        if self._characters >= room:
            return ""
        lists_files = self._listed_files + len(ends) <= MOST_FILES or job.status is not JobStatus.PASSED
        text = _data(_job(self._copy, job, ends if lists_files else ()) | {"sources": len(ends)})
        if self._characters + len(text) > room:
            lists_files = False
            text = _data(_job(self._copy, job, ()) | {"sources": len(ends)})
        comma = "," if self._listed_jobs else ""
        self._characters += len(text)
        self._listed_jobs += 1
        self._listed_files += len(ends) if lists_files else 0
        return f"{comma}\n{text}"

    def end(self, totals: Totals) -> str:
        """The rest of the page."""
        counted = {
            "files": totals.files,
            "folders": totals.folders,
            "copied": totals.copied,
            "bytes": totals.bytes,
            "outcomes": totals.outcomes,
            "attempts": totals.attempts,
            "ica_jobs": totals.ica_jobs,
            "listed_sources": self._listed_files,
            "listed_jobs": self._listed_jobs,
        }
        return f'],"totals":{_data(counted)}}}{_tail()}'

    def _about(self) -> dict[str, Any]:
        copy = self._copy
        return {
            "id": copy.copy_id,
            "status": copy.settled_status.value,
            "submitted_at": copy.submitted_at,
            "settled_at": copy.settled_at,
            "jobs": copy.total_jobs,
            "passed": copy.passed_jobs,
            "cancelled_at": copy.cancelled_at,
            "tags": dict(copy.tags),
            "redrive_of": copy.redrive_of,
            "manifest": copy.manifest_uri,
            "result": self._result_uri,
            "table": self._table_uri,
        }


def page_without_files(copy: Copy, result_uri: str) -> str:
    """What is stored where the page and the table could not be written."""
    page = Page(copy, result_uri, "")
    return f"{page.begin()}{page.end(Totals())}"


def _job(copy: Copy, job: Job, ends: Sequence[FileEnd]) -> dict[str, Any]:
    """A job as the script reads it. Moments are milliseconds after the submission."""
    sources = [as_spelled(each.source, copy.project_names) for each in ends]
    folder = commonprefix(sources)  # noqa: RUF071 # of characters: it is cut at a slash
    folder = folder[: folder.rfind("/") + 1] if folder not in sources else folder[: folder.rstrip("/").rfind("/") + 1]
    numbers = {attempt.number: index for index, attempt in enumerate(job.attempts)}
    told: dict[str, Any] = {
        "number": int(job.job_id),
        "to": as_spelled(job.destination, copy.project_names),
        "status": job.status.value,
        "queued": _after(copy, job.queued_at),
        "ended": _after(copy, job.ended_at),
        "attempts": [_attempt(copy, each) for each in job.attempts],
        "from": folder,
        "files": [
            _file(source[len(folder) :], each, numbers, len(job.attempts))
            for source, each in zip(sources, ends, strict=True)
        ],
    }
    if any(each.size is not None for each in ends):
        told["sizes"] = [each.size for each in ends]
    if job.status is not JobStatus.PASSED:
        told |= {"reason": job.reason, "advice": advice(job)}
    return told


def _attempt(copy: Copy, attempt: Attempt) -> list[Any]:
    """Outcome, moments, ICA's job, why it did not pass, and for what its job had waited before."""
    moments = (attempt.queued_at, attempt.claimed_at, attempt.running_at, attempt.ended_at)
    reason = None if attempt.has_passed else attempt.reason
    return [attempt.outcome, *(_after(copy, each) for each in moments), attempt.ica_job_id, reason, attempt.held_for]


def _file(name: str, end: FileEnd, numbers: dict[int, int], attempts: int) -> str | list[Any]:
    """The name of a file that was copied by its job's last attempt; else all that is known of the file."""
    index = numbers[end.attempt.number] if end.attempt else None
    if end.outcome == COPIED and end.tries == attempts and index == attempts - 1:
        return name
    reason = end.reason and end.reason[:MOST_REASONS]
    return [name, end.outcome, end.tries, index, reason]


def _after(copy: Copy, moment: str | None) -> int | None:
    if not moment:
        return None
    since = datetime.fromisoformat(moment) - datetime.fromisoformat(copy.submitted_at)
    return round(since.total_seconds() * 1000)


def _data(value: object) -> str:
    """JSON that may stand in HTML: ASCII, and without any character that means something there."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _head(copy: Copy, table_uri: str) -> str:
    head, _ = _template()
    status = copy.settled_status
    where = f"The table of its files is at {table_uri}." if table_uri else "There is no table of its files."
    return head.substitute(
        title=escape(f"Copy {copy.copy_id}: {status.value}"),
        copy_id=escape(copy.copy_id),
        status=escape(status.value),
        verdict=escape(_verdict(copy)),
        where=escape(where),
        policy=_policy(),
        style=_part("page.css"),
    )


def _tail() -> str:
    _, tail = _template()
    return tail.substitute(script=_part("page.js"))


def _verdict(copy: Copy) -> str:
    if copy.settled_status is CopyStatus.COMPLETED:
        return f"All of its {copy.total_jobs:,} jobs passed." if copy.total_jobs != 1 else "Its one job passed."
    ends = {"failed": copy.failed_jobs, "cancelled": copy.cancelled_jobs}
    said = " and ".join(f"{count:,} {end}" for end, count in ends.items() if count)
    return f"{said} of {copy.total_jobs:,} job{'s' if copy.total_jobs != 1 else ''}."


@cache
def _template() -> tuple[Template, Template]:
    """What stands before the data, and after it."""
    head, _, tail = _part("page.html").partition("$data")
    return Template(head), Template(tail)


@cache
def _policy() -> str:
    """The page's Content Security Policy: our own style and script, known by their hashes, and nothing else."""
    style, script = (_hash(_part(name)) for name in ("page.css", "page.js"))
    return f"default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
