"""`make demo`: a sequencing run is copied before your eyes, on a local AWS against a simulated ICA."""

from __future__ import annotations

import argparse
import csv
import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.json import JSON
from rich.live import Live
from rich.markup import escape

from icav2_copy_batch.cli import view
from icav2_copy_batch.client import CopyClient, NoSuchCopy, Refused
from icav2_copy_batch.domain.events import COPY_REJECTED, EVENT_SOURCE, SETTLED_TYPES
from icav2_copy_batch.domain.submission import Upload
from local.manifests import Manifest, bclconvert_manifest
from local.stack import LocalStack, Simulator, StackError, StackOptions, local_stack

SETTLING = (*SETTLED_TYPES.values(), COPY_REJECTED)
MOST_RECEIVES = 200
"""An event that has not come in so many tries, of a second each where there is none, does not come."""


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
            status = _run(console, stack, manifest, upload=arguments.upload)
    except StackError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        return 130
    console.print("Taken down again; nothing is left behind.")
    return status


def _run(console: Console, stack: LocalStack, manifest: Manifest, *, upload: bool) -> int:
    destinations = {destination for each in manifest.values() for destination in each}
    console.print(f"Deployed. {len(manifest)} files are to be copied into {len(destinations)} folders.")
    if stack.simulator:
        stack.simulator.stock(manifest)
    with subscribed(stack) as events:
        try:
            copy_id = _upload(console, stack, manifest) if upload else stack.copies.submit(manifest)
            console.print(f"Submitted, as copy {copy_id}.")
            _watch(console, stack.copies, copy_id)
        except (Refused, NoSuchCopy) as error:
            console.print(f"[red]{escape(str(error))}[/]")
        event = _last_event(events)
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


def _upload(console: Console, stack: LocalStack, manifest: Manifest) -> str:
    """Submit a manifest by uploading it, as people do who have no program; its copy's id."""
    bucket, key = stack.outputs["ManifestBucketName"], "manifests/demo.json"
    put = stack.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())
    console.print(f"Uploaded s3://{bucket}/{key}.")
    return Upload(bucket, key, put.get("VersionId"), put.get("ETag")).submission_id


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


def _watch(console: Console, copies: CopyClient, copy_id: str) -> None:
    """Show how a copy is doing until it has settled, as ``icav2-copy watch`` does."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for change in copies.watch(copy_id):
                live.update(view.copy_view(change.copy), refresh=True)
    else:  # a bar cannot move in a log
        for change in copies.watch(copy_id):
            console.print(view.in_words(change.copy))


def _last_event(events: Iterator[dict[str, Any] | None]) -> dict[str, Any]:
    """The event of a copy that has settled, or of a submission that was rejected."""
    for event in islice(events, MOST_RECEIVES):
        if event and event["detail-type"] in SETTLING:
            return event
    raise StackError("the copy has settled, and no event has come")


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
    parser.add_argument("--upload", action="store_true", help="upload the manifest, in place of a message")
    parser.add_argument("--failure-rate", type=float, default=0.2, help="share of ICA jobs that fail")
    parser.add_argument("--job-seconds", default="3:8", help="how long ICA jobs take, from:to")
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
