"""Parts "scale" and "cost": the stack with a meter between its functions and the local AWS."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.bench.deployed import QUIET_SECONDS, Deployed
from local.bench.ingest import entries
from local.bench.makespan import FAILURE_RATE, JOB_SECONDS
from local.bench.meter import Meter
from local.bench.tables import Row, Steps, Table
from local.manifests import bclconvert_manifest

FILES_PER_JOB = 2
COST_SEED = 8_000
"""No other part has a run of this seed: its files would be there already."""
PRICES_AS_OF = "2025-06"
PRICES = {
    # us-east-1, list prices in dollars for one unit, without any free tier
    "DynamoDB write units": 0.625e-6,
    "DynamoDB read units": 0.125e-6,
    "SQS requests": 0.40e-6,
    "Lambda requests": 0.20e-6,
    "Lambda GB-s (arm64)": 13.3334e-6,
    "EventBridge events": 1.00e-6,
    "S3 PUT": 5.0e-6,
    "S3 GET": 0.4e-6,
    "Secrets Manager requests": 5.0e-6,
    "CloudWatch Logs GB": 0.50,
}
NAMED = b"AWS_LAMBDA_FUNCTION_NAME="
REPORT = re.compile(r"^REPORT .*Billed Duration: ([\d.]+) ms\s+Memory Size: (\d+) MB")


def scale(deployed: Deployed, meter: Meter, jobs: list[int], limit_seconds: float, steps: Steps) -> list[Table]:
    rows: list[Row] = []
    notes = []
    deployed.switch(failure_rate=0, job_seconds="0.2:0.5")
    for count in jobs:
        copy_id = f"scale-{count}"
        manifest = {source: [to] for source, to in entries(count * FILES_PER_JOB, FILES_PER_JOB, copy_id)}
        with steps.step(f"scale: {count:,} jobs", total=count) as tick:
            deployed.simulator.stock(manifest)
            deployed.simulator.post("/counts:reset", {})
            meter.reset()
            seconds = deployed.settle(copy_id, manifest, tick, limit_seconds)
            ended = deployed.ended_jobs(copy_id)
            calls = deployed.simulator.get("/state")["total_calls"]
        if seconds is None:
            notes.append(f"{count:,} jobs: stopped after {limit_seconds:.0f} s, when {ended:,} of them had ended.")
        row: Row = {"jobs": count, "ended": ended, "jobs_per_s": ended / (seconds or limit_seconds)}
        per_job: dict[str, float] = {"ica_calls": calls, "write_units": meter.units["wru"]}
        per_job |= {"refused_writes": meter.units["refused writes"], "read_units": meter.units["rru"]}
        rows.append(row | {f"{name}_per_job": number / max(ended, 1) for name, number in per_job.items()})
        if seconds is None:
            break
    about = (
        f"Copies of {FILES_PER_JOB} files to a job, ICA jobs of 0.2–0.5 s, none failing. Jobs a second are this "
        "machine's (the local AWS, the simulated ICA and all functions share it); what a job takes should be flat. A "
        "refused write is one whose condition did not hold; it is among the write units."
    )
    return [Table("Scale", about, rows, notes)]


def cost(deployed: Deployed, meter: Meter, steps: Steps) -> list[Table]:
    manifest = bclconvert_manifest(COST_SEED)
    jobs = len({to for destinations in manifest.values() for to in destinations})
    deployed.switch(failure_rate=FAILURE_RATE, job_seconds=JOB_SECONDS)
    deployed.subscribe(manifest)
    meter.reset()
    since_ms, before = int(time.time() * 1000), workers()
    with steps.step("cost: a run with the meter", total=jobs) as tick:
        run = deployed.copy(manifest, lambda: deployed.settle("cost", manifest, tick))
        time.sleep(QUIET_SECONDS)
    functions, usage = _functions(deployed, since_ms, before, workers())
    usage |= {
        "DynamoDB write units": meter.units["wru"],
        "DynamoDB read units": meter.units["rru"],
        # Lambda's own receiving and deleting, the upload's event, ICA's notices, and what the functions send.
        "SQS requests": usage["SQS requests"] + 1 + run.notices + meter.units["sqs"],
        "EventBridge events": meter.units["events"],
        "S3 PUT": 1 + meter.units["s3 PUT"],
        "S3 GET": meter.units["s3 GET"],
        "Secrets Manager requests": meter.units["secretsmanager"],
    }
    rows: list[Row] = []
    for name, price in PRICES.items():
        amount = 1000 * usage[name] / jobs
        rows.append({"unit": name, "per_1000_jobs": amount, "price": price, "dollars": amount * price})
    total = sum(row["dollars"] for row in rows)
    rows.append({"unit": "**all**", "per_1000_jobs": None, "price": None, "dollars": total})
    about = (
        f"What 1,000 jobs cost: counted on one run of {jobs} jobs ({run.launches} launches, {run.files} files, "
        f"{FAILURE_RATE:.0%} of ICA's jobs failing) and scaled. List prices of us-east-1, {PRICES_AS_OF}, without free "
        "tier. The GB-seconds are of this machine. Not counted: storage, X-Ray, and what the schedule and the queues' "
        "empty receives cost, copies or none."
    )
    return [Table("Cost", about, rows), Table("Functions in that run", "", functions)]


@dataclass
class Worker:
    """What the processes of one function have used."""

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


def workers() -> dict[str, Worker]:
    """The processes in which the local AWS runs functions, by function; none where there is no ``/proc``."""
    found: dict[str, Worker] = defaultdict(Worker)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            times = (process / "stat").read_text().rpartition(")")[2].split()
            peak = re.search(r"^VmHWM:\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
        except OSError:
            continue
        name = next((each.removeprefix(NAMED).decode() for each in variables if each.startswith(NAMED)), None)
        if name and peak:
            worker = found[name]
            worker.cpu_seconds += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
            worker.peak_mb = max(worker.peak_mb, int(peak[1]) / 1024)
    return found


def _functions(
    deployed: Deployed, since_ms: int, before: Mapping[str, Worker], after: Mapping[str, Worker]
) -> tuple[list[Row], dict[str, float]]:
    """What each function's log and processes tell, and the sum of it in billed units."""
    client, logs = deployed.stack.client("lambda"), deployed.stack.client("logs")
    mappings = client.list_event_source_mappings()["EventSourceMappings"]
    queued = {each["FunctionArn"] for each in mappings if ":sqs:" in each["EventSourceArn"]}
    rows: list[Row] = []
    usage: dict[str, float] = defaultdict(float)
    for function in client.list_functions()["Functions"]:
        group = function.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function['FunctionName']}"
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms)
        messages = [event["message"] for page in pages for event in page["events"]]
        reports = [(float(found[1]), int(found[2])) for message in messages if (found := REPORT.search(message))]
        gb_seconds = sum(milliseconds / 1000 * memory / 1024 for milliseconds, memory in reports)
        name = function["FunctionName"]
        used = after.get(name, Worker())
        rows.append(
            {
                "function": function["Handler"].split(".")[-2],
                "invocations": len(reports),
                "seconds": sum(milliseconds for milliseconds, _ in reports) / 1000,
                "cpu_s": used.cpu_seconds - before.get(name, Worker()).cpu_seconds,
                "peak_mb": used.peak_mb,
                "memory_mb": function["MemorySize"],
                "gb_s": gb_seconds,
            }
        )
        usage["Lambda requests"] += len(reports)
        usage["Lambda GB-s (arm64)"] += gb_seconds
        usage["CloudWatch Logs GB"] += sum(len(message.encode()) for message in messages) / 1e9
        usage["SQS requests"] += 2 * len(reports) if function["FunctionArn"] in queued else 0  # receive and delete
    return rows, usage
