"""Part "makespan": settled time over the bound and the ICA calls that it took, beside the loop of old."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from local.bench.baseline import IcaApi, Loop
from local.bench.deployed import QUIET_SECONDS, CopyRun, Deployed, observed
from local.bench.tables import Row, Steps, Table, Tick
from local.manifests import bclconvert_manifest
from local.stack import TOKEN, simulated_ica

FAILURE_RATE, JOB_SECONDS = 0.2, "5:15"
ACTS = ("dataCopyBatch", "createFolder", "items", ":delete")
SEEDS_APART = 1_000
"""Each way has a manifest of its own for a seed: another run's files, folders and projects."""
LOST_SHARE = 0.1
LOST_ANSWER = {"kind": "drop_after", "method": "POST", "path": "/dataCopyBatch$", "probability": LOST_SHARE}
"""ICA starts the copy batch, and the answer does not arrive."""
SLOW_CALL = {"kind": "delay", "delay": 0.05}


@dataclass(frozen=True)
class Way:
    """How a run is copied, and what the simulated ICA is like meanwhile."""

    name: str
    aim: str
    is_loop: bool = False
    notified: bool = True
    switches: Mapping[str, Any] = field(default_factory=dict)
    fault: Mapping[str, Any] | None = None
    every_seed: bool = True
    """Else it is run with the first seed alone."""


ICA = {"failure_rate": FAILURE_RATE, "job_seconds": JOB_SECONDS, "delete_seconds": 0, "skip_counts_partial": True}
"""As it is in all runs, but for the switches of their way. A call is answered at once."""
LOOP = Way("the loop", "about 5", is_loop=True)
KIND_LOOP = Way("the loop, SKIP replaces PARTIAL files", "", is_loop=True, switches={"skip_counts_partial": False})
POLLED = Way("notifications off", "≤ 1.25", notified=False)
NOTIFIED = Way("notifications on", "≤ 1.12")
SLOW = Way("… and each call takes 50 ms", "", fault=SLOW_CALL, every_seed=False)
DELETING = Way("… and a deletion takes 2 s", "", switches={"delete_seconds": 2}, every_seed=False)
LOST = Way("… and some answers are lost", "≤ 1.5 and 15 s", fault=LOST_ANSWER, every_seed=False)
LOOPS, OURS = (LOOP, KIND_LOOP), (POLLED, NOTIFIED, SLOW, DELETING, LOST)
WAYS = (*LOOPS, *OURS)

Runs = dict[str, dict[int, CopyRun]]
"""By the name of the way, and by seed."""


def makespan(deployed: Deployed, seeds: list[int], steps: Steps) -> tuple[list[Table], CopyRun]:
    """The tables, and the run that the timeline shows."""
    runs: Runs = {way.name: {} for way in WAYS}
    with steps.step("makespan: the loop, all of its runs at once", total=len(seeds) * len(LOOPS)) as tick:
        _run_loops(seeds, runs, tick)
    with steps.step("makespan: warming up"):
        deployed.warm_up()
    for seed in seeds:
        for way in OURS:
            if way.every_seed or seed == seeds[0]:
                with steps.step(f"makespan: seed {seed}, {way.name}", total=44) as tick:
                    runs[way.name][seed] = _run(deployed, way, seed, tick)
    deployed.switch(**ICA)
    return [_summary(runs), _calls(runs), _kinds(runs), _each(runs)], runs[NOTIFIED.name][seeds[0]]


def _run_loops(seeds: list[int], runs: Runs, tick: Tick) -> None:
    """Each against an ICA of its own, with the same chance for both settings: most of the time they wait."""

    def run(way: Way, seed: int) -> CopyRun:
        manifest = bclconvert_manifest(seed)
        with simulated_ica(seed) as simulator:
            simulator.post("/switches", {**ICA, **way.switches})
            loop = Loop(IcaApi(simulator.base_url, TOKEN))
            return observed(simulator, manifest, lambda: loop.run(manifest, lambda _: None))

    with ThreadPoolExecutor(len(seeds) * len(LOOPS)) as pool:
        under_way = {pool.submit(run, way, seed): (way, seed) for way in LOOPS for seed in seeds}
        for number, done in enumerate(as_completed(under_way), start=1):
            way, seed = under_way[done]
            runs[way.name][seed] = done.result()
            tick(number)


