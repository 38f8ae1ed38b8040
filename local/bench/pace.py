"""Part "pace": a run against an ICA that takes so many calls a second and no more."""

from __future__ import annotations

import time
from typing import Any

from icav2_copy_batch.adapters.table.models import PACE_KEY
from local.bench.deployed import QUIET_SECONDS, CopyRun, Deployed
from local.bench.tables import Row, Steps, Table, Tick
from local.manifests import bclconvert_manifest

FAILURE_RATE, JOB_SECONDS = 0.2, "2:4"
FIRST, AGAIN = "nothing known", "known"
FIRST_SEED = 5_000
"""Each run has a manifest of its own: other files, folders and projects."""


def pace(deployed: Deployed, limits: list[int], steps: Steps) -> list[Table]:
    with steps.step("pace: warming up"):
        deployed.warm_up(2)
    rows: list[Row] = []
    try:
        for number, limit in enumerate(limits):
            for again, known in enumerate((FIRST, AGAIN) if limit else (FIRST,)):
                if known == FIRST:
                    _forget(deployed)
                with steps.step(f"pace: {limit} calls a second, {known}", total=44) as tick:
                    rows.append({"limit": limit, "limit_is": known, **_run(deployed, limit, 2 * number + again, tick)})
    finally:
        deployed.switch(rate_limit=0)
    about = (
        f"A run of 118 files in 44 jobs, {FAILURE_RATE:.0%} of ICA's jobs failing, each of "
        f"{JOB_SECONDS.replace(':', '–')} s, without notifications, where ICA answers *limit* calls in any one second "
        "and all others with 429; 0 is no limit. *Known*: from the run just before. *Bound*: the longest chain of one "
        "folder's own ICA jobs, or the time that the answered calls take at the limit, whichever is longer. The aim at "
        "6 calls a second: at most 10 % of the calls refused, and 1.3 times the bound."
    )
    return [Table("Where ICA limits calls", about, rows)]


def _run(deployed: Deployed, limit: int, number: int, tick: Tick) -> dict[str, Any]:
    deployed.switch(failure_rate=FAILURE_RATE, job_seconds=JOB_SECONDS, rate_limit=limit)
    manifest = bclconvert_manifest(FIRST_SEED + number)
    run = deployed.copy(manifest, lambda: deployed.settle(f"pace-{number}", manifest, tick))
    answers: dict[str, int] = deployed.simulator.get("/state")["answers"]
    time.sleep(QUIET_SECONDS)
    return _row(run, limit, answers)


def _row(run: CopyRun, limit: int, answers: dict[str, int]) -> dict[str, Any]:
    calls, refused = sum(answers.values()), answers.get("429", 0)
    bound = max(run.bound, (calls - refused) / limit if limit else 0)
    return {
        "calls": calls,
        "refused_429": refused,
        "refused_share": refused / calls,
        "settled_s": run.seconds,
        "bound_s": bound,
        "ratio": run.seconds / bound,
        "launches": run.launches,
        "files_there": f"{run.available} of {run.files}",
    }


def _forget(deployed: Deployed) -> None:
    """What the functions know of a limit."""
    copy_id, item = PACE_KEY
    key = {"copy_id": {"S": copy_id}, "item": {"S": item}}
    deployed.stack.client("dynamodb").delete_item(TableName=deployed.stack.outputs["CopyTableName"], Key=key)
