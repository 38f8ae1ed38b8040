"""The simulated ICA: projects, files and folders, copy batches and their jobs, and the rules between them.

No HTTP and no waiting here.  Time is whatever the clock says: changes that are due are on an agenda, and
`settle` carries them out before anything is read or written, so a test can step the clock through the life
of a job.  Given the same seed and the same batches into the same folder, a job lives and ends the same way
whatever else happens around it.
"""

import dataclasses
import hashlib
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count, groupby
from random import Random
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from local.simulator.model import (
    ActionOnExist,
    BatchRequest,
    Channel,
    ChannelRequest,
    ChannelUpdate,
    Copy,
    DataStatus,
    Datum,
    IcaError,
    Item,
    ItemStatus,
    Job,
    JobStatus,
    Notice,
    Outcome,
    PendingFolder,
    Project,
    Script,
    Subscription,
    SubscriptionRequest,
    SubscriptionUpdate,
    Violation,
)
from local.simulator.switches import Switches

ROOT = ""
"""Stands for the id of the folder at the top of a project, which has none in ICA."""
LONGEST_ADDRESS, LONGEST_UPDATED_ADDRESS = 100, 255
PART = 8 * 1024 * 1024
"""Bytes below which an upload is not split, so that its ETag is a plain MD5."""


class World:
    """All of ICA's state.  Not thread-safe: one event loop owns it."""

    def __init__(self, clock: Callable[[], datetime], rng: Random, switches: Switches) -> None:
        self.clock, self.rng, self.switches = clock, rng, switches
        self.began = self.now = clock()
        self.projects: dict[str, Project] = {}
        self.contents: dict[str, dict[str, Datum]] = {}
        self.jobs: dict[str, Job] = {}
        self.batches: dict[str, Job] = {}
        self.scripts: dict[tuple[str, str], Script] = {}
        self.channels: dict[str, Channel] = {}
        self.subscriptions: list[Subscription] = []
        self.violations: list[Violation] = []
        self.live_jobs = self.most_live_jobs = 0
        self._serials = count(1)
        self._salt = rng.random()
        self._children: dict[tuple[str, str], dict[str, Datum]] = defaultdict(dict)
        self._paths: dict[tuple[str, str, str], list[Datum]] = defaultdict(list)
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._outbox: list[tuple[datetime, int, Notice]] = []
        self._writers: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._being_created: set[tuple[str, str]] = set()
        self._attempts: dict[tuple[str, str], int] = defaultdict(int)
        self._listed: dict[str, dict[str, Datum]] = defaultdict(dict)
        """The data as lists show them."""
        self._changes: deque[tuple[datetime, str, str, Datum | None]] = deque()
        """What they do not show yet: when it happened, where, and what there is since then."""

    @property
    def stamp(self) -> datetime:
        """What ICA's own clock says."""
        return self.now + timedelta(seconds=self.switches.clock_offset_seconds)

    def normal(self, path: str) -> str:
        """A path in the form of Unicode in which names are kept."""
        form = self.switches.unicode_form
        return path if form == "as_given" else unicodedata.normalize(form, path)

    def settle(self) -> None:
        """Carry out all that has become due, each at its own time."""
        now = self.clock()
        while self._agenda and self._agenda[0][0] <= now:
            self.now, _, act = heappop(self._agenda)
            act()
        self.now = now

    def due_notices(self) -> Iterator[Notice]:
        """Take the notifications which are to be sent by now."""
        while self._outbox and self._outbox[0][0] <= self.now:
            yield heappop(self._outbox)[2]

    @property
    def notices_waiting(self) -> int:
        return len(self._outbox)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (self.now + timedelta(seconds=seconds), next(self._serials), act))

    def new_id(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    # Projects

    def add_project(self, id_or_name: str, project_id: str | None = None) -> Project:
        """The project of that id or name, made if there is none; an id can be given for a name."""
        if existing := self.named(id_or_name):
            return existing
        if project_id and not _is_uuid(project_id):
            raise ValueError(f"not a project id: {project_id!r}")
        minted = id_or_name if _is_uuid(id_or_name) else str(uuid5(NAMESPACE_URL, id_or_name))
        project = Project(next(self._serials), project_id or minted, id_or_name, self.stamp)
        self.projects[project.id], self.contents[project.id] = project, {}
        return project

    def named(self, id_or_name: str) -> Project | None:
        found = (it for it in self.projects.values() if id_or_name in (it.id, it.name))
        return next(found, None)

    def project(self, project_id: str) -> Project:
        if project_id not in self.projects:
            raise IcaError(404, f"no project {project_id}")
        return self.projects[project_id]

    # Files and folders

    def datum(self, project_id: str, data_id: str) -> Datum:
        self.project(project_id)
        if data_id not in self.contents[project_id]:
            raise IcaError(404, f"no data {data_id} in project {project_id}")
        return self.contents[project_id][data_id]

    def listed(self, project_id: str) -> Iterable[Datum]:
        """The data of a project as lists show them, the oldest first."""
        self._catch_up()
        return (self._listed if self.switches.data_lag_seconds else self.contents)[project_id].values()

    def _changed(self, datum: Datum) -> None:
        """Note a change of data, or that they have come or gone, for the lists."""
        there = datum.id in self.contents[datum.project_id]
        self._changes.append((self.now, datum.project_id, datum.id, dataclasses.replace(datum) if there else None))
        self._catch_up()

    def _catch_up(self) -> None:
        """Let the lists show what happened long enough ago."""
        until = self.now - timedelta(seconds=self.switches.data_lag_seconds)
        while self._changes and self._changes[0][0] <= until:
            _, project_id, data_id, datum = self._changes.popleft()
            if datum:
                self._listed[project_id][data_id] = datum
            else:
                self._listed[project_id].pop(data_id, None)

    def at(self, project_id: str, path: str) -> Datum | None:
        """What is at exactly this path; of folders minted twice, the older."""
        path = self.normal(path)
        parent = path.rstrip("/").rpartition("/")[0] + "/"
        holder = None if parent == "/" else self.at(project_id, parent)
        if holder is None and parent != "/":
            return None
        return self._child(project_id, holder, path)

    def _child(self, project_id: str, parent: Datum | None, path: str) -> Datum | None:
        there = self._paths.get((project_id, parent.id if parent else ROOT, path))
        return there[0] if there else None

    def has_folder(self, project_id: str, path: str) -> bool:
        """Whether a folder is at this path, in whatever case."""
        return any(datum.is_folder and datum.path.lower() == path for datum in self.contents[project_id].values())

    def below(self, folder: Datum) -> Iterator[Datum]:
        """The whole tree in a folder, each folder before what is in it."""
        for datum in list(self._children[folder.project_id, folder.id].values()):
            yield datum
            if datum.is_folder:
                yield from self.below(datum)

    def add_file(
        self,
        project_id: str,
        path: str,
        *,
        size: int | None = None,
        etag: str | None = None,
        status: DataStatus = DataStatus.AVAILABLE,
    ) -> Datum:
        """The file at this path, made with its folders if there is none, as if it had been uploaded."""
        path = self.normal(path)
        if existing := self.at(project_id, path):
            return existing
        size = likely_size(path) if size is None else size
        parent = self._make_folders(project_id, None, path.rpartition("/")[0] + "/")
        return self._add(project_id, parent, path, status, size, etag or likely_etag(path, size))

    def add_folder(self, project_id: str, path: str) -> Datum | None:
        """The folder at this path, made with those above it if need be; None for the root."""
        return self._make_folders(project_id, None, self.normal(path))

    def _make_folders(self, project_id: str, start: Datum | None, path: str) -> Datum | None:
        """Walk from `start` down to `path`, making each folder that is missing."""
        folder, walked = start, start.path if start else "/"
        for name in path.removeprefix(walked).strip("/").split("/"):
            if name:
                walked += f"{name}/"
                folder = self._child(project_id, folder, walked) or self._add(project_id, folder, walked)
        return folder

    def _add(
        self,
        project_id: str,
        parent: Datum | None,
        path: str,
        status: DataStatus = DataStatus.AVAILABLE,
        size: int = 0,
        etag: str | None = None,
    ) -> Datum:
        data_id = f"{'fol' if path.endswith('/') else 'fil'}.{self.rng.getrandbits(128):032x}"
        parent_id = parent.id if parent else ROOT
        serial, now = next(self._serials), self.stamp
        datum = Datum(serial, data_id, project_id, parent_id, path, status, size, etag, now, now)
        self.contents[project_id][data_id] = self._children[project_id, parent_id][data_id] = datum
        self._paths[project_id, parent_id, path].append(datum)
        self._changed(datum)
        return datum

    def discard(self, datum: Datum) -> None:
        """Take a file, or a folder and all in it, away at once."""
        for each in [*self.below(datum), datum] if datum.is_folder else [datum]:
            if self.contents[each.project_id].pop(each.id, None):
                del self._children[each.project_id, each.parent_id][each.id]
                self._paths[each.project_id, each.parent_id, each.path].remove(each)
                self._changed(each)

    def delete(self, project_id: str, data_id: str) -> None:
        """Schedule the deletion of a file, or of a folder and all in it."""
        datum = self.datum(project_id, data_id)
        if datum.status is DataStatus.DELETING:
            return
        for each in [datum, *self.below(datum)] if datum.is_folder else [datum]:
            if each.writer:
                self._violate("deleted_while_written", project_id, each.path, [each.writer])
            if each.strangers:
                self._violate("deleted_of_others", project_id, each.path, [])
            each.status, each.modified = DataStatus.DELETING, self.stamp
            self._changed(each)
        self._later(self.switches.delete_seconds, lambda: self.discard(datum))

    def begin_folder(
        self, project_id: str, name: str, folder_id: str | None, folder_path: str | None
    ) -> PendingFolder | Datum:
        """Reserve the path of a new folder and of its missing parents, or hand back the one that is there.

        In two steps, because two who create the same folder at once is what clients get wrong.
        """
        self.project(project_id)
        if not name or "/" in name:
            raise IcaError(400, f"not a folder name: {name!r}")
        if folder_id and folder_path:
            raise IcaError(400, "folderId and folderPath exclude each other")
        if folder_path and not (folder_path.startswith("/") and folder_path.endswith("/")):
            raise IcaError(400, f"folderPath must start and end with '/': {folder_path!r}")
        parent = self._destination(project_id, folder_id)
        path = self.normal(f"{parent.path if parent else folder_path or '/'}{name}/")
        existing = self._child(project_id, parent, path) if parent else self.at(project_id, path)
        if self.switches.create_folder_on_existing == "duplicate":
            return PendingFolder(project_id, path, parent, [])
        if existing and self.switches.create_folder_on_existing == "return_existing":
            return existing
        if existing:
            raise IcaError(409, f"{path} exists already", "ICA_DATA_105")
        paths = [p for p in (path, *folders_above(path)) if self.at(project_id, p) is None]
        if any((project_id, p) in self._being_created for p in paths):
            raise IcaError(409, f"{path} is being updated", "ICA_DATA_105")
        self._being_created.update((project_id, p) for p in paths)
        return PendingFolder(project_id, path, parent, paths)

    def finish_folder(self, pending: PendingFolder) -> Datum:
        """Make the folder and give up its reservation."""
        self._being_created.difference_update((pending.project_id, p) for p in pending.paths)
        above = folders_above(pending.path)
        parent = pending.parent or self._make_folders(pending.project_id, None, above[0] if above else "/")
        return self._add(pending.project_id, parent, pending.path)

    def _destination(self, project_id: str, folder_id: str | None) -> Datum | None:
        """The folder of that id; None, the root, if it is not given."""
        if not folder_id:
            return None
        folder = self.datum(project_id, folder_id)
        if not folder.is_folder:
            raise IcaError(400, f"{folder_id} is a file, not a folder")
        if folder.status is DataStatus.DELETING:
            raise IcaError(409, f"folder {folder_id} is being deleted", "ICA_DATA_105")
        return folder

    # Copy batches

    def create_batch(self, project_id: str, request: BatchRequest, *, strangers: bool = False) -> Job:
        """Check a copy batch, decide how it will end, and start its job; `strangers` is none of the client's."""
        project, switches = self.project(project_id), self.switches
        if not request.items:
            raise IcaError(400, "items must not be empty")
        if 0 < switches.max_items < len(request.items):
            raise IcaError(switches.max_items_status, f"more than {switches.max_items} items in a batch")
        sources = [self._source(item.data_id) for item in request.items]
        if switches.same_project_copy == "refuse" and any(s.project_id == project_id for s in sources):
            raise IcaError(400, "data cannot be copied within a project")
        folder = self._destination(project_id, request.destination_folder_id)
        place = (project_id, folder.path if folder else "/")
        self._attempts[place] += 1
        rng = Random(f"{self._salt} {place} {self._attempts[place]}")
        seconds, outcome = rng.uniform(*switches.job_seconds), self._outcome(rng, place)
        if outcome.seconds is not None:
            seconds = outcome.seconds
        items = [Item(next(self._serials), self.new_id(), source) for source in sources]
        copies = [copy for item in items for copy in self._copies(item)]
        batch_id = self.new_id()
        job = Job(
            serial=next(self._serials),
            id=self.new_id(),
            batch_id=batch_id,
            subject_id=batch_id if switches.subject_id_is_batch else self.new_id(),
            project=project,
            folder=folder,
            request=request,
            items=items,
            copies=copies,
            outcome=outcome,
            rng=rng,
            created=self.stamp,
            strangers=strangers,
        )
        self.jobs[job.id] = self.batches[batch_id] = job
        self._move(job, JobStatus.INITIALIZED)
        if not strangers:
            self.live_jobs += 1
            self.most_live_jobs = max(self.most_live_jobs, self.live_jobs)
        for copy in copies:
            if request.action_on_exist is not ActionOnExist.RENAME and not self._will_skip(job, copy):
                self._claim(job, job.folder_path + copy.below)
        for share, step in ((0.1, self._wait), (0.25, self._run), (1.0, self._finish)):
            self._later(share * seconds, partial(step, job))
        return job

    def readable(self, job: Job) -> bool:
        """Whether ICA still shows a job, its batch and its items."""
        limit = self.switches.job_readable_seconds
        return not (limit and job.finished and (self.stamp - job.finished).total_seconds() > limit)

    def start_other_job(self, project_id: str, subject_type: str, seconds: float) -> Job:
        """A job of another kind, which somebody else has started; its subject is no copy batch."""
        request = BatchRequest([], False, False, False, ActionOnExist.SKIP)
        job = Job(
            serial=next(self._serials),
            id=self.new_id(),
            batch_id=self.new_id(),
            subject_id=self.new_id(),
            project=self.project(project_id),
            folder=None,
            request=request,
            items=[],
            copies=[],
            outcome=Outcome(JobStatus.SUCCEEDED),
            rng=Random(0),
            created=self.stamp,
            subject_type=subject_type,
            strangers=True,
        )
        self.jobs[job.id] = job
        self._move(job, JobStatus.INITIALIZED)
        self._later(seconds, partial(self._finish, job))
        return job

    def listed_jobs(self) -> list[Job]:
        """The jobs as the list of them shows them, the oldest first."""
        readable = [job for job in self.jobs.values() if self.readable(job)]
        if not (lag := self.switches.jobs_lag_seconds):
            return readable
        at = self.stamp - timedelta(seconds=lag)
        return [job_as_at(job, at) for job in readable if job.created <= at]

    def listed_items(self, job: Job) -> list[Item]:
        """What a copy batch says that it copies."""
        if (self.stamp - job.created).total_seconds() < self.switches.items_lag_seconds:
            return []
        if not self.switches.items_as_files:
            return job.items
        return [each for item in job.items for each in (self._files_of(job, item) if item.source.is_folder else [item])]

    def _files_of(self, job: Job, item: Item) -> Iterator[Item]:
        """The files of a folder that is copied, each as an item of its own."""
        for copy in (copy for copy in job.copies if copy.item is item and not copy.source.is_folder):
            file = Item(copy.source.serial, str(uuid5(UUID(item.id), copy.source.id)), copy.source, item.status)
            if job.finished:
                self._end_item(file, [copy])
            yield file

    def _source(self, data_id: str) -> Datum:
        for contents in self.contents.values():
            if data_id in contents:
                return contents[data_id]
        raise IcaError(404, f"no data {data_id} to copy")

    def _copies(self, item: Item) -> Iterator[Copy]:
        above = item.source.path.rstrip("/").rpartition("/")[0] + "/"
        for datum in [item.source, *self.below(item.source)] if item.source.is_folder else [item.source]:
            yield Copy(item, datum, datum.path.removeprefix(above))

    def _outcome(self, rng: Random, place: tuple[str, str]) -> Outcome:
        switches, unlucky = self.switches, rng.random()
        if (script := self.scripts.get(place)) and (scripted := script.next()):
            return scripted
        if unlucky >= switches.failure_rate:
            return Outcome(JobStatus.SUCCEEDED)
        bad_ends = {
            JobStatus.FAILED: switches.failed_weight,
            JobStatus.PARTIALLY_SUCCEEDED: switches.partially_succeeded_weight,
            JobStatus.STOPPED: switches.stopped_weight,
        }
        return Outcome(rng.choices([*bad_ends], [*bad_ends.values()])[0])

    def _will_skip(self, job: Job, copy: Copy) -> bool:
        """Whether the file is safely there before a job starts, so that the job will not write it."""
        path = job.folder_path + copy.below
        existing = self.at(job.project.id, path)
        skips = job.request.action_on_exist is ActionOnExist.SKIP
        settled = existing is not None and existing.status is DataStatus.AVAILABLE
        return copy.source.is_folder or (skips and settled and not self._writers[job.project.id, path])

    def _claim(self, job: Job, path: str) -> None:
        """Note that a live job writes this file; two at once is what a client must never let happen."""
        writers = self._writers[job.project.id, path]
        if job.id in writers:
            return
        if writers:
            self._violate("two_writers", job.project.id, path, [*writers, job.id])
        writers.append(job.id)
        job.claims.append((job.project.id, path))

    def _violate(
        self,
        kind: Literal["two_writers", "deleted_while_written", "deleted_of_others"],
        project_id: str,
        path: str,
        jobs: list[str],
    ) -> None:
        self.violations.append(Violation(kind, project_id, path, jobs, self.now))

    # The life of a job

    def _wait(self, job: Job) -> None:
        if job.outcome.status is not JobStatus.INITIALIZED:
            self._move(job, JobStatus.WAITING_FOR_RESOURCES)

    def _run(self, job: Job) -> None:
        """Start copying: every file that is not skipped now exists at the destination as PARTIAL."""
        if job.outcome.status in (JobStatus.INITIALIZED, JobStatus.WAITING_FOR_RESOURCES):
            return
        job.started = self.stamp
        for item in job.items:
            item.status = ItemStatus.COPYING
        gone = job.folder is not None and job.folder.id not in self.contents[job.project.id]
        for copy in job.copies:
            if gone:
                copy.reason = "the destination folder does not exist"
            else:
                self._start_copy(job, copy)
        self._move(job, JobStatus.RUNNING)

    def _start_copy(self, job: Job, copy: Copy) -> None:
        project_id, path = job.project.id, job.folder_path + copy.below
        if copy.source.is_folder:
            copy.target = self._make_folders(project_id, job.folder, path)
            return
        parent = self._make_folders(project_id, job.folder, path.rpartition("/")[0] + "/")
        copy.reason = self._obstacle(job, copy.source)
        existing = self._child(project_id, parent, path)
        if existing and job.request.action_on_exist is ActionOnExist.SKIP and self._counts(existing):
            copy.skipped, copy.reason = True, None
            return
        if copy.source.id not in self.contents[copy.source.project_id]:
            return
        if existing and job.request.action_on_exist is ActionOnExist.RENAME:
            path = self._free_name(project_id, parent, path)
        elif existing:
            self.discard(existing)
        self._claim(job, path)
        size = copy.source.size if self.switches.partial_size == "full" else 0
        copy.target = self._add(project_id, parent, path, DataStatus.PARTIAL, size)
        copy.target.writer = job.id

    def _obstacle(self, job: Job, source: Datum) -> str | None:
        """Why a source cannot be copied, whatever the outcome that was drawn."""
        if source.id not in self.contents[source.project_id] or source.status is not DataStatus.AVAILABLE:
            return f"source {source.path} is not available"
        request, rule = job.request, self.switches.single_part
        tags = request.copy_user_tags or request.copy_technical_tags or request.copy_instrument_info
        if "-" not in (source.etag or "-") and (rule == "fails" or (rule == "fails_with_tags" and tags)):
            return f"S3 denied tagging of {source.path}"
        return None

    def _counts(self, existing: Datum) -> bool:
        """Whether SKIP takes this file for one that is already there."""
        if existing.status is DataStatus.PARTIAL:
            return self.switches.skip_counts_partial
        return existing.status is not DataStatus.DELETING or self.switches.skip_counts_deleting

    def _free_name(self, project_id: str, parent: Datum | None, path: str) -> str:
        above, name = path.rpartition("/")[0], path.rpartition("/")[2]
        stem, dot, suffix = name.partition(".")
        for number in count(1):
            renamed = f"{stem} ({number}){dot}{suffix}"
            if self.switches.rename_scheme == "after_extension":
                renamed = f"{name} ({number})"
            if self._child(project_id, parent, f"{above}/{renamed}") is None:
                break
        return f"{above}/{renamed}"

    def _finish(self, job: Job) -> None:
        """End a job as decided, except that what could not be copied is never called a success."""
        if not job.outcome.status.final:
            return
        if self._engine_is_down() and not job.subject_type:
            job.outcome = Outcome(JobStatus.FAILED)
        wanted = [copy for copy in job.copies if not copy.source.is_folder]
        files = [copy for copy in wanted if not copy.skipped]
        self._end_copies(job, files)
        status = self._end_status(job, wanted, files)
        failures = [copy for copy in job.copies if copy.reason]
        if failures or status is not JobStatus.SUCCEEDED:
            first = f": {failures[0].reason} ({failures[0].below})" if failures else ""
            job.reason = f"{len(failures)} of {len(files)} files were not copied{first}"
        for item, copies in groupby(job.copies, lambda copy: copy.item):
            self._end_item(item, [*copies])
        for claim in job.claims:
            self._writers[claim].remove(job.id)
        if not job.strangers:
            self.live_jobs -= 1
        job.finished = self.stamp
        self._move(job, status)

    def _end_copies(self, job: Job, files: list[Copy]) -> None:
        """Have each file copied, or say why it is not."""
        for copy in files:
            if copy.target is None or not self._still_writing(copy.target):
                copy.target, copy.reason = None, copy.reason or "the destination file was deleted"
        for copy in self._unlucky(job, [copy for copy in files if not copy.reason]):
            copy.reason = f"copy {'stopped' if job.outcome.status is JobStatus.STOPPED else 'failed'}"
        for copy in files:
            self._end_copy(job, copy)
        self._copied(job, [copy for copy in files if copy.target and not copy.reason])

    def _end_status(self, job: Job, wanted: list[Copy], files: list[Copy]) -> JobStatus:
        """The status in which a job ends, once it is known which of its copies have failed."""
        status = job.outcome.status
        if status is JobStatus.SUCCEEDED and any(copy.reason for copy in job.copies):
            some = any(not copy.reason for copy in wanted)
            return JobStatus.PARTIALLY_SUCCEEDED if some else JobStatus.FAILED
        if status is JobStatus.SUCCEEDED and wanted and not files:
            return JobStatus(self.switches.all_skipped_status)
        return status

    def _engine_is_down(self) -> bool:
        start, end = self.switches.engine_down
        return start <= (self.now - self.began).total_seconds() < end

    def _still_writing(self, target: Datum) -> bool:
        known = target.id in self.contents[target.project_id]
        return known and target.status is not DataStatus.DELETING

    def _unlucky(self, job: Job, copies: list[Copy]) -> list[Copy]:
        """The files which the outcome keeps from being copied."""
        if job.outcome.status is JobStatus.SUCCEEDED:
            return []
        if job.outcome.status is not JobStatus.PARTIALLY_SUCCEEDED or len(copies) < 2:
            return copies
        return job.rng.sample(copies, job.rng.randint(1, len(copies) - 1))

    def _end_copy(self, job: Job, copy: Copy) -> None:
        if copy.target is None:
            return
        copy.target.writer, copy.target.modified = None, self.stamp
        self._changed(copy.target)
        if not copy.reason:
            return
        leftovers = self.switches.leftovers
        if leftovers == "none" or (leftovers == "some" and job.rng.random() < 0.5):
            self.discard(copy.target)

    def _copied(self, job: Job, copies: list[Copy]) -> None:
        """Make what was copied AVAILABLE, at once or later."""

        def show() -> None:
            targets = [(copy.target, copy.source) for copy in copies if copy.target]
            for target, source in targets:
                if self._still_writing(target):
                    target.status, target.size, target.etag = DataStatus.AVAILABLE, source.size, source.etag
                    self._changed(target)
            self._damage(job, [target for target, _ in targets])

        if self.switches.available_after_seconds:
            self._later(self.switches.available_after_seconds, show)
        else:
            show()

    def _damage(self, job: Job, copied: Sequence[Datum]) -> None:
        if not copied:
            return
        if job.outcome.damage == "partial":
            copied[0].status = DataStatus.PARTIAL
        elif job.outcome.damage == "missing":
            self.discard(copied[0])
        elif job.outcome.damage == "wrong_size":
            copied[0].size += 1
        self._changed(copied[0])

    def _end_item(self, item: Item, copies: list[Copy]) -> None:
        failures = [copy for copy in copies if copy.reason]
        if all(copy.skipped for copy in copies):
            item.status = ItemStatus(self.switches.skipped_item_status)
        elif not failures:
            item.status, item.made = ItemStatus.COPIED, copies[0].target
        else:
            some = any(not copy.reason and not copy.source.is_folder for copy in copies)
            item.status = ItemStatus.PARTIALLY_COPIED if some else ItemStatus.FAILED
            item.reason, item.made = failures[0].reason, copies[0].target if some else None

    def _move(self, job: Job, status: JobStatus) -> None:
        """Put a job into a status and tell everyone who subscribed to that."""
        job.status = status
        job.history.append((status, self.stamp))
        for subscription in self.subscriptions:
            if subscription.project_id == job.project.id and subscription.wants_jobs:
                self._notify(subscription.channel.asked.address, job)

    def _notify(self, queue_url: str, job: Job) -> None:
        if self.rng.random() < self.switches.notification_loss_rate:
            return
        notice = Notice(self.new_id(), queue_url, dataclasses.replace(job), self.stamp)
        for _ in range(2 if self.rng.random() < self.switches.notification_duplicate_rate else 1):
            delay = timedelta(seconds=self.rng.uniform(*self.switches.notification_delay_seconds))
            heappush(self._outbox, (self.now + delay, next(self._serials), notice))

    # Notifications

    def add_channel(self, asked: ChannelRequest) -> Channel:
        self._check_may_manage_notifications()
        if not 1 <= len(asked.address) <= LONGEST_ADDRESS:
            raise IcaError(400, f"address must have from 1 to {LONGEST_ADDRESS} characters")
        channel = Channel(self.new_id(), asked, self.stamp)
        self.channels[channel.id] = channel
        return channel

    def channel(self, channel_id: str) -> Channel:
        if channel := self.channels.get(channel_id):
            return channel
        raise IcaError(404, f"no notification channel {channel_id}")

    def update_channel(self, channel_id: str, update: ChannelUpdate) -> Channel:
        """For all subscriptions that use it."""
        self._check_may_manage_notifications()
        if not 1 <= len(update.address) <= LONGEST_UPDATED_ADDRESS:
            raise IcaError(400, f"address must have from 1 to {LONGEST_UPDATED_ADDRESS} characters")
        channel = self.channel(channel_id)
        channel.asked = dataclasses.replace(
            channel.asked, enabled=update.enabled, address=update.address, aws_region=update.aws_region
        )
        return channel

    def subscription(self, project_id: str, subscription_id: str) -> Subscription:
        project = self.project(project_id)
        for subscription in self.subscriptions:
            if (subscription.project_id, subscription.id) == (project.id, subscription_id):
                return subscription
        raise IcaError(404, f"no notification subscription {subscription_id} in project {project_id}")

    def update_subscription(self, project_id: str, subscription_id: str, update: SubscriptionUpdate) -> Subscription:
        self._check_may_manage_notifications()
        subscription = self.subscription(project_id, subscription_id)
        subscription.channel = self.channel(update.notification_channel.id)
        subscription.asked = dataclasses.replace(
            subscription.asked,
            enabled=update.enabled,
            event_code=update.event_code,
            notification_channel_id=subscription.channel.id,
            filter_expression=update.filter_expression,
        )
        return subscription

    def _check_may_manage_notifications(self) -> None:
        if self.switches.manage_notifications == "refused":
            raise IcaError(403, "the user may not manage notifications")

    def subscribe(self, project_id: str, asked: SubscriptionRequest) -> Subscription:
        self._check_may_manage_notifications()
        project, channel = self.project(project_id), self.channel(asked.notification_channel_id)
        subscription = Subscription(self.new_id(), project.id, channel, asked, self.stamp)
        self.subscriptions.append(subscription)
        return subscription

    # Stocking

    def seed(self, manifest: dict[str, list[str]], file_size: int | None = None) -> None:
        """Make all that a copy manifest names at its sources, and its destination projects, still empty."""
        for source, destinations in manifest.items():
            project_id, path = self._placed(source)
            names = ("first.bin", "second.txt", "deeper/third.bin") if path.endswith("/") else ("",)
            for name in names:
                self.add_file(project_id, path + name, size=file_size)
            for destination in destinations:
                self._placed(destination)

    def _placed(self, uri: str) -> tuple[str, str]:
        scheme, _, rest = uri.partition("://")
        project, slash, path = rest.partition("/")
        if scheme != "icav2" or not project or not slash:
            raise ValueError(f"not an icav2://project/path URI: {uri!r}")
        return self.add_project(project).id, f"/{path}"


def job_as_at(job: Job, at: datetime) -> Job:
    """A job as it was at some moment of ICA's clock."""
    status = [status for status, since in job.history if since <= at][-1]
    started = job.started if job.started and job.started <= at else None
    finished = job.finished if job.finished and job.finished <= at else None
    if (status, started, finished) == (job.status, job.started, job.finished):
        return job  # as it is still
    return dataclasses.replace(
        job, status=status, reason=job.reason if finished else None, started=started, finished=finished
    )


def folders_above(path: str) -> list[str]:
    """The folders a file or folder is in, the innermost first, without the root."""
    names = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(names[:depth]) + "/" for depth in range(len(names), 0, -1)]


def likely_size(path: str) -> int:
    """A size that goes with the name: gigabytes for reads and alignments, kilobytes for the rest."""
    share = int(hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()[:8], 16) / 0xFFFFFFFF
    smallest, largest = (50e6, 8e9) if path.endswith((".gz", ".ora", ".bam", ".cram")) else (1e3, 4e6)
    return int(smallest * (largest / smallest) ** share)


def likely_etag(path: str, size: int) -> str:
    """S3's kind of ETag: an MD5, with the number of parts behind it if the upload had several."""
    parts = -(-size // PART)
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest() + (f"-{parts}" if parts > 1 else "")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
