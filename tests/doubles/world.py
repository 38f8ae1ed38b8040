"""What the worlds of the unit tests have in common: AWS in memory, a clock that stands still, and jobs in the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from icav2_copy_batch.domain.job import Copy, Job, timestamp
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.submit import CopyOptions
from icav2_copy_batch.stages.dispatch import Dispatch
from icav2_copy_batch.stages.operate import Operate
from icav2_copy_batch.stages.publish import Publish
from tests.doubles.aws import Bucket, Bus, Queue, Tasks
from tests.doubles.clock import Clock, in_turn
from tests.doubles.line import Line
from tests.doubles.prepared import create_due_jobs, pacing
from tests.doubles.table import Table

SOURCES = ("icav2://from/a", "icav2://from/b")


@dataclass(kw_only=True)
class World:
    """A test's own world adds the stage that it tests. All of AWS hangs on one line, which can be cut."""

    line: Line = field(default_factory=Line)
    clock: Clock = field(default_factory=Clock)
    slots: Slots = field(default_factory=Slots)
    seconds_left: float = 900.0
    sources: Sequence[str] = SOURCES
    """Those of a job, by default."""
    slept: list[float] = field(default_factory=list)

    cancelled: list[int] = field(default_factory=list)
    """Of how many cancelled jobs was told, each time."""

    def __post_init__(self) -> None:
        self.table, self.queue = Table(self.line), Queue(self.line)
        self.bucket, self.bus, self.tasks = Bucket(self.line), Bus(self.line), Tasks(self.line)

    @property
    def dispatch(self) -> Dispatch:
        return Dispatch(
            table=self.table,
            queue=self.queue,
            pacing=pacing(self.table, self.clock),
            clock=self.clock,
            count_cancelled=self.cancelled.append,
            slots=self.slots,
            spread=in_turn,
        )

    @property
    def operate(self) -> Operate:
        return Operate(
            table=self.table,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
            count_cancelled=self.cancelled.append,
            spread=in_turn,
        )

    @property
    def publish(self) -> Publish:
        return Publish(
            table=self.table,
            bucket=self.bucket,
            bus=self.bus,
            tasks=self.tasks,
            clock=self.clock,
            seconds_left=lambda: self.seconds_left,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds=seconds)
        self.seconds_left -= seconds

    def create(
        self,
        *destinations: str,
        copy_id: str = "run",
        sources: Sequence[str] | None = None,
        options: CopyOptions | None = None,
        due_in: timedelta = timedelta(),
    ) -> list[Job]:
        """A copy with a job of these sources into each destination. Each has had its first message.

        That message is taken for lost after ``due_in``.
        """
        now = self.clock()
        planned = [PlannedJob(destination, tuple(sources or self.sources)) for destination in destinations]
        self.create_copy(planned, copy_id)
        return create_due_jobs(self.table, copy_id, planned, options or CopyOptions(), now, now + due_in)

    def create_copy(
        self, planned: Sequence[PlannedJob], copy_id: str = "run", task_tokens: frozenset[str] = frozenset()
    ) -> None:
        """The item of a copy of these jobs."""
        count, now = len(planned), timestamp(self.clock())
        self.table.create_copy(Copy(copy_id, "digest", now, count, count, "s3://our-bucket/m", task_tokens=task_tokens))

    def now(self, job: Job) -> Job:
        """The job as it is now."""
        return self.table.job_items[job.copy_id, job.job_id]
