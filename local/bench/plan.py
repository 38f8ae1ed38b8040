"""Part "plan": copies that are planned first, and then made: what was planned beside what came of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import islice

from icav2_copy_batch.adapters.table.models import COPY_ITEM
from icav2_copy_batch.client import Plan
from icav2_copy_batch.domain.uri import parse_uri
from local.bench.deployed import CopyRun, Deployed
from local.bench.tables import Row, Steps, Table, Tick
from local.manifests import Manifest, bclconvert_manifest

FAILURE_RATE, JOB_SECONDS = 0.2, "1:3"
COPIES_BEFORE = 6
"""These are the history of the first plan. Each plan has those before it in its history too.

They are as large as those that are planned: on one machine an attempt takes longer, the more go on at once.
"""
FOLDERS = 12
"""Destination folders of a copy that is planned."""
FIRST_SEED = 20_000
WARM_UP = 3
"""In its copy, which is in no history, the functions start, all at once on this machine, and ICA's jobs are short."""


@dataclass(frozen=True)
class Planned:
    """A plan, the copy that was then made, and what ICA holds of it."""

    plan: Plan
    run: CopyRun
    copied_bytes: int

    @property
    def is_as_planned(self) -> bool:
        """Whether as many files and bytes were copied."""
        return (self.plan.files, self.plan.bytes) == (self.run.available, self.copied_bytes)

    @property
    def is_in_time(self) -> bool:
        return self.run.seconds <= self.plan.forecast.p95_seconds

    @property
    def off_by(self) -> float:
        """The share by which it settled later than planned, or earlier."""
        return self.run.seconds / self.plan.forecast.p50_seconds - 1


def plan(deployed: Deployed, runs: int, steps: Steps) -> list[Table]:
    with steps.step("plan: warming up"):
        deployed.warm_up(WARM_UP)
        _forget(deployed, f"warm-up-{WARM_UP}")
    deployed.switch(failure_rate=FAILURE_RATE, job_seconds=JOB_SECONDS, delete_seconds=0)
    for number in range(COPIES_BEFORE):
        manifest = _last_folders(bclconvert_manifest(FIRST_SEED + number))
        with steps.step(f"plan: a history, {number + 1} of {COPIES_BEFORE}", total=FOLDERS) as tick:
            _copy(deployed, f"history-{number}", manifest, tick)
    planned = []
    for number in range(runs):
        manifest = _last_folders(bclconvert_manifest(FIRST_SEED + COPIES_BEFORE + number))
        with steps.step(f"plan: copy {number + 1} of {runs}", total=FOLDERS) as tick:
            deployed.simulator.stock(manifest)
            found = deployed.stack.copies.plan(manifest)
            run = _copy(deployed, f"planned-{number}", manifest, tick)
            planned.append(Planned(found, run, _copied_bytes(deployed, manifest)))
    return [_summary(planned), _each(planned)]


def _copy(deployed: Deployed, copy_id: str, manifest: Manifest, tick: Tick) -> CopyRun:
    deployed.subscribe(manifest)
    return deployed.copy(manifest, lambda: deployed.settle(copy_id, manifest, tick))


def _forget(deployed: Deployed, copy_id: str) -> None:
    """Take a copy out of the history."""
    key = {"copy_id": {"S": copy_id}, "item": {"S": COPY_ITEM}}
    deployed.stack.client("dynamodb").delete_item(TableName=deployed.stack.outputs["CopyTableName"], Key=key)


def _last_folders(manifest: Manifest) -> Manifest:
    """The part of a run that goes into its last destination folders, among which are the large ones."""
    folders = dict.fromkeys(to for destinations in reversed(manifest.values()) for to in destinations)
    kept = set(islice(folders, FOLDERS))
    return {source: to for source, to in manifest.items() if to[0] in kept}


def _copied_bytes(deployed: Deployed, manifest: Manifest) -> int:
    """The bytes of the files that are AVAILABLE in the destination projects, in which nothing else lies."""
    projects = {parse_uri(to).project for destinations in manifest.values() for to in destinations}
    files = [file for project in projects for file in deployed.simulator.files(project).values()]
    return sum(file["size"] for file in files if file["status"] == "AVAILABLE")


def _summary(planned: list[Planned]) -> Table:
    about = (
        f"Copies into {FOLDERS} folders, {FAILURE_RATE:.0%} of ICA's jobs failing, each of "
        f"{JOB_SECONDS.replace(':', '–')} s, with notifications; each was planned by the Python client and then "
        f"submitted. The history of the first plan is {COPIES_BEFORE} such copies; each plan has all before it. "
        "*As planned*: as many files and bytes were AVAILABLE at their destinations. *p50 error*: the median share by "
        "which a copy settled later or earlier than the plan's p50."
    )
    errors = [each.off_by for each in planned]
    row: Row = {
        "copies": len(planned),
        "as_planned": sum(each.is_as_planned for each in planned),
        "settled_within_p95": sum(each.is_in_time for each in planned),
        "settled_within_p50": sum(each.off_by <= 0 for each in planned),
        "p50_error": statistics.median(map(abs, errors)),
        "median_of_the_errors": statistics.median(errors),
    }
    return Table("A plan and what came of it", about, [row])


def _each(planned: list[Planned]) -> Table:
    rows: list[Row] = [
        {
            "copy": number,
            "jobs": each.plan.jobs,
            "files_planned": each.plan.files,
            "files_there": each.run.available,
            "bytes_planned": each.plan.bytes,
            "bytes_there": each.copied_bytes,
            "attempts_in_history": each.plan.forecast.history_attempts,
            "failure_rate": each.plan.forecast.failure_rate,
            "p50_s": each.plan.forecast.p50_seconds,
            "p95_s": each.plan.forecast.p95_seconds,
            "settled_s": each.run.seconds,
            "bound_s": each.run.bound,
            "ica_calls_planned": each.plan.cost.ica_calls,
            "ica_calls": sum(each.run.calls.values()),
            "launches_planned": each.plan.cost.attempts,
            "launches": each.run.launches,
        }
        for number, each in enumerate(planned, start=1)
    ]
    return Table("Each plan", "*Bound*: as of the makespan.", rows)
