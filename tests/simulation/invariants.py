"""The promise: what has to be true at every moment, at each move of a job, and when all has settled."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from io import StringIO

from icav2_copy_batch.domain.job import Copy, CopyStatus, Job, JobStatus
from icav2_copy_batch.domain.outcomes import Finding
from icav2_copy_batch.domain.projects import as_spelled
from icav2_copy_batch.domain.report.files import COPIED
from icav2_copy_batch.domain.report.places import PAGE, TABLE, key_of
from icav2_copy_batch.domain.uri import IcaUri, parent_path, parse_uri
from icav2_copy_batch.stages.launch import NOT_STARTED
from icav2_copy_batch.stages.verify import Verification
from local.simulator.model import DataStatus, Datum
from tests.simulation.scenario import Submission
from tests.simulation.world import World

SETTLING = {
    CopyStatus.COMPLETED: "CopyCompleted",
    CopyStatus.FAILED: "CopyFailed",
    CopyStatus.CANCELLED: "CopyCancelled",
}
"""The settling event of each status."""
OPEN_STATUSES = (JobStatus.QUEUED, JobStatus.LAUNCHING, JobStatus.RUNNING)
HOLD_A_SLOT = (JobStatus.LAUNCHING, JobStatus.RUNNING)
ENDS_AN_ATTEMPT = ("requeue", "mark_passed", "give_up", "cancel")
RENAMED = re.compile(r" \(\d+\)")
"""What RENAME adds to a name; no name of ours has it."""
PATIENCE = timedelta(hours=12)
"""What is open so long after the last fault, and after any attempt has ended, is stuck. Attempts are numbered, so that
this comes to an end however many jobs share a slot."""

Files = dict[str, int]
"""Path below the folder of the source → size."""


class Broken(AssertionError):
    """The promise was not kept."""


class Promise:
    """Watches a world. Each check raises ``Broken``; what a move breaks is raised by the next check."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshots: dict[tuple[str, str], Files] = {}
        """Copy id and source → the files that it was when the copy was submitted."""
        self.attempt_ended_at = world.engine.now

    def note(self, submission: Submission) -> None:
        """Note what a submission means by its sources, at the moment at which it is made."""
        for source in submission.body["manifest"]:
            self.snapshots.setdefault((submission.body["copy_id"], source), self._files_at(source))

    def note_redrive(self, origin: str, copy_id: str) -> None:
        """Note what a redrive means by the sources of the copy that it redrives."""
        sources = {source for (of_copy, source) in self.snapshots if of_copy == origin}
        for source in sources:
            self.snapshots[copy_id, source] = self._files_at(source)

    # --- at every moment ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        world = self.world
        if world.broken:
            raise Broken(world.broken[0])
        if world.ica.violations:
            raise Broken(f"two live ICA jobs for one file: {world.ica.violations[0]}")
        if world.ica.live_jobs > world.slots.total:
            raise Broken(f"{world.ica.live_jobs} ICA jobs in flight, {world.slots.total} are allowed")

    def check_that_it_goes_on(self) -> None:
        world = self.world
        if world.engine.now <= max(world.faults.until, self.attempt_ended_at) + PATIENCE:
            return
        jobs = [job for job in world.table.job_items.values() if job.status in OPEN_STATUSES]
        rows = [row for row in world.table.copies.values() if not row.copy.is_published]
        shown = [(job.copy_id, job.job_id, job.status, job.due_at, job.hold) for job in jobs]
        raise Broken(f"stuck: {shown} {rows}")

    # --- at each move of a job ---------------------------------------------------------------------------------------

    def check_move(self, verb: str, job: Job) -> None:
        failed = job.status is JobStatus.FAILED
        if job.failed_attempts + (not failed) > self.world.max_attempts:
            self.world.broken.append(f"attempt {job.attempt} of {job}")
        if verb in ENDS_AN_ATTEMPT:
            self.attempt_ended_at = self.world.engine.now
        self.world.engine.later(0, partial(self._check_counts, job.copy_id))
        if verb == "mark_passed" and self.world.scenario.verification is not Verification.NONE:
            self._check_passed(job)
        if verb == "give_up" and job.attempts[-1].ica_job_id:
            self._check_given_up(job)

    def _check_counts(self, copy_id: str) -> None:
        """A copy counts its open jobs, and ICA projects count their slots, as they are."""
        table = self.world.table
        of_copy = [job for job in table.job_items.values() if job.copy_id == copy_id]
        open_jobs = sum(job.status in OPEN_STATUSES for job in of_copy)
        copy, ended = table.copies[copy_id].copy, len(of_copy) - open_jobs
        all_written = len(of_copy) == copy.total_jobs
        if copy.open_jobs != copy.total_jobs - ended or (all_written and copy.open_jobs != open_jobs):
            self.world.broken.append(f"{copy.open_jobs} open jobs are counted of {copy_id}, there are {open_jobs}")
        holding = sum(job.status in HOLD_A_SLOT for job in table.job_items.values())
        if sum(table.slots.values()) != holding:
            self.world.broken.append(f"{table.slots} slots are counted, {holding} jobs hold one")

    def _check_passed(self, job: Job) -> None:
        """PASSED means that the files are there, as they were when the copy was submitted."""
        if not self._snapshot(job):
            self.world.broken.append(f"{_name(job)} passed, but there was nothing to copy")
        if job.later:
            self.world.broken.append(f"{_name(job)} passed, but {job.later} were left for later")
        self._check_fingerprints(job)
        if _is_renamed(job) and self._is_overwritten(job):
            return
        if missing := self._missing_renamed(job, in_folders=False) if _is_renamed(job) else self._missing(job):
            self.world.broken.append(f"{_name(job)} passed, but these are not there: {missing}")

    def _check_fingerprints(self, job: Job) -> None:
        """What is kept of each copy is what was submitted; of a folder that was compared in one go as well."""
        sizes = {
            self.world.canonical(uri): files
            for (of_copy, uri), files in self.snapshots.items()
            if of_copy == job.copy_id
        }
        for source in job.sources:
            found = job.fingerprints.get(source)
            if found and found.size != sum(sizes[self.world.canonical(source)].values()):
                self.world.broken.append(f"{_name(job)} passed, but {source} is kept as {found}")
            if not found and not source.endswith("/") and not _is_renamed(job):
                self.world.broken.append(f"{_name(job)} passed, but nothing is kept of {source}")

    def _check_given_up(self, job: Job) -> None:
        """A job is given up only where the files are truly not there, and not while ICA's copy engine is down."""
        world = self.world
        ica_job = world.ica.jobs[str(job.attempts[-1].ica_job_id)]
        finished = ica_job.finished or world.ica.stamp
        ended = (finished - world.ica.stamp + world.engine.now - world.began).total_seconds()
        start, end = world.ica.switches.engine_down
        if start <= ended < end and world.scenario.max_attempts > 5:
            world.broken.append(f"{_name(job)} was given up, though the copy engine was only down")
        failed = any(copy.reason for copy in ica_job.copies) or ica_job.outcome.damage != "none"
        if failed or world.scenario.is_doomed(job.sources) or self._has_several_of_a_name(job):
            return
        if not self._missing(job):
            world.broken.append(f"{_name(job)} was given up, but its files are there")

    # --- when all has settled ----------------------------------------------------------------------------------------

    def check_end(self) -> None:
        self.world.settle_ica()
        published = self._published()
        for copy_id, row in self.world.table.copies.items():
            jobs = [job for job in self.world.table.job_items.values() if job.copy_id == copy_id]
            _check_copy(row.copy, jobs, published[copy_id])
            self._check_report(row.copy, jobs)
            for job in jobs:
                self._check_ended(job)
        self._check_ica_jobs()
        self._check_submissions()
        self._check_redrives()

    def _check_report(self, copy: Copy, jobs: list[Job]) -> None:
        """The table of files has each source once. What a redrive would not copy again is copied; more may be."""
        keys = self.world.bucket.keys()
        if key_of(copy.copy_id, PAGE) not in keys:
            raise Broken(f"{copy.copy_id} has no page")
        if key_of(copy.copy_id, TABLE) not in keys:
            self.world.count("report given up")  # where little time was left: its page names the result
            return
        text = self.world.bucket[key_of(copy.copy_id, TABLE)].decode()
        rows = list(csv.DictReader(StringIO(text, newline="")))
        wanted = [(job, source) for job in jobs for source in job.sources]
        told = [(job.job_id, as_spelled(source, copy.project_names)) for job, source in wanted]
        if [(row["job"], row["source"]) for row in rows] != told:
            raise Broken(f"the report of {copy.copy_id} has other files than its jobs")
        missing = {row["job"] for row in rows if row["outcome"] != COPIED}
        if failed := {job.job_id for job in jobs if job.status is not JobStatus.PASSED} ^ missing:
            raise Broken(f"the report of {copy.copy_id} has files that are not copied in other jobs: {failed}")

    def _published(self) -> Mapping[str, set[tuple[str, str]]]:
        """Copy id → the settling events: event id and detail type. Checks that all others have one event id each."""
        settling: dict[str, set[tuple[str, str]]] = defaultdict(set)
        others: dict[tuple[str, str], set[str]] = defaultdict(set)
        for event in self.world.bus.events:
            copy_id, event_id = event.detail["copy_id"], event.detail["event_id"]
            if event.detail_type in SETTLING.values():
                settling[copy_id].add((event_id, event.detail_type))
            elif event.detail_type != "CopyRejected":
                others[copy_id, event.detail_type].add(event_id)
        if several := {about for about, event_ids in others.items() if len(event_ids) != 1}:
            raise Broken(f"several event ids: {several}")
        return settling

    def _check_ended(self, job: Job) -> None:
        is_renamed = job.status is JobStatus.PASSED and _is_renamed(job)
        if is_renamed and not self._is_overwritten(job) and (missing := self._missing_renamed(job, in_folders=True)):
            raise Broken(f"{_name(job)} passed, but these are not there: {missing}")
        ended = job.attempt - (job.status is JobStatus.CANCELLED)
        if len(job.attempts) != ended or [each.number for each in job.attempts] != [*range(1, ended + 1)]:
            raise Broken(f"attempts are missing: {job}")
        if job.status is JobStatus.FAILED:
            refused = job.attempts[-1].outcome == NOT_STARTED
            if not job.reason or (job.failed_attempts < self.world.max_attempts and not refused):
                raise Broken(f"given up for no reason: {job}")
            if refused and not self.world.scenario.is_doomed(job.sources):
                raise Broken(f"refused for no reason: {job}")

    def _is_overwritten(self, job: Job) -> bool:
        """Whether another copy may have overwritten since what this job has copied into its folder."""
        return any(
            other.destination == job.destination and other.options.action_on_exist == "OVERWRITE" and other.attempts
            for other in self.world.table.job_items.values()
            if other.copy_id != job.copy_id
        )

    def _check_ica_jobs(self) -> None:
        """Every ICA job is accounted for: nothing was launched twice, and none was forgotten."""
        by_id = Counter(each.ica_job_id for each in self.world.attempts() if each.ica_job_id)
        started = {ica_job.id for ica_job in self.world.ica.jobs.values() if not ica_job.strangers}
        if forgotten := started - by_id.keys():
            raise Broken(f"ICA jobs that no attempt knows: {forgotten}")
        if twice := {ica_job_id for ica_job_id, count in by_id.items() if count > 1}:
            raise Broken(f"ICA jobs that two attempts have: {twice}")

    def _check_submissions(self) -> None:
        """Each was accepted or rejected as its projects are known or not, and each task that can be has an answer."""
        unknown_projects = {
            event.detail["copy_id"]
            for event in self.world.bus.events
            if event.detail_type == "CopyRejected" and "cannot be found" in str(event.detail["problems"])
        }
        scenario = self.world.scenario
        for submission in scenario.submissions:
            copy_id, hopeless = submission.body["copy_id"], scenario.names_nobody(submission)
            row = self.world.table.copies.get(copy_id)
            if hopeless and row and not row.copy.redrive_of:  # a redrive may have that id
                raise Broken(f"accepted with a project that nobody knows: {submission}")
            if not hopeless and copy_id in unknown_projects:
                raise Broken(f"rejected although its projects are known: {submission}")
            token = submission.body.get("task_token")
            if token and token not in self.world.tasks.answers and token not in scenario.unanswerable:
                raise Broken(f"nobody answered {token}")

    def _check_redrives(self) -> None:
        """A redrive copies what the jobs that it has marked have not copied, each source once."""
        table = self.world.table
        marked = {(job.copy_id, job.job_id): job.redriven_as for job in table.job_items.values() if job.redriven_as}
        redrives = {copy_id: row.copy.redrive_of for copy_id, row in table.copies.items() if row.copy.redrive_of}
        if others := set(marked.values()) ^ redrives.keys():
            raise Broken(f"marked as redriven by copies that redrive nothing, or redrive what is not marked: {others}")
        for copy_id, origin in redrives.items():
            job_ids = {job_id for (of_copy, job_id), by in marked.items() if by == copy_id and of_copy == origin}
            self._check_redrive(table.copies[origin].copy, job_ids, copy_id)
        for copy_id, row in table.copies.items():
            if row.copy.cancelled_jobs and not row.copy.cancelled_at:
                raise Broken(f"{copy_id} has cancelled jobs, and nobody cancelled it")

    def _check_redrive(self, origin: Copy, job_ids: set[str], copy_id: str) -> None:
        """A redrive copies what the origin's table of files says that its jobs have not copied."""
        key, keys = key_of(origin.copy_id, TABLE), self.world.bucket.keys()
        if key not in keys:
            return
        rows = csv.DictReader(StringIO(self.world.bucket[key].decode(), newline=""))
        left = [
            (row["source"], row["destination"]) for row in rows if row["job"] in job_ids and row["outcome"] != COPIED
        ]
        names = origin.project_names
        copied = [
            (as_spelled(source, names), as_spelled(job.destination, names))
            for job in self.world.table.job_items.values()
            if job.copy_id == copy_id
            for source in job.sources
        ]
        if sorted(copied) != sorted(left):
            raise Broken(f"{copy_id} redrives {copied}, and {origin.copy_id} has left {left}")

    # --- files -------------------------------------------------------------------------------------------------------

    def _files_at(self, source: str) -> Files:
        uri = parse_uri(source)
        project = self.world.ica.named(uri.project)
        if project is None:
            return {}
        path = self.world.ica.normal(uri.path)
        above = path.rstrip("/").rpartition("/")[0] + "/"
        return {
            it.path.removeprefix(above): it.size
            for it in self.world.ica.contents[project.id].values()
            if not it.is_folder and (it.path == path or (uri.is_folder and it.path.startswith(path)))
        }

    def _snapshot(self, job: Job) -> Files:
        """The files that a job is to have copied by now, as they were when it was submitted."""
        spelled = {
            self.world.canonical(uri): files
            for (copy_id, uri), files in self.snapshots.items()
            if copy_id == job.copy_id
        }
        later = set(job.later)
        sources = [source for source in job.sources if source not in later]
        return {below: size for source in sources for below, size in spelled[self.world.canonical(source)].items()}

    def _wanted(self, job: Job) -> Files:
        """Path in the destination project → size: what a job is to have copied by now, as it was submitted."""
        folder = parse_uri(job.destination).path
        return {self.world.ica.normal(folder + below): size for below, size in self._snapshot(job).items()}

    def _available(self, destination: IcaUri) -> list[Datum]:
        project = self.world.ica.named(destination.project)
        assert project
        return [it for it in self.world.ica.contents[project.id].values() if it.status is DataStatus.AVAILABLE]

    def _missing(self, job: Job) -> list[str]:
        """What of it ICA has not at the job's destination."""
        there = {(it.path, it.size) for it in self._available(parse_uri(job.destination))}
        return [path for path, size in self._wanted(job).items() if (path, size) not in there]

    def _has_several_of_a_name(self, job: Job) -> bool:
        """Whether ICA holds two files of one path at the destination: in two forms of Unicode, say. It shows one."""
        paths = Counter(it.path for it in self._available(parse_uri(job.destination)))
        return any(paths[path] > 1 for path in self._wanted(job))

    def _missing_renamed(self, job: Job, in_folders: bool) -> list[str]:
        """What has no whole copy under any name that RENAME gives.

        What lies in folders is looked for when all has settled, and what does not when the job passes.
        """
        if self._takes_icas_word(job, in_folders):
            return []
        uri = parse_uri(job.destination)
        folder = self.world.ica.normal(uri.path)
        there = {(parent_path(it.path), it.size, RENAMED.sub("", it.name)) for it in self._available(uri)}
        return [
            path
            for path, size in self._wanted(job).items()
            if (parent_path(path) != folder) == in_folders
            and (parent_path(path), size, path.rpartition("/")[2]) not in there
        ]

    def _takes_icas_word(self, job: Job, in_folders: bool) -> bool:
        """Whether ICA tells nobody what RENAME has made of the files, so that the product has to believe it."""
        switches, ica = self.world.ica.switches, self.world.ica
        damaged = [it for it in job.attempts if it.ica_job_id and ica.jobs[it.ica_job_id].outcome.damage != "none"]
        # The batch of a job that was adopted is known by that job's subject alone, which may be something else.
        is_told = (
            switches.echo_created_data
            and not switches.items_lag_seconds
            and all(it.outcome in ("SUCCEEDED", Finding.MISMATCH) and it.ica_batch_id in ica.batches for it in damaged)
        )
        if damaged and (in_folders or not is_told or self.world.scenario.is_doomed(job.sources)):
            return True
        return not in_folders and not switches.echo_created_data


def _check_copy(copy: Copy, jobs: list[Job], published: set[tuple[str, str]]) -> None:
    """A copy is settled as its jobs have ended, and was published so by one event, however often that was sent."""
    if len(jobs) != copy.total_jobs or any(job.status in OPEN_STATUSES for job in jobs):
        raise Broken(f"{copy.copy_id} settled with open jobs")
    statuses = {job.status for job in jobs}
    status = CopyStatus.FAILED if JobStatus.FAILED in statuses else CopyStatus.COMPLETED
    status = CopyStatus.CANCELLED if JobStatus.CANCELLED in statuses else status
    word = SETTLING[status]
    if copy.status is not status or {each for _, each in published} != {word}:
        raise Broken(f"{copy.copy_id} is {status}, but published {copy.status} by {published}")
    if len(published) != 1:
        raise Broken(f"{copy.copy_id} has {len(published)} settling event ids")


def _is_renamed(job: Job) -> bool:
    return job.options.action_on_exist == "RENAME"


def _name(job: Job) -> str:
    return f"{job.copy_id}/{job.job_id}"
