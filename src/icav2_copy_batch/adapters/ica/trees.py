"""What lies in a folder, directly or deep below. Paths are spelled as the folder's, and in NFC below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from icav2_copy_batch.adapters.ica.listings import Listings
from icav2_copy_batch.adapters.ica.paths import respelled, spellings
from icav2_copy_batch.domain.ica import IcaData
from icav2_copy_batch.domain.uri import parent_path

INCOMPLETE = ("PARTIAL", "DELETING")
"""Statuses of a file that is listed but not whole; SKIP may take it for one that exists."""


class Trees:
    """The contents of folders. Each method raises ``IcaRefused`` for an unknown project, and ``IcaUnavailable``."""

    def __init__(self, *, listings: Listings) -> None:
        self._listings = listings

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        """All files below a folder, a page at a time. Each page is one call, made when it is asked for.

        A page may be empty, and others follow.
        """
        for spelling in spellings(folder):
            is_empty = True
            for page in self._listings.pages(project_id, **_below(spelling), type="FILE"):
                inside = [data for each in page if (data := respelled(each, folder))]
                is_empty = is_empty and not inside
                yield inside
            if not is_empty:
                return

    def file_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        """The files directly in a folder, a page at a time, as ``tree_pages``."""
        for spelling in spellings(folder):
            for page in self._listings.pages(project_id, parent_folder_path=spelling, type="FILE"):
                files = [data for each in page if (data := respelled(each, folder))]
                yield [data for data in files if parent_path(data.path) == folder]

    def folders_in(self, project_id: str, folder: str) -> list[str]:
        """The sorted paths of the folders directly in a folder."""
        found: set[str] = set()
        for spelling in spellings(folder):
            for each in self._listings.rows(project_id, parent_folder_path=spelling, type="FOLDER"):
                if (data := respelled(each, folder)) and data.path.endswith("/"):
                    found.add(data.path)
        return sorted(path for path in found if parent_path(path) == folder)

    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]:
        """The files in a folder that are PARTIAL or DELETING; with ``recursive``, those in the folders below too."""
        found: dict[str, IcaData] = {}
        for spelling in spellings(folder):
            where: dict[str, Any] = _below(spelling) if recursive else {"parent_folder_path": spelling}
            for each in self._listings.rows(project_id, **where, type="FILE", status=list(INCOMPLETE)):
                if each.status in INCOMPLETE and (data := respelled(each, folder)):
                    found[data.data_id] = data
        return [data for data in found.values() if recursive or parent_path(data.path) == folder]


def _below(folder: str) -> dict[str, Any]:
    """The filter for all that lies below a folder, however deep. ICA's prefix match does not regard case."""
    return {"file_path": [folder], "file_path_match_mode": "STARTS_WITH_CASE_INSENSITIVE"}
