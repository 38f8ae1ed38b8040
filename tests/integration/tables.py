"""Jobs and copies in a table, brought to where a test needs them: in ``CopyTable`` on moto, or in its double."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.dynamodb.models import dynamodb_backends

from icav2_copy_batch.adapters.table import CopyTable
from icav2_copy_batch.domain.job import NEXT_ATTEMPT, Attempt, Claim, Copy, Job, JobStatus, LaunchRequest, timestamp
from icav2_copy_batch.domain.manifest import PlannedJob
from icav2_copy_batch.domain.schedule import Slots
from icav2_copy_batch.domain.submit import CopyOptions
from tests import doubles
from tests.integration import clients
from tests.integration.template import TABLE_NAME

EitherTable = CopyTable | doubles.Table

SOURCES = ["icav2://from/run 1/a.txt", "icav2://from/run 1/é#?%+日本.txt"]
DESTINATION = "icav2://to/run 1/"
PROJECT = "ica-project"


def at(seconds: float) -> datetime:
    """So many seconds into the test."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def copy_of(total_jobs: int = 1, copy_id: str = "c", task_tokens: Sequence[str] = ()) -> Copy:
    return Copy(
        copy_id, "digest", timestamp(at(0)), total_jobs, total_jobs, "s3://b/m", task_tokens=frozenset(task_tokens)
    )


def create(table: EitherTable, total_jobs: int = 1, copy_id: str = "c", task_tokens: Sequence[str] = ()) -> list[Job]:
    """A copy with its jobs, all of them queued, each with a folder of its own."""
    table.create_copy(copy_of(total_jobs, copy_id, task_tokens))
    return create_jobs(table, [f"{DESTINATION}{copy_id}/{number}/" for number in range(total_jobs)], copy_id)


def create_jobs(table: EitherTable, destinations: Sequence[str], copy_id: str = "c") -> list[Job]:
    planned = [PlannedJob(destination, tuple(SOURCES)) for destination in destinations]
    return doubles.create_due_jobs(table, copy_id, planned, CopyOptions(), at(0), due_at=at(900))


def now(table: EitherTable, job: Job) -> Job:
    """The job as it is now."""
    read = table.get_job(job.copy_id, job.job_id)
    assert read
    return read


def request(job: Job) -> LaunchRequest:
    """The launch message about the job's attempt."""
    return LaunchRequest(job.copy_id, job.job_id, job.attempt)


def claim(
    table: EitherTable, job: Job, seconds: float = 10, project: str = PROJECT, slots: Slots | None = None
) -> Claim:
    return table.claim_for_launch(job, project, at(seconds), at(seconds + 1200), slots or Slots())


def launch(table: EitherTable, job: Job, seconds: float = 10, project: str = PROJECT) -> Job:
    """From QUEUED to LAUNCHING."""
    assert claim(table, job, seconds, project) is Claim.CLAIMED
    return now(table, job)


def run(table: EitherTable, job: Job, seconds: float = 10, project: str = PROJECT) -> Job:
    """From QUEUED to RUNNING."""
    claimed = launch(table, job, seconds, project)
    ica_ids = (f"ica-job-{job.attempt}", f"ica-batch-{job.attempt}")
    assert table.mark_running(claimed, *ica_ids, at(seconds + 1), at(seconds + 1))
    return now(table, job)


def failed(job: Job, seconds: float = 20, reason: str | None = "it failed") -> Attempt:
    return job.ended_attempt("FAILED", reason, at(seconds))


def passed(job: Job, seconds: float = 20) -> Attempt:
    return job.ended_attempt("SUCCEEDED", None, at(seconds))


def requeue(table: EitherTable, job: Job, seconds: float = 20, copied: Sequence[str] = ()) -> bool:
    return table.requeue(job, failed(job, seconds), frozenset(copied), at(seconds), at(seconds + 900), NEXT_ATTEMPT)


def settle(table: EitherTable, copy_id: str = "c", task_tokens: Sequence[str] = (), seconds: float = 20) -> None:
    """A copy of one job that has passed."""
    (job,) = create(table, copy_id=copy_id, task_tokens=task_tokens)
    running = run(table, job)
    assert table.mark_passed(running, passed(running), at(seconds))


