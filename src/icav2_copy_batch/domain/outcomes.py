"""What became of each source of a job, kept small: a bit per source, and the reasons of those that were not copied."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_PACKED_BYTES = 3500
"""Of one attempt's outcomes: an item of 400 KB holds up to 51 attempts and the sources."""
REASON_CHARACTERS = (300, 80, 0)
"""Of each source's reason; the next where the outcomes would else not fit."""


class Finding(StrEnum):
    """Why a source counts as not copied, where that is what we have found and not what ICA's item says."""

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
    """The source was left to a later attempt, which there is not."""


NOT_YET = frozenset({Finding.OLDER, Finding.UNLISTED})
"""What is found only while ICA's lists may be behind."""


@dataclass(frozen=True, slots=True)
class SourceOutcome:
    """A source that an attempt did not copy: ICA's item status or a ``Finding``, and why."""

    source: str
    outcome: str
    reason: str | None = None


def copied_bits(sources: Sequence[str], uncopied: Iterable[str]) -> bytes:
    """A bit for each source, the first lowest: whether it is copied."""
    missing = set(uncopied)
    bits = sum(1 << index for index, source in enumerate(sources) if source not in missing)
    return bits.to_bytes((len(sources) + 7) // 8, "little")


def uncopied_sources(sources: Sequence[str], copied: bytes) -> list[str]:
    """The sources whose bit is not set, in order."""
    bits = int.from_bytes(copied, "little")
    return [source for index, source in enumerate(sources) if not bits >> index & 1]


def pack_outcomes(outcomes: Sequence[SourceOutcome], sources: Sequence[str]) -> bytes:
    """Outcomes grouped by what they say, with the numbers of their sources; empty where even that is too much."""
    numbers = {source: number for number, source in enumerate(sources)}
    for limit in REASON_CHARACTERS:
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for each in outcomes:
            groups[each.outcome, (each.reason or "")[:limit]].append(numbers[each.source])
        packed = zlib.compress(json.dumps([[*said, _ranges(of)] for said, of in groups.items()]).encode())
        if len(packed) <= MAX_PACKED_BYTES:
            return packed
    return b""


def unpack_outcomes(packed: bytes, sources: Sequence[str]) -> list[SourceOutcome]:
    """What was packed, in the order of the sources."""
    groups = json.loads(zlib.decompress(packed)) if packed else []
    found = {
        number: SourceOutcome(sources[number], outcome, reason or None)
        for outcome, reason, ranges in groups
        for first, last in ranges
        for number in range(first, last + 1)
    }
    return [found[number] for number in sorted(found)]


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as first and last of each run: 1, 2, 3, 7 → [1, 3], [7, 7]."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
