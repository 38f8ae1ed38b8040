"""What is promised of pauses, holds and cancels, checked at every moment, at each claim, and when all has settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from icav2_copy_batch.domain.job import Copy, Job, JobStatus, OpenJob
from icav2_copy_batch.domain.requests import Cancel, Pause, Redrive, Request, Resume
from icav2_copy_batch.domain.stops import ALL, copy_subject, pause_subjects, project_subject
from tests.simulation.deployed import DELAYED_AFTER
from tests.simulation.invariants import OPEN_STATUSES, Broken
from tests.simulation.world import World

LOOKS_EVERY_SECONDS = 60.0
ENDS_WITHIN = timedelta(minutes=15)
"""A cancelled copy ends so soon once there is nothing of it at ICA, whatever is paused."""
TOLERANCE = timedelta(minutes=1)

Interval = tuple[datetime, datetime]


class Stopped:
    """Knows what is paused and cancelled in a world, by what the functions have carried out, and checks it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cancelled: set[str] = set()
        """Copies whose cancel was carried out."""
        self.paused: set[str] = set()
        """Subjects of pauses that were carried out, until somebody asks to resume them."""
        self.resumed: set[str] = set()
        """Subjects of which a resume was carried out, until somebody asks to pause them again."""
        self.held = {str(each.body["copy_id"]) for each in world.scenario.submissions if each.body.get("hold")}
        """Copies that are held until somebody asks to resume them."""
        self.told: set[str] = set()
        """Copies of which ``CopyStarted`` was put."""
        self._pausing: Counter[str] = Counter()
        self._resuming: Counter[str] = Counter()
        """How often each subject is just being paused or resumed."""
        self._since: dict[str, datetime] = {}
        """Subject that the table has paused → since when."""
        self._ended: dict[str, list[Interval]] = {}
        """Subject → from when until when it was paused."""
        self._read = 0
        """How many events have been looked at."""
        self._idle_since: dict[str, datetime] = {}
        """Cancelled copy that is open → since when ICA has nothing to do with it."""

    def concerned(self, request: Cancel | Redrive | Pause) -> tuple[list[Job], list[Copy]]:
        """The jobs that a command is about, and their copies."""
        table = self.world.table
        if request.copy_id:
            jobs = [job for job in table.job_items.values() if job.copy_id == request.copy_id]
            return jobs, [row.copy for copy_id, row in table.copies.items() if copy_id == request.copy_id]
        assert isinstance(request, Pause)
        subject = self._meant(request.subject)
        jobs = [job for job in table.job_items.values() if subject in pause_subjects(job.copy_id, job.project)]
        copy_ids = {job.copy_id for job in jobs}
        return jobs, [row.copy for copy_id, row in table.copies.items() if copy_id in copy_ids]

    @contextmanager
    def carrying_out(self, request: Request) -> Iterator[None]:
        """While a function carries out a cancel, a pause or a resume. What it raises has not been promised."""
        under_way = None
        if isinstance(request, Pause):
            subject = self._meant(request.subject)
            under_way = self._resuming if isinstance(request, Resume) else self._pausing
            under_way[subject] += 1
            (self.paused if isinstance(request, Resume) else self.resumed).discard(subject)
            if isinstance(request, Resume):
                self.held.discard(str(request.copy_id))
        try:
            yield
        finally:
            if under_way is not None:
                under_way[subject] -= 1
        if isinstance(request, Resume):
            if not self._pausing[subject]:
                self.resumed.add(subject)
        elif isinstance(request, Pause):
            if not self._resuming[subject]:
                self.paused.add(subject)
        elif isinstance(request, Cancel):
            if not self.cancelled:
                self.world.engine.later(LOOKS_EVERY_SECONDS, self._look)
            self.cancelled.add(request.copy_id)

    def _meant(self, subject: str) -> str:
        """What somebody means by a subject, who may write a project in capitals, or its name."""
        kind, _, name = subject.partition(" ")
        if kind != "project":
            return subject
        ids = {each.replace(" ", "-"): project_id for each, project_id in self.world.scenario.projects.items()}
        return project_subject(ids.get(name, name.lower()))

    # --- at each move of a job ---------------------------------------------------------------------------------------

    def check_claim(self, verb: str, job: Job) -> None:
        """No job of a cancelled copy, or of what is paused or held, is claimed."""
        if verb != "claim_for_launch":
            return
        subjects = {ALL, copy_subject(job.copy_id), project_subject(str(job.ica_project_id))}
        is_held = job.copy_id in self.held and not self.world.table.copies[job.copy_id].copy.redrive_of
        if is_held or job.copy_id in self.cancelled or subjects & self.paused:
            self.world.broken.append(f"claimed although cancelled, paused or held: {job.copy_id}/{job.job_id}")

    def check_intent(self, job: OpenJob) -> None:
        """Of a cancelled copy ICA is asked for nothing any more."""
        if job.copy_id in self.cancelled:
            self.world.broken.append(f"about to ask ICA although cancelled: {job.copy_id}/{job.job_id}")

    # --- at every moment ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What was resumed is not paused again by itself, and nobody is told of a delay of what was only paused."""
        if self._since or self.world.table.paused_items:
            self._note_pauses()
        if again := self.resumed & self._since.keys():
            self.world.broken.append(f"paused, though nobody has asked for that since its resume: {again}")
        events = self.world.bus.events
        while self._read < len(events):
            event = events[self._read]
            self._read += 1
            if event.detail_type == "CopyStarted":
                self.told.add(event.detail["copy_id"])
            if event.detail_type == "CopyDelayed" and self._was_only_paused(event.detail):
                self.world.broken.append(f"a delay is told of what was only paused: {event.detail}")

    def _note_pauses(self) -> None:
        """Note what the table has paused, and until when it had: whoever has written that."""
        now = self.world.engine.now
        present = {self._meant(subject) for subject in self.world.table.paused_items}
        for subject in self._since.keys() - present:
            self._ended.setdefault(subject, []).append((self._since.pop(subject), now))
        for subject in present - self._since.keys():
            self._since[subject] = now

    def _was_only_paused(self, detail: dict[str, Any]) -> bool:
        """Whether none of the jobs of which a delay is told has waited too long for anything but the end of a pause."""
        if not detail["all_jobs_written"]:
            return False
        since = {each["job_id"]: each["since"] for each in detail["delayed_jobs"]}
        if any(each["job_status"] != JobStatus.QUEUED for each in detail["delayed_jobs"]):
            return False
        jobs = [
            job
            for job in self.world.table.job_items.values()
            if job.copy_id == detail["copy_id"] and (job.job_id in since or not since) and job.status in OPEN_STATUSES
        ]
        return all(
            self._waited(job, datetime.fromisoformat(since.get(job.job_id, detail["submitted_at"])))
            < DELAYED_AFTER - TOLERANCE
            for job in jobs
        )

    def _waited(self, job: Job, since: datetime) -> timedelta:
        """For how long a job has waited, not counting the time for which it was paused."""
        now = self.world.engine.now
        intervals: list[Interval] = []
        for subject in pause_subjects(job.copy_id, job.project):
            intervals += self._ended.get(subject, [])
            if subject in self._since:
                intervals.append((self._since[subject], now))
        return (now - since) - _covered(intervals, since)

    def _look(self) -> None:
        """A cancelled copy ends, also while it, its project or everything is paused."""
        table, now = self.world.table, self.world.engine.now
        for copy_id in sorted(self.cancelled):
            copy = table.copies[copy_id].copy
            if copy.is_settled:
                continue
            at_work = any(
                job.copy_id == copy_id and job.status in (JobStatus.LAUNCHING, JobStatus.RUNNING)
                for job in table.job_items.values()
            )
            if at_work or not copy.ingested_at or now < self.world.faults_end:
                self._idle_since[copy_id] = now
            elif now - self._idle_since.setdefault(copy_id, now) > ENDS_WITHIN:
                self.world.broken.append(f"cancelled, and not ended in {ENDS_WITHIN}: {copy_id}, paused: {self.paused}")
        if not self.world.is_over():
            self.world.engine.later(LOOKS_EVERY_SECONDS, self._look)

    # --- when all has settled ----------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Of a settled copy the table keeps no pause and no cancel."""
        table = self.world.table
        kept = {subject for subject in table.paused_items if subject in set(map(copy_subject, table.copies))}
        if kept or table.cancelled:
            raise Broken(f"kept of copies that have settled: pauses {kept}, cancelled {table.cancelled}")


def _covered(intervals: Iterable[Interval], since: datetime) -> timedelta:
    """How much of the time from a moment on lies in one of these intervals, which may overlap."""
    covered, until = timedelta(), since
    for start, end in sorted(intervals):
        if end > until:
            covered += end - max(start, until)
            until = end
    return covered
