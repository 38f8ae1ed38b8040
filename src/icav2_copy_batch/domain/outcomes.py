"""The outcome of one source of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Finding(StrEnum):
    """Why a source counts as not copied, where this stack has found that and not ICA's item."""

    MISMATCH = "MISMATCH"
    """A file is not there, or is not like its source. Also the outcome of an attempt that ICA calls succeeded."""
    OLDER = "OLDER"
    """A file is as it should be, but is listed as made before the attempt that should have made it.

    That is found only while ICA's lists may be behind. Where it stays so, ICA has found the file there and skipped it,
    or has kept its date.
    """
    UNLISTED = "UNLISTED"
    """ICA does not list yet what it has made of a file with RENAME. Where it stays so, ICA's word is taken."""
    NOT_AN_ITEM = "MISSING"
    """The source is not among the items of its copy batch."""
    NOT_TRIED = "NOT_TRIED"
    """The source was left to a later attempt, and there was none."""


NOT_YET = frozenset({Finding.OLDER, Finding.UNLISTED})
"""What is found only while ICA's lists may be behind."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the copy of a source was when it was found as it should be: later it can be seen whether it has changed."""

    size: int | None
    """Bytes: of a file, or of all files in a folder."""
    etag: str | None = None
    """The file's ETag; None of a folder, and where ICA does not say."""


@dataclass(frozen=True, slots=True)
class SourceOutcome:
    """A source that an attempt did not copy: ICA's item status or a ``Finding``, and why."""

    source: str
    outcome: str
    reason: str | None = None
