"""Paths of ICA's data: their Unicode forms, their folders, and the room that they take in a URL."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote

from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.uri import nfc, parent_path


def spellings(path: str) -> list[str]:
    """A path in each Unicode form in which ICA may have stored it: as given, NFC and NFD."""
    if path.isascii():
        return [path]
    return list(dict.fromkeys([path, nfc(path), unicodedata.normalize("NFD", path)]))


def name_in(path: str) -> str:
    """The last segment of a path: ``b`` for ``/a/b`` and for ``/a/b/``."""
    return path.rstrip("/").rpartition("/")[2]


def depth(path: str) -> int:
    """The number of slashes in a path: a folder's is one more than its parent's."""
    return path.count("/")


def lineage(folder: str) -> list[str]:
    """A folder and all folders above it, but for the root: ``/a/``, ``/a/b/`` for ``/a/b/``."""
    folders = []
    while folder != "/":
        folders.append(folder)
        folder = parent_path(folder)
    return folders[::-1]


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """The paths by the folder that holds them, in their order."""
    inside: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        inside[parent_path(path)].append(path)
    return inside


def bytes_in_url(values: Iterable[str]) -> int:
    """The length that these values of a repeated parameter add to a URL."""
    return sum(len("&filePath=") + len(quote(value)) for value in values)


def portions(values: Iterable[str], most_bytes: int) -> Iterator[list[str]]:
    """The values in portions that add at most so many bytes to a URL. A longer value is a portion of its own."""
    portion: list[str] = []
    size = 0
    for value in values:
        value_size = bytes_in_url([value])
        if portion and size + value_size > most_bytes:
            yield portion
            portion, size = [], 0
        portion.append(value)
        size += value_size
    if portion:
        yield portion


def respelled(data: IcaData, folder: str) -> IcaData | None:
    """Data with the path spelled as a folder's, and in NFC below it. None where the data are not in the folder."""
    path, above = nfc(data.path), nfc(folder)
    if not path.startswith(above):
        return None
    path = folder + path[len(above) :]
    return data if path == data.path else replace(data, path=path)


def matched(paths: Iterable[str], found: Iterable[IcaData]) -> dict[str, IcaData]:
    """The data at each of these paths; a path without data is left out.

    Data whose path is spelled exactly so come before data whose path has another Unicode form. Among several data with
    one path (ICA may be deleting one of them) an AVAILABLE one is chosen, and always the same.
    """
    ordered = sorted(found, key=lambda data: (data.status == "AVAILABLE", data.data_id))
    exactly = {data.path: data for data in ordered}
    alike = {nfc(data.path): data for data in ordered}
    return {path: data for path in paths if (data := exactly.get(path) or alike.get(nfc(path)))}
