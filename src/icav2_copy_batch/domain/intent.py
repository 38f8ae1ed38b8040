"""Intent: what a launch is about to ask ICA for, and whether a copy batch that ICA shows can be the one it asked for.

ICA offers no idempotency key for starting a copy batch. So the launch writes down its intent before it calls ICA. If
the answer is lost, the copy batches that ICA shows are compared with the intent, and not with the sources as they are
then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

BITS_PER_ID = 16
MOST_FILTER_BYTES = 256
"""The largest size of a filter. A filter of this size proves less for a job with many sources: see ``may_hold``."""
HASHES = 4
"""How many bits of the filter each data id sets."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A copy batch that is about to be started: its destination folder, and its data ids in a few bytes."""

    asked_at: str
    """When it was written down, just before ICA was called: UTC, ISO 8601 with ``Z``, by our clock."""
    folder_id: str | None
    """None for the project's root."""
    count: int
    """How many data ids the batch has."""
    digest: str
    """SHA-256 of the sorted data ids."""
    id_filter: bytes
    """A Bloom filter of the data ids."""
    has_folders: bool
    """Whether there is a folder among the data. ICA may list its files in place of it."""

    @classmethod
    def of(cls, asked_at: str, folder_id: str | None, data_ids: Collection[str]) -> Intent:
        ids = frozenset(data_ids)
        return cls(
            asked_at=asked_at,
            folder_id=folder_id,
            count=len(ids),
            digest=digest_of(ids),
            id_filter=_filter_of(ids),
            has_folders=any(data_id.startswith("fol.") for data_id in ids),
        )

    def may_hold(self, data_id: str) -> bool:
        """Whether this data id may be among those asked for. False is certain.

        The answer is True for every id that is among them, and for about one in 400 others. With more than 128 ids it
        is True for more of the others.
        """
        return all(self.id_filter[bit // 8] >> bit % 8 & 1 for bit in _bits(data_id, len(self.id_filter)))


class Fit(Enum):
    """How well a copy batch that ICA shows fits an intent."""

    EXACT = "the same data into the same folder"
    SAME_DATA = "the same data; ICA does not say into which folder"
    POSSIBLE = "it may be the one; nothing shows that it is another"
    OTHER = "another copy batch"


def folder_fit(intent: Intent, folder_id: str | None) -> bool | None:
    """Whether a copy batch copies into the folder of the intent; None if that is not known.

    ICA does not always say which folder it is, and may show the project's root by an id of its own.
    """
    if folder_id is None or intent.folder_id is None:
        return None
    return folder_id == intent.folder_id


def fit(intent: Intent, in_folder: bool | None, data_ids: Collection[str]) -> Fit:
    """Compare a copy batch with an intent, by its folder and by the data ids that ICA lists for it.

    The list may be incomplete for a while, and may have the files of a folder in place of the folder.
    """
    if in_folder is False:
        return Fit.OTHER
    if data_ids and digest_of(data_ids) == intent.digest:
        return Fit.EXACT if in_folder else Fit.SAME_DATA
    if not intent.has_folders:
        ids = frozenset(data_ids)
        if len(ids) > intent.count or not all(map(intent.may_hold, ids)):
            return Fit.OTHER
    return Fit.POSSIBLE


def digest_of(data_ids: Iterable[str]) -> str:
    """SHA-256 of the data ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(data_ids))).encode()).hexdigest()


def _filter_of(data_ids: Collection[str]) -> bytes:
    size = min(max(len(data_ids) * BITS_PER_ID // 8, 1), MOST_FILTER_BYTES)
    bits = bytearray(size)
    for data_id in data_ids:
        for bit in _bits(data_id, size):
            bits[bit // 8] |= 1 << bit % 8
    return bytes(bits)


def _bits(data_id: str, size: int) -> Iterator[int]:
    """The bits that an id sets in a filter of ``size`` bytes."""
    hashed = hashlib.sha256(data_id.encode()).digest()
    for number in range(HASHES):
        yield int.from_bytes(hashed[4 * number : 4 * number + 4], "big") % (size * 8)
