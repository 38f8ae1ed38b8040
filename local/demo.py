"""`make demo`: a sequencing run is copied before your eyes, on a local AWS against a simulated ICA."""

from __future__ import annotations

import argparse
import csv
import io
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.json import JSON
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from icav2_copy_batch.domain.events import EVENT_SOURCE
from local.manifests import Manifest, bclconvert_manifest
from local.stack import LocalStack, Simulator, StackError, StackOptions, local_stack

SETTLING = ("CopyCompleted", "CopyFailed", "CopyRejected")


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False)
    manifest: Manifest = (
        json.loads(arguments.manifest.read_text()) if arguments.manifest else bclconvert_manifest(arguments.seed)
    )
    options = StackOptions(failure_rate=arguments.failure_rate, job_seconds=arguments.job_seconds, seed=arguments.seed)
    try:
        with ExitStack() as running:
            with console.status("Starting a local AWS and a simulated ICA; building and deploying template.yaml …"):
                stack = running.enter_context(local_stack(options))
            status = _run(console, stack, manifest)
    except StackError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        return 130
    console.print("Taken down again; nothing is left behind.")
    return status


def _run(console: Console, stack: LocalStack, manifest: Manifest) -> int:
    destinations = {destination for each in manifest.values() for destination in each}
    console.print(f"Deployed: [bold]{stack.outputs['ManifestBucketName']}[/] takes manifests under manifests/.")
    if stack.simulator:
        stack.simulator.stock(manifest)
    with subscribed(stack) as events:
        bucket, key = stack.outputs["ManifestBucketName"], "manifests/demo.json"
        stack.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())
        console.print(f"Uploaded s3://{bucket}/{key}: {len(manifest)} files into {len(destinations)} folders.")
        event = _watch(console, stack, events, len(destinations))
    console.print(f"\n[bold]{event['detail-type']}[/], as received from EventBridge (its list of jobs shortened):")
    console.print(JSON(json.dumps(_shortened(event))))
    if stack.simulator:
        _summary(console, stack.simulator, manifest)
    console.print(f"The whole result: {event['detail'].get('result_uri') or event['detail'].get('problems_uri')}")
    if "report_uri" in event["detail"]:
        table = b"".join(stack.copies.report(event["detail"]["copy_id"], "csv")).decode("utf-8-sig")
        files = sum(1 for _ in csv.DictReader(io.StringIO(table)))
        console.print(f"Its report: {event['detail']['report_uri']}; as .csv it has a line for each of {files} files.")
    return 0 if event["detail-type"] == "CopyCompleted" else 1


@contextmanager
def subscribed(stack: LocalStack, source: str = EVENT_SOURCE) -> Iterator[Iterator[dict[str, Any] | None]]:
    """Events from the bus, by way of a rule and a queue as any subscriber has them; None when there is none yet."""
    sqs, bus = stack.client("sqs"), stack.client("events")
    name = f"subscriber-{uuid4().hex[:8]}"
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = {"Name": name, "EventBusName": stack.outputs["EventBusName"]}
    bus.put_rule(**rule, EventPattern=json.dumps({"source": [source]}))
    bus.put_targets(Rule=name, EventBusName=rule["EventBusName"], Targets=[{"Id": "queue", "Arn": queue_arn}])

    def receive() -> Iterator[dict[str, Any] | None]:
        while True:
            received = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            for message in received.get("Messages", []):
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
                yield json.loads(message["Body"])
            yield None

    try:
        yield receive()
    finally:
        bus.remove_targets(Rule=name, EventBusName=rule["EventBusName"], Ids=["queue"])
        bus.delete_rule(**rule)
        sqs.delete_queue(QueueUrl=queue_url)


def _watch(console: Console, stack: LocalStack, events: Iterator[dict[str, Any] | None], jobs: int) -> dict[str, Any]:
    """Show how the jobs are doing until the copy has settled."""
    columns = (
        TextColumn("jobs"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("[green]passed {task.fields[passed]}[/]  running {task.fields[running]}"),
        TextColumn("[yellow]retrying {task.fields[retrying]}[/]  [red]failed {task.fields[failed]}[/]"),
        TimeElapsedColumn(),
    )
    copy_id = None
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("jobs", total=jobs, passed=0, running=0, retrying=0, failed=0)
        last_line = time.monotonic()
        for event in events:
            if event and event["detail-type"] in SETTLING:
                if copy_id:
                    _show(progress, bar, stack, copy_id)
                return event
            copy_id = event["detail"]["copy_id"] if event else copy_id
            if copy_id:
                counts = _show(progress, bar, stack, copy_id)
                if not console.is_terminal and time.monotonic() - last_line > 5:  # a bar cannot move in a log
                    last_line = time.monotonic()
                    console.print("  ".join(f"{word} {count}" for word, count in counts.items()))
    raise RuntimeError("the events ended")


def _show(progress: Progress, bar: Any, stack: LocalStack, copy_id: str) -> dict[str, int]:
    counts = _counts(stack, copy_id)
    fields: dict[str, Any] = dict(counts)
    progress.update(bar, completed=counts["passed"] + counts["failed"], **fields)
    return counts


def _counts(stack: LocalStack, copy_id: str) -> dict[str, int]:
    """How many jobs have passed, run, are tried again and have failed."""
    words: Counter[str] = Counter()
    for job in stack.copies.jobs(copy_id):
        open_word = "retrying" if job.attempt > 1 else "waiting" if job.status == "QUEUED" else "running"
        words[{"PASSED": "passed", "FAILED": "failed"}.get(job.status, open_word)] += 1
    return {word: words[word] for word in ("passed", "running", "retrying", "failed")}


def _shortened(event: dict[str, Any]) -> dict[str, Any]:
    detail = dict(event["detail"])
    jobs = detail.get("job_list_with_attempt_counter", [])
    if len(jobs) > 2:
        tried_often = sorted(jobs, key=lambda job: -job["job_attempt_counter"])[:1]
        detail["job_list_with_attempt_counter"] = [*tried_often, f"… and {len(jobs) - 1} more"]
    return {"source": event["source"], "detail-type": event["detail-type"], "detail": detail}


def _summary(console: Console, simulator: Simulator, manifest: Manifest) -> None:
    """Ask the simulated ICA what is there now."""
    state = simulator.get("/state")
    wanted, available = simulator.copied(manifest)
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(state["jobs_by_status"].items()))
    console.print(f"\nIn the simulated ICA: {available} of {wanted} files AVAILABLE at their destinations.")
    console.print(
        f"It ran {state['totals']['jobs']} copy batches ({by_status}) and answered {state['total_calls']} calls."
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--manifest", type=Path, help="a manifest of your own, as JSON")
    parser.add_argument("--failure-rate", type=float, default=0.2, help="share of ICA jobs that fail")
    parser.add_argument("--job-seconds", default="3:8", help="how long ICA jobs take, from:to")
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