MOVE: dict[str, Callable[[EitherTable, Job], bool]] = {
    "claim_for_launch": lambda table, job: claim(table, job, 100, "another-project") is Claim.CLAIMED,
    "release": lambda table, job: table.release(job, at(100), at(200), doubles.hold("ICA was unavailable")),
    "mark_running": lambda table, job: table.mark_running(job, "job", "batch", at(100), at(100)),
    "requeue": lambda table, job: requeue(table, job, 100),
    "mark_passed": lambda table, job: table.mark_passed(job, passed(job, 100), at(100)),
    "give_up": lambda table, job: table.give_up(job, failed(job, 100), at(100)),
    "cancel": lambda table, job: table.cancel(job, at(100)),
}


def in_status(table: EitherTable, status: JobStatus) -> Job:
    """A job in its second attempt, so that there is one before and one after."""
    (job,) = create(table)
    assert requeue(table, run(table, job))
    job = now(table, job)
    if status is JobStatus.CANCELLED:
        assert table.cancel(job, at(25))
        return now(table, job)
    if status is JobStatus.LAUNCHING:
        return launch(table, job, 30)
    if status is not JobStatus.QUEUED:
        job = run(table, job, 30)
    if status is JobStatus.PASSED:
        table.mark_passed(job, passed(job, 40), at(40))
    if status is JobStatus.FAILED:
        table.give_up(job, failed(job, 40), at(40))
    return now(table, job)


# --- what is in it ---------------------------------------------------------------------------------------------------


def everything(table: EitherTable) -> list[str]:
    """Each item of the table, as it is stored."""
    if isinstance(table, CopyTable):
        return sorted(json.dumps(item, sort_keys=True, default=repr) for item in items())
    rows: list[Any] = [*table.copies.values(), *table.job_items.values(), *table.folders.values()]
    rows += table.backlog_items.values()
    counts: list[Any] = [*table.leases.items(), *(+table.slots).items(), *table.waited_for.items()]
    rows += [*table.outcomes_of.values(), *table.paused_items.values()]
    counts += [*sorted(table.cancelled), *table.resumed_items.items()]
    rows += [table.pace_item] if table.pace_item else []
    return sorted(json.dumps(each, sort_keys=True, default=_listed) for each in [*map(asdict, rows), *counts])


def items() -> list[dict[str, Any]]:
    return clients.dynamodb().scan(TableName=TABLE_NAME)["Items"]


def stored() -> dict[tuple[str, str], dict[str, Any]]:
    """All items by their keys, taken from moto itself: no request is made for it."""
    (table,) = dynamodb_backends["123456789012"]["us-east-1"].tables.values()
    found = [{name: value.to_regular_json() for name, value in item.attrs.items()} for item in table.all_items()]
    return {(item["copy_id"]["S"], item["item"]["S"]): item for item in found}


def size_of(value: dict[str, Any]) -> int:
    """As DynamoDB counts: names and values, three bytes for a list or map and one for each element."""
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + sum(1 + len(name) + size_of(each) for name, each in content.items())
    if kind == "L":
        return 3 + sum(1 + size_of(each) for each in content)
    return len(content.encode()) if isinstance(content, str) else len(content) if isinstance(content, bytes) else 1


def _listed(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else repr(value)


@dataclass(frozen=True)
class Taken:
    """The slots and the folders in use."""

    slots: int
    by_project: dict[str, int]
    folders: set[tuple[str, frozenset[str]]]
    """Who holds it, and the jobs that write into it."""


NOTHING_TAKEN = Taken(0, {}, set())


def taken(table: EitherTable) -> Taken:
    if isinstance(table, doubles.Table):
        held = {(folder.holder, frozenset(folder.jobs)) for folder in table.folders.values() if folder.jobs}
        return Taken(sum(table.slots.values()), {key: count for key, count in table.slots.items() if count}, held)
    stored = items()
    counts = {
        name: int(value["N"])
        for item in stored
        if item["copy_id"]["S"] == "#slots"
        for name, value in item.items()
        if "N" in value
    }
    held = {
        (item["holder"]["S"], frozenset(item["jobs"]["SS"]))
        for item in stored
        if item["copy_id"]["S"].startswith("#folder ") and "jobs" in item
    }
    by_project = {name.removeprefix("project "): n for name, n in counts.items() if name != "in_use" and n}
    return Taken(counts.get("in_use", 0), by_project, held)
