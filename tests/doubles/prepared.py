"""Jobs, and the pace of calls, brought to where a test needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING
from weakref import ref

from icav2_copy_batch.adapters.ica.pacing import Pacing
from icav2_copy_batch.domain.job import Claim, Hold, HoldReason, Job, LaunchRequest
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.outcomes import Fingerprint
from icav2_copy_batch.domain.pace import first_pace
from icav2_copy_batch.domain.schedule import Slots, Waiting
from icav2_copy_batch.domain.submit import CopyOptions
from tests.doubles.clock import Clock
from tests.doubles.table import Table

if TYPE_CHECKING:
    from icav2_copy_batch.adapters.table import CopyTable


def run(table: Table, job: Job, now: datetime, ica_job_id: str = "ica-job", ica_project_id: str = "project") -> Job:
    """Bring a queued job to RUNNING; the job as it is then."""
    assert table.claim_for_launch(job, ica_project_id, now, now, Slots()) is Claim.CLAIMED
    claimed = table.job_items[job.copy_id, job.job_id]
    assert table.mark_running(claimed, ica_job_id, f"batch-of-{ica_job_id}", now, now)
    return table.job_items[job.copy_id, job.job_id]


class _Fingerprints(dict[str, Fingerprint]):
    """A mapping to which a weak reference is possible."""


@dataclass
class HeavyJobs:
    """The jobs of a table, each with fingerprints of which it can be told whether somebody keeps them."""

    table: Table
    kept: list[int] = field(default_factory=list)
    """At each job: of how many earlier ones the fingerprints were still kept."""
    _made: list[ref[_Fingerprints]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._jobs = self.table.jobs

    def jobs(self, copy_id: str, after: str | None = None) -> Iterator[Job]:
        for job in self._jobs(copy_id, after):
            self.kept.append(sum(each() is not None for each in self._made))
            yield self._heavy(job)

    def _heavy(self, job: Job) -> Job:
        fingerprints = _Fingerprints({source: Fingerprint(1) for source in job.sources})
        self._made.append(ref(fingerprints))
        return replace(job, attempts=tuple(replace(each, fingerprints=fingerprints) for each in job.attempts))


def create_due_jobs(
    table: Table | CopyTable,
    copy_id: str,
    planned: Sequence[PlannedJob],
    options: CopyOptions,
    now: datetime,
    due_at: datetime,
) -> list[Job]:
    """A copy's jobs, each as if it had had its first launch message."""
    table.create_jobs(copy_id, planned, options, now)
    for job in (job for job in table.jobs(copy_id) if job.due_at is None):
        assert table.mark_sent(Waiting(LaunchRequest(copy_id, job.job_id, job.attempt), job.project), now, due_at)
    return list(table.jobs(copy_id))


def hold(detail: str, reason: HoldReason = HoldReason.ICA_UNAVAILABLE) -> Hold:
    """Why a job does not move on."""
    return Hold(reason, detail)


def pacing(table: Table, clock: Clock) -> Pacing:
    """The pacing of a use case that makes no call to ICA of its own."""
    return Pacing(
        table=table, clock=clock, sleep=lambda seconds: clock.forward(seconds=seconds), seconds_left=lambda: 900.0
    )


def nobody_calls_until(table: Table, now: datetime, until: datetime) -> None:
    """As after a 429 that forbids calls until then."""
    table.pace_item = first_pace(0, now, (until - now).total_seconds())
