"""What a container remembers of ICA between calls: projects, sources, folders, and the length of URL that ICA takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from icav2_copy_batch.domain.ica import IcaData

REMEMBERED_SECONDS = 300.0
MOST_REMEMBERED = 100_000
MAX_QUERY_BYTES = 7000
"""Encoded values in one URL: with the rest of the URL they stay well below 8 KB, which most servers take."""


@dataclass
class UrlLimit:
    """How many bytes of values ICA takes in one URL. ICA documents no limit: it is learned from the answers."""

    most_bytes: int = MAX_QUERY_BYTES
    """0 once ICA has refused two values in one URL."""
    answered_bytes: int = 0
    """The most that ICA has answered."""

    def note_answer(self, size: int) -> None:
        """A URL with so many bytes of values was answered."""
        self.answered_bytes = max(size, self.answered_bytes)

    def lower(self, size: int, values: int) -> None:
        """A URL with so many bytes of so many values may have been too long: allow half of it, or one value."""
        self.most_bytes, self.answered_bytes = size // 2 if values > 2 else 0, 0


class Memory:
    """What the clients of one container remember, for five minutes."""

    def __init__(self, *, monotonic: Callable[[], float], url_limit: UrlLimit | None = None) -> None:
        self.url_limit = url_limit or UrlLimit()
        self._monotonic = monotonic
        self._project_ids: dict[str, tuple[str, float]] = {}
        self._data: dict[tuple[str, str], tuple[IcaData, float]] = {}
        self._recalled: set[str] = set()

    def project_id(self, name: str) -> str | None:
        """The id of the project of that name, if it is remembered."""
        project_id, until = self._project_ids.get(name, ("", 0.0))
        return project_id if project_id and until > self._monotonic() else None

    def remember_project(self, name: str, project_id: str) -> None:
        """Remember the id of the project of that name."""
        self._project_ids[name] = (project_id, self._monotonic() + REMEMBERED_SECONDS)

    def recall(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        """The data at these paths that are remembered. They may have been deleted since: see ``has_recalled``."""
        now = self._monotonic()
        known = {path: self._data.get((project_id, path)) for path in paths}
        found = {path: entry[0] for path, entry in known.items() if entry and entry[1] > now}
        self._recalled |= {data.data_id for data in found.values()}
        return found

    def has_recalled(self, data_ids: Iterable[str | None]) -> bool:
        """Whether one of these ids was answered from memory, and not seen in ICA since."""
        return not self._recalled.isdisjoint(data_ids)

    def note_seen(self, found: Iterable[IcaData]) -> None:
        """Note that ICA has just shown these data: their ids are not stale, whatever was recalled before."""
        self._recalled.difference_update(data.data_id for data in found)

    def remember(self, project_id: str, found: Mapping[str, IcaData]) -> None:
        """Remember what ICA has just shown at these paths; only AVAILABLE data are kept."""
        if len(self._data) > MOST_REMEMBERED:
            self._data.clear()
        until = self._monotonic() + REMEMBERED_SECONDS
        self.note_seen(found.values())
        for path, data in found.items():
            if data.status == "AVAILABLE":
                self._data[project_id, path] = (data, until)

    def forget_data(self) -> None:
        """Forget all sources and folders."""
        self._data.clear()
