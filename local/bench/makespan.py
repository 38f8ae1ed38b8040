"""Part "makespan": settled time over the bound and the ICA calls that it took, beside the loop of old."""

from __future__ import annotations

import statistics
import time
from collections import Counter

from local.bench.baseline import IcaApi, Loop
from local.bench.deployed import QUIET_SECONDS, CopyRun, Deployed
from local.bench.tables import Row, Steps, Table, Tick
from local.manifests import bclconvert_manifest
from local.stack import TOKEN

FAILURE_RATE, JOB_SECONDS = 0.2, "5:15"
NOTIFIED, POLLED, LOOP = "notifications on", "notifications off", "the loop"
AIMS = {NOTIFIED: "≤ 1.12", POLLED: "≤ 1.25", LOOP: "about 5"}
ACTS = ("dataCopyBatch", "createFolder", "items", ":delete")
SEEDS_APART = 1_000
"""Each way has a manifest of its own for a seed: another run's files, folders and projects."""


def makespan(deployed: Deployed, seeds: list[int], steps: Steps) -> tuple[list[Table], CopyRun]:
    """The tables, and the run that the timeline shows."""
    ways = [LOOP, POLLED, NOTIFIED]
    runs: dict[str, list[CopyRun]] = {way: [] for way in ways}
    rows: list[Row] = []
    with steps.step("makespan: warming up"):
        deployed.warm_up()
    deployed.switch(failure_rate=FAILURE_RATE, job_seconds=JOB_SECONDS)
    for seed in seeds:
        for way in ways:
            with steps.step(f"makespan: seed {seed}, {way}", total=44) as tick:
                run = _run(deployed, way, seed, tick)
            runs[way].append(run)
            rows.append(
                {
                    "seed": seed,
                    "way": way,
                    "settled_s": run.seconds,
                    "bound_s": run.bound,
                    "ratio": run.seconds / run.bound,
                    "start_s": run.start,
                    "between_s": run.between,
                    "end_s": run.end,
                    "launches": run.launches,
                    "ica_calls": sum(run.calls.values()),
                    "notices": run.notices,
                    "files_there": f"{run.available} of {run.files}",
                }
            )
    return [
        _summary(runs),
        _calls(runs),
        _kinds(runs),
        Table("Each run", "*files there*: AVAILABLE at their destinations.", rows),
    ], runs[ways[-1]][0]


def _run(deployed: Deployed, way: str, seed: int, tick: Tick) -> CopyRun:
    manifest = bclconvert_manifest(seed + SEEDS_APART * list(AIMS).index(way))
    if way == NOTIFIED:
        deployed.subscribe(manifest)
    if way == LOOP:
        loop = Loop(IcaApi(deployed.stack.ica_base_url, TOKEN))
        return deployed.copy(manifest, lambda: loop.run(manifest, tick))
    copy_id = f"{way.replace(' ', '-')}-{seed}"
    run = deployed.copy(manifest, lambda: deployed.settle(copy_id, manifest, tick))
    time.sleep(QUIET_SECONDS)
    return run


def _summary(runs: dict[str, list[CopyRun]]) -> Table:
    rows: list[Row] = []
    for way, of_way in runs.items():
        ratios = [run.seconds / run.bound for run in of_way]
        row: Row = {"way": way, "runs": len(ratios), "median": statistics.median(ratios)}
        for part in ("start", "between", "end"):
            row[f"{part}_s"] = statistics.median(getattr(run, part) for run in of_way)
        rows.append(row | {"least": min(ratios), "most": max(ratios), "aim": AIMS[way]})
    about = (
        f"A run of 118 files in 44 jobs, {FAILURE_RATE:.0%} of ICA's jobs failing, each of "
        f"{JOB_SECONDS.replace(':', '–')} s: time from the submission to the settling event, over the longest chain of "
        "one folder's own ICA jobs. *Start*: from the submission to the first ICA job; *between*: from the end of an "
        "ICA job that failed to the next of its folder; *end*: from the last ICA job's end to the event; medians, in "
        "seconds. The functions were warm. The local AWS knows no batching windows: on AWS a launch "
        "may wait for up to a second more."
    )
    return Table("Makespan ratio", about, rows)


def _calls(runs: dict[str, list[CopyRun]]) -> Table:
    rows: list[Row] = []
    for way, of_way in runs.items():
        calls = sum(sum(run.calls.values()) for run in of_way)
        launches, files = sum(run.launches for run in of_way), sum(run.files for run in of_way)
        acts = sum(count for run in of_way for call, count in run.calls.items() if call.endswith(ACTS))
        row = {"way": way, "calls": calls, "launches": launches, "calls_per_launch": calls / launches}
        rows.append(row | {"acts_per_launch": acts / launches, "calls_per_file": calls / files})
    about = (
        "In the same runs. The aim: at most 2.5 a launch plus one per 1,000 files. *Acts* are the calls for which the "
        "API knows no batch: to start a copy batch, to create a folder, to read what a failed batch has copied, to "
        "delete one PARTIAL file. All else, looking sources up, looking at jobs, verifying, is the difference."
    )
    return Table("ICA calls", about, rows)


def _kinds(runs: dict[str, list[CopyRun]]) -> Table:
    counted = {way: sum((Counter(run.calls) for run in of_way), Counter()) for way, of_way in runs.items()}
    kinds = sorted(set().union(*counted.values()))
    rows = [{"call": kind} | {way: counts[kind] for way, counts in counted.items()} for kind in kinds]
    return Table("ICA calls by kind", "All runs of a way together.", rows)