def _run(deployed: Deployed, way: Way, seed: int, tick: Tick) -> CopyRun:
    number = WAYS.index(way)
    manifest = bclconvert_manifest(seed + SEEDS_APART * number)
    deployed.switch(**{**ICA, **way.switches})
    if way.notified:
        deployed.subscribe(manifest)
    if way.fault:
        deployed.simulator.post("/faults", way.fault)
    copy_id = f"makespan-{number}-{seed}"
    try:
        run = deployed.copy(manifest, lambda: deployed.settle(copy_id, manifest, tick))
    finally:
        deployed.simulator.clear_faults()
    time.sleep(QUIET_SECONDS)
    return run


def _summary(runs: Runs) -> Table:
    rows: list[Row] = []
    for way in WAYS:
        of_way = list(runs[way.name].values())
        ratios = [run.seconds / run.bound for run in of_way]
        row: Row = {"way": way.name, "runs": len(ratios), "median": statistics.median(ratios)}
        for part in ("start", "between", "end"):
            row[f"{part}_s"] = statistics.median(getattr(run, part) for run in of_way)
        row |= {"least": min(ratios), "most": max(ratios), "aim": way.aim}
        rows.append(row | {"files_lost": sum(run.files - run.available for run in of_way)})
    about = (
        f"A run of 118 files in 44 jobs, {FAILURE_RATE:.0%} of ICA's jobs failing, each of "
        f"{JOB_SECONDS.replace(':', '–')} s: time from the submission to the settling event, over the longest chain of "
        "one folder's own ICA jobs. *Start*: from the submission to the first ICA job; *between*: from the end of an "
        "ICA job that failed to the next of its folder; *end*: from the last ICA job's end to the event; medians, in "
        "seconds. The functions were warm. The simulated ICA answers a call at once and deletes a file at once, unless "
        "the row says otherwise: what ICA takes for these comes on top. *Answers are lost*: of "
        f"{LOST_SHARE:.0%} of the calls that start a copy batch, after ICA has started it; the aim is 1.5 times the "
        "bound and 15 s. The local AWS knows no batching windows: on AWS a launch may wait for up to a second more."
    )
    lost = (
        "*Files lost*: not AVAILABLE at their destinations at the end. Those of the loop rest on a belief about ICA: "
        "that SKIP takes a PARTIAL file, which a failed job has left, for a file that is there. The second row is of "
        "an ICA whose SKIP replaces such a file."
    )
    return Table("Makespan ratio", about, rows, [lost])


def _calls(runs: Runs) -> Table:
    rows: list[Row] = []
    for way, by_seed in runs.items():
        of_way = by_seed.values()
        calls = sum(sum(run.calls.values()) for run in of_way)
        launches, files = sum(run.launches for run in of_way), sum(run.files for run in of_way)
        acts = sum(count for run in of_way for call, count in run.calls.items() if call.endswith(ACTS))
        row = {"way": way, "calls": calls, "launches": launches, "calls_per_launch": calls / launches}
        rows.append(row | {"acts_per_launch": acts / launches, "calls_per_file": calls / files})
    about = (
        "In the same runs. The aim: at most 2.5 a launch plus one per 1,000 files. *Acts* are the calls for which the "
        "API knows no batch: to start a copy batch, to create a folder, to read what a failed batch has copied, to "
        "delete one PARTIAL file. All else, looking sources up, looking at jobs, verifying, reading a file by its id "
        "before it is deleted, is the difference."
    )
    return Table("ICA calls", about, rows)


def _kinds(runs: Runs) -> Table:
    counted = {way: sum((Counter(run.calls) for run in of_way.values()), Counter()) for way, of_way in runs.items()}
    kinds = sorted(set().union(*counted.values()))
    rows = [{"call": kind} | {way: counts[kind] for way, counts in counted.items()} for kind in kinds]
    return Table("ICA calls by kind", "All runs of a way together.", rows)


def _each(runs: Runs) -> Table:
    rows: list[Row] = [
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
        for way, by_seed in runs.items()
        for seed, run in by_seed.items()
    ]
    return Table(
        "Each run", "*files there*: AVAILABLE at their destinations.", sorted(rows, key=lambda row: row["seed"])
    )
