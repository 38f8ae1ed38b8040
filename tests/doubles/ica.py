"""A small ICA in memory: what our client would answer of it, what was asked of it, and the trouble that it makes.

It is no second model of ICA: nothing happens in it by itself. A test says what there is, also what the simulated ICA
cannot be brought to: a status that is new to us, an item of other data, a file that a list does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from icav2_copy_batch.domain.ica import CopyBatchItem, IcaData, IcaError, IcaJob, IcaRefused, StartedCopyBatch
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.domain.uri import parent_path

Trouble = Callable[[tuple[object, ...]], IcaError | None]


@dataclass
class SmallIca:
    """What lies at a path has it for its id."""

    data: dict[str, IcaData] = field(default_factory=dict)
    """By the path, in whichever project."""
    jobs_there: dict[str, IcaJob] = field(default_factory=dict)
    items: dict[str, list[CopyBatchItem]] = field(default_factory=dict)
    """By the copy batch."""
    batch_folders: dict[str, str | None] = field(default_factory=dict)
    """Copy batch → id of the folder it copies into; None for the root."""
    calls: list[tuple[object, ...]] = field(default_factory=list)
    """Method and arguments of each call."""
    troubles: dict[str, Trouble] = field(default_factory=dict)
    page_size: int = 1000
    slow_to_delete: set[str] = field(default_factory=set)
    """Paths of what stays DELETING until the test takes it away."""
    folder_troubles: dict[str, IcaError] = field(default_factory=dict)
    """By the folder that is not to be had."""

    def add(self, *paths: str, status: str = "AVAILABLE") -> None:
        for path in paths:
            self.data[path] = IcaData(path, path, status, None if path.endswith("/") else 7)

    def trouble(self, method: str, error: IcaError, only: str = "") -> None:
        """Fail this method, where an argument contains that text."""
        self.troubles[method] = lambda arguments: error if only in str(arguments) else None

    def called(self, method: str) -> list[list[Any]]:
        """The arguments of each call of a method."""
        return [list(arguments) for name, *arguments in self.calls if name == method]

    def _call(self, method: str, *arguments: object) -> None:
        self.calls.append((method, *arguments))
        if method in self.troubles and (error := self.troubles[method](arguments)):
            raise error

    # --- the methods of our client ---

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        wanted = list(paths)
        self._call("find", project_id, *wanted)
        return {path: self.data[path] for path in wanted if path in self.data}

    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        return self.find(project_id, paths)

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        return self._pages_of("tree_pages", project_id, folder, self._files_below(folder))

    def file_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        files = [it for it in self._files_below(folder) if parent_path(it.path) == folder]
        return self._pages_of("file_pages", project_id, folder, files)

    def folders_in(self, project_id: str, folder: str) -> list[str]:
        self._call("folders_in", project_id, folder)
        below = [path.removeprefix(folder) for path in self.data if path.startswith(folder)]
        return [f"{folder}{name}/" for name in {path.partition("/")[0] for path in below if "/" in path}]

    def _files_below(self, folder: str) -> list[IcaData]:
        return [it for path, it in self.data.items() if path.startswith(folder) and not path.endswith("/")]

    def _pages_of(self, method: str, project_id: str, folder: str, files: list[IcaData]) -> Iterator[list[IcaData]]:
        """Each page is a call."""
        for start in range(0, max(len(files), 1), self.page_size):
            self._call(method, project_id, folder, start)
            yield files[start : start + self.page_size]

    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]:
        self._call("incomplete_files", project_id, folder, recursive)
        return [
            it
            for path, it in self.data.items()
            if it.status in ("PARTIAL", "DELETING") and not path.endswith("/")
            if (path.startswith(folder) if recursive else parent_path(path) == folder)
        ]

    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        wanted = list(data_ids)
        self._call("find_by_ids", project_id, *wanted)
        return {it.data_id: it for it in self.data.values() if it.data_id in wanted}

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | IcaError | None]:
        wanted = list(folders)
        self._call("ensure_folders", project_id, *wanted)
        return {path: None if path == "/" else self.folder_troubles.get(path, f"folder {path}") for path in wanted}

    def delete_data(self, project_id: str, data_ids: Iterable[str]) -> None:
        """Gone at once, but for what the test says."""
        wanted = list(data_ids)
        self._call("delete_data", project_id, *wanted)
        for it in [it for it in self.data.values() if it.data_id in wanted]:
            if it.path in self.slow_to_delete:
                self.data[it.path] = replace(it, status="DELETING")
            else:
                del self.data[it.path]

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch:
        self._call("start_copy_batch", project_id, folder_id, list(data_ids), options)
        number = len(self.called("start_copy_batch"))
        batch_id, job_id = f"batch-{number}", f"ica-{number}"
        self.items[batch_id] = [CopyBatchItem(data_id, "QUEUED") for data_id in data_ids]
        self.batch_folders[batch_id] = folder_id
        self.jobs_there[job_id] = IcaJob(job_id, "INITIALIZED", subject_id=batch_id, project_id=project_id)
        return StartedCopyBatch(batch_id, job_id)

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]:
        self._call("jobs", *ica_job_ids)
        return {job_id: self.jobs_there[job_id] for job_id in ica_job_ids if job_id in self.jobs_there}

    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]:
        self._call("copy_batch_items", project_id, batch_id)
        if batch_id not in self.items:
            raise IcaRefused(f"no copy batch {batch_id}", http_status=404)
        return self.items[batch_id]

    def copy_batch_folder(self, project_id: str, batch_id: str) -> str | None:
        self._call("copy_batch_folder", project_id, batch_id)
        if batch_id not in self.batch_folders:
            raise IcaRefused(f"no copy batch {batch_id}", http_status=404)
        return self.batch_folders[batch_id]

    def recent_jobs(self, since: str) -> list[IcaJob]:
        self._call("recent_jobs", since)
        return [job for job in self.jobs_there.values() if job.created_at is None or job.created_at >= since]
