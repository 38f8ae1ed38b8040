"""The person who is told of launches that nobody could decide about."""

from __future__ import annotations

from functools import partial
from typing import Any

from icav2_copy_batch.domain.ica import IcaError
from icav2_copy_batch.domain.job import Job, JobStatus
from icav2_copy_batch.domain.uri import nfc
from icav2_copy_batch.stages.reconcile import DecisionRefused
from local.simulator.model import Job as IcaJob
from tests.simulation.aws import AwsTrouble
from tests.simulation.world import World

LOOKS_EVERY_SECONDS = 600.0
COMMAND_SECONDS = 300.0


class Operator:
    """Looks every few minutes, and decides with the commands ``adopt`` and ``release``."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self) -> None:
        for job in list(self.world.table.job_items.values()):
            if job.status is JobStatus.LAUNCHING and job.undecided_since and self._is_told(job):
                self.world.engine.later(0, partial(self._decide, job))
        if not self.world.is_over():
            self.world.engine.later(LOOKS_EVERY_SECONDS, self.look)

    def _is_told(self, job: Job) -> bool:
        """Whether she knows that this launch may have started something."""
        delayed = {event.detail["copy_id"] for event in self.world.bus.events if event.detail_type == "CopyDelayed"}
        return job.copy_id in delayed and self.world.counts["metric LaunchesUndecided"] > 0

    def _decide(self, job: Job) -> None:
        started = self._started_by(job)
        if len(started) > 1:
            self.world.broken.append(f"two ICA jobs for one launch: {job}")
            return
        self.world.count("operator adopts" if started else "operator releases")
        self._command(job, started[0].id if started else None)

    def _started_by(self, job: Job) -> list[IcaJob]:
        """What she sees in ICA: the jobs that copy the same into the same folder, and that no attempt knows."""
        world = self.world
        known = {each.ica_job_id for each in world.attempts()}
        known |= {each.ica_job_id for each in world.table.job_items.values()}
        project_id, folder = world.canonical(job.destination)
        sources = {world.canonical(source) for source in job.uncopied}
        return [
            ica_job
            for ica_job in world.ica.jobs.values()
            if not ica_job.strangers
            and ica_job.id not in known
            and (ica_job.project.id, ica_job.folder_path) == (project_id, world.ica.normal(folder))
            and {(item.source.project_id, nfc(item.source.path)) for item in ica_job.items} == sources
        ]

    def _command(self, job: Job, ica_job_id: str | None) -> None:
        reconcile = self.world.container("operator").reconcile

        def work() -> None:
            if ica_job_id:
                reconcile.adopt(job.copy_id, job.job_id, ica_job_id)
            else:
                reconcile.release(job.copy_id, job.job_id)

        def ended(result: Any) -> None:
            if isinstance(result, Exception) and not isinstance(result, AwsTrouble | IcaError | DecisionRefused):
                self.world.broken.append(f"the operator's command ended with {result!r}")

        self.world.engine.start("operator", COMMAND_SECONDS, work, ended)
