"""ICA in memory: the methods of our client, straight on the simulated ICA's world, without HTTP and without libica."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from icav2_copy_batch.adapters.ica import DELETION_SECONDS, INCOMPLETE
from icav2_copy_batch.domain.ica import (
    CONSEQUENCES,
    CopyBatch,
    CopyBatchItem,
    IcaData,
    IcaJob,
    IcaUnavailable,
    StartedCopyBatch,
    failure_of,
)
from icav2_copy_batch.domain.job import timestamp
from icav2_copy_batch.domain.manifest import CopyOptions
from icav2_copy_batch.domain.uri import is_project_id, parent_path
from local.simulator.bodies import moment
from local.simulator.model import ActionOnExist, BatchItem, BatchRequest, DataStatus, Datum, IcaError, Job
from local.simulator.world import World

T = TypeVar("T")


class Wire:
    """How the calls get to ICA: a test may put something in their way."""

    def call(self, act: Callable[[], T], *, starts: bool = False) -> T:
        """Carry out one call, or one that starts a copy batch."""
        return act()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a wire that takes no time cannot be waited at")


@dataclass
class Ica:
    """``IcaClient`` in memory: the same methods, answers and errors."""

    world: World
    wire: Wire

    def project_id(self, project: str) -> str:
        if is_project_id(project):
            return project.lower()
        return self._call(lambda: self._named(project))

    def find(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        wanted = list(dict.fromkeys(paths))
        if not wanted:
            return {}
        return self._call(lambda: {path: data(it) for path in wanted if (it := self._at(project_id, path))})

    def find_sources(self, project_id: str, paths: Iterable[str]) -> dict[str, IcaData]:
        return self.find(project_id, paths)

    def list_tree(self, project_id: str, folder: str) -> list[IcaData]:
        return self._call(
            lambda: [data(it) for it in self._contents(project_id) if not it.is_folder and it.path.startswith(folder)]
        )

    def tree_pages(self, project_id: str, folder: str) -> Iterator[list[IcaData]]:
        yield self.list_tree(project_id, folder)

    def incomplete_files(self, project_id: str, folder: str, recursive: bool) -> list[IcaData]:
        return [
            it
            for it in self.list_tree(project_id, folder)
            if it.status in INCOMPLETE and (recursive or parent_path(it.path) == folder)
        ]

    def find_by_ids(self, project_id: str, data_ids: Iterable[str]) -> dict[str, IcaData]:
        wanted = set(data_ids)
        if not wanted:
            return {}
        return self._call(lambda: {it.id: data(it) for it in self._contents(project_id) if it.id in wanted})

    def read_data(self, project_id: str, data_id: str) -> IcaData | None:
        found = self._call(lambda: [data(it) for it in self._contents(project_id) if it.id == data_id])
        return found[0] if found else None

    def ensure_folders(self, project_id: str, folders: Iterable[str]) -> dict[str, str | None]:
        def ensure() -> dict[str, str | None]:
            self.world.project(project_id)
            made = {path: self.world.add_folder(project_id, path) for path in folders}
            return {path: folder.id if folder else None for path, folder in made.items()}

        return self._call(ensure)

    def delete_partial_files(self, project_id: str, paths: Iterable[str]) -> int:
        wanted = set(paths)

        def look() -> list[Datum]:
            return [it for it in self._contents(project_id) if it.path in wanted]

        ours = self._call(look)
        leftovers = [it for it in ours if it.status is DataStatus.PARTIAL]
        for it in leftovers:
            self._call(lambda it=it: self._delete(project_id, it.id))  # type: ignore[misc]
        remaining = {it.id for it in ours if it.status in (DataStatus.PARTIAL, DataStatus.DELETING)}
        while remaining:
            self.wire.sleep(DELETION_SECONDS)
            remaining &= {it.id for it in self._call(look)}
        return len(leftovers)

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch:
        request = BatchRequest(
            items=[BatchItem(data_id) for data_id in data_ids],
            copy_user_tags=options.copy_user_tags,
            copy_technical_tags=options.copy_technical_tags,
            copy_instrument_info=options.copy_instrument_info,
            action_on_exist=ActionOnExist(options.action_on_exist),
            destination_folder_id=folder_id,
        )
        job = self._call(lambda: self.world.create_batch(project_id, request), starts=True)
        return StartedCopyBatch(job.batch_id, job.id)

    def jobs(self, ica_job_ids: Sequence[str]) -> dict[str, IcaJob]:
        return self._call(lambda: {job.job_id: job for job in self._jobs() if job.job_id in set(ica_job_ids)})

    def jobs_created_since(self, since: str) -> list[IcaJob]:
        return self._call(lambda: [job for job in self._jobs() if (job.created_at or since) >= since][::-1])

    def copy_batch(self, project_id: str, batch_id: str) -> CopyBatch:
        batch = self._call(lambda: self._batch(project_id, batch_id))
        data_ids = frozenset(item.data_id for item in batch.request.items)
        return CopyBatch(batch.request.destination_folder_id, data_ids)

    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]:
        return self._call(
            lambda: [
                CopyBatchItem(item.source.id, item.status.value, item.reason, data(item.made) if item.made else None)
                for item in self._batch(project_id, batch_id).items
            ]
        )

    def _call(self, act: Callable[[], T], *, starts: bool = False) -> T:
        def settled() -> T:
            self.world.settle()
            try:
                return act()
            except IcaError as error:
                consequence = CONSEQUENCES[failure_of(error.status)][1 if starts else 0]
                raise consequence(f"ICA answered {error.status} {error.detail}", http_status=error.status) from None

        return self.wire.call(settled, starts=starts)

    def _named(self, name: str) -> str:
        found = [project.id for project in self.world.projects.values() if project.name == name]
        if len(found) != 1:
            raise IcaError(404, f"{len(found)} projects are named {name!r}")
        return found[0]

    def _contents(self, project_id: str) -> Iterator[Datum]:
        self.world.project(project_id)
        return iter(list(self.world.contents[project_id].values()))

    def _at(self, project_id: str, path: str) -> Datum | None:
        there = [it for it in self._contents(project_id) if it.path == path]
        return max(there, key=lambda it: (it.status is DataStatus.AVAILABLE, it.id), default=None)

    def _delete(self, project_id: str, data_id: str) -> None:
        if data_id in self.world.contents[project_id]:
            self.world.delete(project_id, data_id)

    def _jobs(self) -> list[IcaJob]:
        return [
            IcaJob(
                job_id=job.id,
                status=job.status.value,
                reason=job.reason,
                created_at=timestamp(job.created),
                subject_id=job.subject_id,
                project_id=job.project.id,
            )
            for job in self.world.jobs.values()
            if self.world.readable(job)
        ]

    def _batch(self, project_id: str, batch_id: str) -> Job:
        batch = self.world.batches.get(batch_id)
        if batch is None or batch.project.id != project_id or not self.world.readable(batch):
            raise IcaError(404, f"no copy batch {batch_id}")
        return batch


def data(it: Datum) -> IcaData:
    size = None if it.is_folder else it.size
    return IcaData(it.id, it.path, it.status.value, size, it.etag, moment(it.created))


__all__ = ["Ica", "IcaUnavailable", "Wire"]
