"""The poller with its stages behind it, over a small ICA; what is found of files and items is what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from icav2_copy_batch.domain.happening import Happenings
from icav2_copy_batch.domain.ica import CopyBatchItem, IcaJob
from icav2_copy_batch.domain.job import Claim, CopyStatus, Job, JobKey
from icav2_copy_batch.domain.outcomes import Finding, Fingerprint, SourceOutcome
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages.dispatch import LOST_MESSAGE_AGE
from icav2_copy_batch.stages.items import BatchItems
from icav2_copy_batch.stages.poll import LEAST_SECONDS_TO_POLL, Poll
from icav2_copy_batch.stages.settle import Settle
from icav2_copy_batch.stages.verify import FilesCompared, TreesCompared, Verify
from tests import doubles
from tests.doubles import SmallIca

SOURCES = list(doubles.SOURCES)


@dataclass
class Publisher:
    """Says of each copy that it is completed, but for those that break."""

    breaks: set[str] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    kept_tasks: int = 0

    def keep_tasks(self) -> None:
        self.kept_tasks += 1

    def publish(self, copy_id: str) -> CopyStatus | None:
        if copy_id in self.breaks:
            raise RuntimeError("made by the test")
        self.published.append(copy_id)
        return CopyStatus.COMPLETED


class Reports(Verify, BatchItems):
    """Compares nothing: says of files and items what the test says."""

    def __init__(self) -> None:
        self.wrong: dict[JobKey, list[SourceOutcome]] = {}
        self.unverifiable: set[JobKey] = set()
        self.not_copied: dict[JobKey, list[SourceOutcome]] = {}
        self.trees: dict[JobKey, Callable[[Callable[[], bool]], TreesCompared]] = {}
        """What comes of comparing the trees of a job that has such."""
        self.right: dict[JobKey, dict[str, Fingerprint]] = {}
        self.asked: dict[str, list[JobKey]] = {}
        """Which jobs were asked about for what, at the last poll."""

    def faults(self, jobs: Sequence[Job]) -> FilesCompared:
        keys = self.asked["faults"] = [job.key for job in jobs]
        assert all(job.sources for job in jobs), "whole jobs are verified"
        wrong = {key: self.wrong.get(key, []) for key in keys if key not in self.unverifiable}
        return FilesCompared(wrong, right=self.right)

    def missing(self, jobs: Sequence[Job]) -> FilesCompared:
        """By default all files."""
        keys = self.asked["missing"] = [job.key for job in jobs]
        everything = {
            job.key: [SourceOutcome(source, Finding.MISMATCH, "is not there") for source in job.sources] for job in jobs
        }
        wrong = {key: self.wrong.get(key, everything[key]) for key in keys if key not in self.unverifiable}
        data_ids = {source: f"id of {source}" for job in jobs for source in job.sources}
        return FilesCompared(wrong, data_ids, self.right)

    def has_trees(self, job: Job, succeeded: bool) -> bool:
        return job.key in self.trees

    def pages_listed(self, job: Job) -> int:
        return self.asked["trees"].count(job.key) if "trees" in self.asked else 0

    def compare_trees(self, job: Job, has_time: Callable[[], bool]) -> TreesCompared:
        self.asked.setdefault("trees", []).append(job.key)
        return self.trees[job.key](has_time)

    def read(self, jobs: Sequence[Job]) -> dict[JobKey, list[CopyBatchItem]]:
        keys = self.asked["items"] = [job.key for job in jobs]
        return {key: [] for key in keys if key in self.not_copied}

    def uncopied(
        self, jobs: Sequence[Job], items: Mapping[JobKey, Sequence[CopyBatchItem]], data_ids: Mapping[str, str]
    ) -> dict[JobKey, list[SourceOutcome]]:
        self.asked["uncopied"] = [job.key for job in jobs]
        assert all(job.sources for job in jobs), "of whole jobs the items are read"
        assert data_ids == {source: f"id of {source}" for job in jobs for source in job.sources}, "as just compared"
        return {key: self.not_copied[key] for key in items}


@dataclass(kw_only=True)
class World(doubles.World):
    """The poller has time for one poll, unless it is given more."""

    ica: SmallIca = field(default_factory=SmallIca)
    publisher: Publisher = field(default_factory=Publisher)
    reports: Reports = field(default_factory=Reports)
    seconds_left: float = LEAST_SECONDS_TO_POLL
    max_attempts: int = 3
    settled: Happenings = field(default_factory=Happenings)
    """What became of launches whose end nobody saw."""
    delayed: int = 0
    oldest: list[float] = field(default_factory=list)
    """How old the oldest open job was, each time."""
    unwritten_ended: int = 0
    """How often cancelled copies were ended whose jobs were never all written."""

    def submit(
        self,
        copy_id: str = "run",
        jobs: int = 1,
        due_in: timedelta = LOST_MESSAGE_AGE,
        options: CopyOptions | None = None,
        sources: Sequence[str] = SOURCES,
    ) -> list[Job]:
        destinations = [f"icav2://to/{copy_id}/{number}/" for number in range(jobs)]
        return self.create(*destinations, copy_id=copy_id, sources=sources, options=options, due_in=due_in)

    def run(self, job: Job, ica_status: str | None = "RUNNING", reason: str | None = None) -> Job:
        """From QUEUED to RUNNING; ICA says of its job what the test says."""
        running = doubles.run(self.table, self.now(job), self.clock(), f"ica-{job.copy_id}-{job.job_id}-{job.attempt}")
        if ica_status:
            self.say(running, ica_status, reason)
        return running

    def claim(self, job: Job, due_in: float) -> None:
        """From QUEUED to LAUNCHING; it is to be searched for after so many seconds."""
        lease_until = self.clock() + timedelta(seconds=due_in)
        claim = self.table.claim_for_launch(self.now(job), "project", self.clock(), lease_until, Slots())
        assert claim is Claim.CLAIMED

    def say(self, running: Job, ica_status: str, reason: str | None = None) -> None:
        job_id = str(running.ica_job_id)
        self.ica.jobs_there[job_id] = IcaJob(job_id, ica_status, reason)

    def settle(self, copy_id: str) -> None:
        """A copy of one job that has passed."""
        job = self.run(self.submit(copy_id)[0])
        self.table.mark_passed(job, job.ended_attempt("SUCCEEDED", None, self.clock()), self.clock())

    def settle_launches(self) -> Happenings:
        return self.settled

    def end_unwritten(self) -> None:
        self.unwritten_ended += 1

    def poll(self, triggered: bool = False) -> Happenings:
        return self.poller().poll("this one", triggered)

    def poller(self) -> Poll:
        """A new container's, which remembers nothing."""
        return Poll(
            table=self.table,
            ica=self.ica,
            settle=Settle(
                table=self.table,
                verify=self.reports,
                items=self.reports,
                clock=self.clock,
                seconds_left=lambda: self.seconds_left,
                max_attempts=self.max_attempts,
                spread=doubles.in_turn,
            ),
            settle_launches=self.settle_launches,
            dispatch=self.dispatch,
            publish=self.publisher,
            note_oldest=self.oldest.append,
            report_delays=lambda: self.delayed,
            end_unwritten=self.end_unwritten,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            sleep=self.sleep,
        )

    def sent(self) -> list[tuple[str, str]]:
        return [(request.copy_id, request.job_id) for request in self.queue.sent]


def succeeds_too_early(world: World, jobs: int = 1) -> list[Job]:
    """ICA calls them succeeded, and their files do not show yet."""
    running = [world.run(job, "SUCCEEDED") for job in world.submit(jobs=jobs)]
    for job in running:
        wrong = [SourceOutcome(SOURCES[0], Finding.MISMATCH, "icav2://to/run/0/a is not there")]
        world.reports.wrong[job.key] = wrong
    return running
