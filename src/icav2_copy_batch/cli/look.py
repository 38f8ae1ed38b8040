"""``list``, ``status``, ``watch``, ``wait`` and ``explain``: what a person or a script looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from icav2_copy_batch.cli import explain as paragraphs
from icav2_copy_batch.cli import values, view
from icav2_copy_batch.cli.exits import OF_STATUSES, Exit
from icav2_copy_batch.cli.output import Output, plain
from icav2_copy_batch.cli.program import AsJson, CopyId, Program, StackName, Timeout, complain, exit_code
from icav2_copy_batch.cli.progress import PausedTime, in_words
from icav2_copy_batch.client import Change, CopyBatchError, CopyClient, CopySummary, JobSummary, NoSuchJob, answers
from icav2_copy_batch.domain.job import job_id_of


class Status(StrEnum):
    """How a copy may stand."""

    OPEN = answers.OPEN
    COMPLETED = answers.COMPLETED
    FAILED = answers.FAILED
    CANCELLED = answers.CANCELLED


def list_copies(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(case_sensitive=False, help="Only these.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="A date, or how long ago: 7d.", show_default=False)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many copies at most; any number.")] = 50,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """List copies, the newest first."""
    program = Program.of(context)
    out = program.output(as_json)
    begin, tags = values.moment(since, program.time.now()), values.tags(tag)
    client = program.stack(stack)
    copies = client.list_copies(since=begin, status=status and status.value, tags=tags, limit=limit)
    if as_json:
        out.json(copies)
    elif out.is_pretty:
        out.show(view.list_table(copies))
    else:
        view.list_lines(out, copies)
    if not copies:
        out.say("No copies.")


def status(
    context: typer.Context,
    *,
    copy_id: CopyId,
    jobs: Annotated[bool, typer.Option("--jobs", help="List all of its jobs.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="List its jobs that failed or were cancelled.")] = False,
    open_only: Annotated[bool, typer.Option("--open", help="List its jobs that have not ended.")] = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Show a copy, what is paused, and what holds its open jobs."""
    program = Program.of(context)
    out, client = program.output(as_json), program.stack(stack)
    copy = client.status(copy_id, holds=True)
    is_some = failed or open_only
    listed = list(client.jobs(copy_id, failed=failed, open_only=open_only)) if jobs or is_some else None
    if as_json:
        out.json({**plain(copy), **({} if listed is None else {"jobs": plain(listed)})})
        return
    if out.is_pretty:
        known = "" if listed is None or is_some else _Watched.of(copy, listed, program.time.now()).progress
        out.show(view.copy_view(copy, known))
        if listed:
            out.show("", view.job_table(listed))
        return
    view.copy_lines(out, copy)
    for job in listed or ():
        view.job_line(out, job)


def watch(
    context: typer.Context,
    *,
    copy_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="The copy's id; without it, all open copies.", show_default=False),
    ] = None,
    timeout: Timeout = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Show changes until the copy has settled.

    Without an id, show the changes of all copies that are open, until you stop it.
    """
    program = Program.of(context)
    out, limit, client = program.output(as_json), values.seconds(timeout), program.stack(stack)
    changes = client.watch(copy_id, jobs=copy_id is not None, timeout=limit)
    copies: dict[str, CopySummary] = {}
    watched = _Watched()
    if out.is_pretty:
        with out.live() as live:
            for change in changes:
                copies[change.copy.copy_id] = change.copy
                if copy_id:
                    watched.note(change, program.time.now())
                    live.update(view.copy_view(change.copy, watched.progress), refresh=True)
                else:
                    live.update(view.list_table(reversed(copies.values())), refresh=True)
    else:
        for change in changes:
            copies[change.copy.copy_id] = change.copy
            _print_change(out, change)
    if copy_id:
        raise typer.Exit(OF_STATUSES.get(copies[copy_id].status, Exit.DONE))


def wait(
    context: typer.Context,
    *,
    copy_ids: Annotated[list[str], typer.Argument(metavar="ID...", show_default=False)],
    timeout: Timeout = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Wait until the copies have settled.

    The exit code is that of the first copy that has not completed.
    """
    program = Program.of(context)
    limit = values.seconds(timeout)
    wait_for_all(program, program.stack(stack), program.output(as_json), copy_ids, limit)


