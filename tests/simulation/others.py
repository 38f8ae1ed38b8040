"""What other people do in ICA while we copy: jobs, copies and uploads of theirs, sources and folders made anew."""

from __future__ import annotations

from random import Random

from icav2_copy_batch.domain.uri import parse_uri
from local.simulator.model import ActionOnExist, BatchItem, BatchRequest, DataStatus, Datum
from local.simulator.world import World
from tests.simulation.freedoms import Happening


class Others:
    def __init__(self, world: World, rng: Random) -> None:
        self.world, self.rng = world, rng
        self._serial = 0

    def let(self, happening: Happening) -> None:
        """Let it happen now, where it still can."""
        self.world.settle()
        uri = parse_uri(happening.uri)
        project = self.world.named(uri.project)
        assert project
        {
            "other kinds of jobs": self._other_job,
            "others' copies": self._copy,
            "others' uploads": self._upload,
            "sources are uploaded anew": self._upload_anew,
            "folders are made anew": self._make_anew,
            "sources vanish": self._take_away,
        }[happening.what](project.id, uri.path)

    def _name(self) -> str:
        self._serial += 1
        return f"not ours {self._serial}.bin"

    def _other_job(self, project_id: str, path: str) -> None:
        kind = self.rng.choice(["Analysis", "DataTransfer", "ProjectDataMoveBatch"])
        self.world.start_other_job(project_id, kind, self.rng.choice([5.0, 600.0]))

    def _copy(self, project_id: str, path: str) -> None:
        """Into the same folder, of a file that none of us has to do with."""
        elsewhere = self.world.add_project("of others")
        source = self.world.add_file(elsewhere.id, f"/{self._name()}")
        folder = self.world.add_folder(project_id, path)
        request = BatchRequest(
            [BatchItem(source.id)], True, True, True, ActionOnExist.SKIP, folder.id if folder else None
        )
        self.world.create_batch(project_id, request, strangers=True)

    def _upload(self, project_id: str, path: str) -> None:
        upload = self.world.add_file(project_id, path + self._name(), status=DataStatus.PARTIAL, size=0)
        upload.strangers = True

    def _upload_anew(self, project_id: str, path: str) -> None:
        """The same files again, under other ids."""
        for datum in self._files(project_id, path):
            self.world.discard(datum)
            self.world.add_file(project_id, datum.path, size=datum.size, etag=datum.etag)

    def _take_away(self, project_id: str, path: str) -> None:
        if there := self.world.at(project_id, path):
            self.world.discard(there)

    def _make_anew(self, project_id: str, path: str) -> None:
        """A folder into which nothing is being copied."""
        there = self.world.at(project_id, path)
        busy = any(job.folder is there and not job.status.final for job in self.world.jobs.values())
        if there and not busy and not any(datum.writer for datum in self.world.below(there)):
            inside = [datum.path for datum in self.world.below(there)]
            if not inside:
                self.world.discard(there)
                self.world.add_folder(project_id, path)

    def _files(self, project_id: str, path: str) -> list[Datum]:
        there = self.world.at(project_id, path)
        if there is None:
            return []
        return [each for each in self.world.below(there) if not each.is_folder] if there.is_folder else [there]
