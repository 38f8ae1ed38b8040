"""The bytes in which a job's item keeps its sources and what became of them: a write is paid by the item's size."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from icav2_copy_batch.domain.outcomes import Fingerprint, SourceOutcome

INLINE_SOURCES_BYTES = 256
"""Packed sources of more bytes are an item of their own: with them a job's item would exceed the 1 KB of a write unit.

See https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html.
"""
MAX_OUTCOMES_BYTES = 3500
"""Packed outcomes of one attempt. 51 attempts, each with a reason, fit into an item, which has 400 KB at most.

See https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html.
"""
REASON_CHARACTERS = (300, 80, 0)
"""How much is kept of each source's reason; the next of these where the outcomes would not fit otherwise."""

MAX_FINGERPRINTS_BYTES = 51_000
"""Packed fingerprints of a job: the sizes of some 8,000 sources, or sizes and ETags of some 1,900. They fit beside its
attempts into the 400 KB of an item."""


def pack_sources(sources: Sequence[str]) -> bytes:
    """Compress sources, which share long prefixes."""
    return zlib.compress("\n".join(sources).encode()) if sources else b""


def unpack_sources(packed: bytes) -> tuple[str, ...]:
    """The sources that were packed, in order."""
    return tuple(zlib.decompress(packed).decode().split("\n")) if packed else ()


def pack_copied(sources: Sequence[str], copied: Collection[str]) -> bytes:
    """One bit for each source, the first lowest: whether it is among those copied. Empty where none is."""
    bits = sum(1 << index for index, source in enumerate(sources) if source in copied)
    return bits.to_bytes((len(sources) + 7) // 8, "little") if bits else b""


def unpack_copied(sources: Sequence[str], packed: bytes) -> frozenset[str]:
    """The sources whose bit is set."""
    bits = int.from_bytes(packed, "little")
    return frozenset(source for index, source in enumerate(sources) if bits >> index & 1)


def pack_outcomes(sources: Sequence[str], outcomes: Sequence[SourceOutcome]) -> bytes:
    """Group outcomes by what they say, with the numbers of their sources. Empty where even that is too large."""
    numbers = {source: number for number, source in enumerate(sources)}
    for limit in REASON_CHARACTERS if outcomes else ():
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for each in outcomes:
            groups[each.outcome, (each.reason or "")[:limit]].append(numbers[each.source])
        packed = zlib.compress(json.dumps([[*said, _ranges(members)] for said, members in groups.items()]).encode())
        if len(packed) <= MAX_OUTCOMES_BYTES:
            return packed
    return b""


def unpack_outcomes(sources: Sequence[str], packed: bytes) -> tuple[SourceOutcome, ...]:
    """The outcomes that were packed, in the order of the sources."""
    groups = json.loads(zlib.decompress(packed)) if packed else []
    found = {
        number: SourceOutcome(sources[number], outcome, reason or None)
        for outcome, reason, ranges in groups
        for first, last in ranges
        for number in range(first, last + 1)
    }
    return tuple(found[number] for number in sorted(found))


def pack_fingerprints(sources: Sequence[str], fingerprints: Mapping[str, Fingerprint]) -> bytes:
    """A line for each source: size and ETag. Without the ETags where these are too many; empty where sizes are too."""
    found = [fingerprints.get(source) for source in sources]
    for with_etag in (True, False) if any(found) else ():
        lines = ["" if each is None else f"{_text(each.size)} {_text(with_etag and each.etag)}" for each in found]
        if len(packed := zlib.compress("\n".join(lines).encode())) <= MAX_FINGERPRINTS_BYTES:
            return packed
    return b""


def unpack_fingerprints(sources: Sequence[str], packed: bytes) -> dict[str, Fingerprint]:
    """The fingerprints that were packed, by source."""
    lines = zlib.decompress(packed).decode().split("\n") if packed else []
    parts = {source: line.partition(" ") for source, line in zip(sources, lines, strict=False) if line}
    return {source: Fingerprint(int(size) if size else None, etag or None) for source, (size, _, etag) in parts.items()}


def _text(value: object) -> str:
    return "" if value is None or value is False else str(value)


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as first and last of each run: 1, 2, 3, 7 → [1, 3], [7, 7]."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
