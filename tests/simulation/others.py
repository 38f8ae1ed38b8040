"""What other people do in ICA while we copy: jobs, copies and uploads of theirs, sources and folders made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from random import Random

from icav2_copy_batch.domain.uri import parent_path, parse_uri
from icav2_copy_batch.stages.leftovers import CREATED_APART
from local.simulator.model import ActionOnExist, BatchItem, BatchRequest, DataStatus, Datum
from local.simulator.world import World
from tests.simulation.freedoms import Happening

APART = CREATED_APART + timedelta(seconds=1)


class Others:
    def __init__(
        self,
        world: World,
        rng: Random,
        later: Callable[[float, Callable[[], None]], None],
        names: Sequence[str],
        is_busy: Callable[[str, str], bool],
    ) -> None:
        """``names`` are those of our files; ``is_busy`` says whether one of our jobs is at work in a folder."""
        self.world, self.rng = world, rng
        self.later, self.names, self.is_busy = later, names, is_busy
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
            "others' uploads of our names": self._upload_namesakes,
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

    def _upload_namesakes(self, project_id: str, path: str) -> None:
        """Uploads that never end, with names of our sources: where none of us is at work, and there is no such file.

        What comes just before one of our jobs begins may be taken for something that it has made.
        """
        if self.is_busy(project_id, path):
            return
        for name in self.names:
            if self.rng.random() < 0.5 and self.world.at(project_id, path + name) is None:
                upload = self.world.add_file(project_id, path + name, status=DataStatus.PARTIAL, size=0)
                self.later(APART.total_seconds(), partial(self._set_apart, upload))

    def _set_apart(self, upload: Datum) -> None:
        folder = parent_path(upload.path)
        if not any(
            (job.project.id, job.folder_path, job.strangers) == (upload.project_id, folder, False)
            and abs(job.created - upload.created) < APART
            for job in self.world.jobs.values()
        ):
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