def explain(
    context: typer.Context,
    *,
    copy_id: CopyId,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One of its jobs.", show_default=False)] = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Explain why a copy or a job is in its state.

    And what has to happen next.
    """
    program = Program.of(context)
    out, client = program.output(as_json), program.stack(stack)
    copy = client.status(copy_id, holds=True)
    if job is None:
        failed = (each for each in client.jobs(copy_id, failed=True) if each.status == "FAILED")
        text = paragraphs.explain_copy(copy, next(failed, None) if copy.failed_jobs and not copy.is_open else None)
    else:
        text = paragraphs.explain_job(copy, job_of(client, copy_id, values.job_id(job)))
    if as_json:
        out.json({"copy_id": copy_id, **({"job_id": values.job_id(job)} if job else {}), "text": text})
    else:
        out.paragraph(text)


def wait_for_all(
    program: Program, client: CopyClient, out: Output, copy_ids: Sequence[str], timeout: float | None
) -> None:
    """Wait for each copy, print how it has settled, and end with the exit code of the first that has not completed."""
    began, codes = program.time.monotonic(), []
    for copy_id in copy_ids:
        left = None if timeout is None else max(timeout - (program.time.monotonic() - began), 0)
        codes.append(_wait_for_one(client, out, copy_id, left))
    raise typer.Exit(next((code for code in codes if code), Exit.DONE))


def _wait_for_one(client: CopyClient, out: Output, copy_id: str, timeout: float | None) -> int:
    try:
        copies = [_told(out, change.copy) for change in client.watch(copy_id, timeout=timeout)]
    except CopyBatchError as error:
        complain(out, error)
        if out.as_json:
            out.json({"copy_id": copy_id, "error": str(error), "problems": plain(getattr(error, "problems", ()))})
        return exit_code(error)
    if out.as_json:
        out.json(copies[-1])
    else:
        out.line(*view.copy_cells(copies[-1]))
    return OF_STATUSES.get(copies[-1].status, Exit.DONE)


def _told(out: Output, copy: CopySummary) -> CopySummary:
    out.say(f"{copy.copy_id}: {view.in_words(copy)}")
    return copy


@dataclass
class _Watched:
    """How far a copy has come, by all of its changes so far."""

    jobs: dict[str, JobSummary] = field(default_factory=dict)
    paused: PausedTime = field(default_factory=PausedTime)
    progress: str = ""

    @classmethod
    def of(cls, copy: CopySummary, jobs: Sequence[JobSummary], now: datetime) -> _Watched:
        watched = cls()
        watched.note(Change(copy, tuple(jobs)), now)
        return watched

    def note(self, change: Change, now: datetime) -> None:
        self.jobs.update((job.job_id, job) for job in change.jobs)
        self.paused.note(change.copy, self.jobs.values(), now)
        self.progress = in_words(change.copy, self.jobs.values(), now, self.paused) if self.jobs else ""


def _print_change(out: Output, change: Change) -> None:
    if out.as_json:
        out.json(change)
        return
    out.line("copy", *view.copy_cells(change.copy), ",".join(each.subject for each in change.copy.pauses))
    for job in change.jobs:
        view.job_line(out, job)


def job_of(client: CopyClient, copy_id: str, job_id: str) -> JobSummary:
    """One job of a copy. Raises ``NoSuchJob``."""
    before = job_id_of(int(job_id) - 1) if job_id.isdecimal() and int(job_id) else None
    job = next(client.jobs(copy_id, after=before), None)
    if job is None or job.job_id != job_id:
        raise NoSuchJob(f"copy {copy_id} has no job {job_id}; icav2-copy status {copy_id} --jobs lists them")
    return job
