"""``cancel``, ``pause``, ``resume``, ``redrive``, ``adopt`` and ``release``: the commands that change a copy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from icav2_copy_batch.cli import values, view
from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, CopyId, JobId, Program, StackName
from icav2_copy_batch.client import JobSummary, Pause
from icav2_copy_batch.client.errors import number

SomeCopy = Annotated[str | None, typer.Argument(metavar="ID", help="The copy's id.", show_default=False)]
SomeProject = Annotated[str | None, typer.Option(metavar="PROJECT", help="By name or id.", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="All copies.")]
Reason = Annotated[str | None, typer.Option(help="The reason; it is shown to everybody.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def cancel(context: typer.Context, copy_id: CopyId, stack: StackName = None, as_json: AsJson = False) -> None:
    """Cancel a copy.

    Queued jobs end now. Jobs that ICA runs end by themselves, and are not retried.
    """
    program = Program.of(context)
    out = program.output(as_json)
    cancelled = program.stack(stack).cancel(copy_id)
    if as_json:
        out.json(cancelled)
        return
    for job in cancelled.left:
        out.line("left", job.job_id, job.status, job.ica_job_id)
    out.say(f"{number(cancelled.cancelled, 'job')} cancelled.")
    if cancelled.left:
        out.say(f"{number(len(cancelled.left), 'job')} left at ICA, which cannot stop what runs; the ids are above.")


def pause(
    context: typer.Context,
    *,
    copy_id: SomeCopy = None,
    project: SomeProject = None,
    everything: Everything = False,
    reason: Reason = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Launch no more jobs of a copy, into a project, or at all.

    Running jobs go on.
    """
    _check_subject(copy_id, project, everything)
    program = Program.of(context)
    client = program.stack(stack)
    pauses = client.pause(copy_id, project=project, everything=everything, reason=reason)
    _print_pauses(program.output(as_json), pauses)


def resume(
    context: typer.Context,
    *,
    copy_id: SomeCopy = None,
    project: SomeProject = None,
    everything: Everything = False,
    reason: Reason = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """End a pause, or the hold of `submit --hold`."""
    _check_subject(copy_id, project, everything)
    program = Program.of(context)
    client = program.stack(stack)
    pauses = client.resume(copy_id, project=project, everything=everything, reason=reason)
    _print_pauses(program.output(as_json), pauses)


def pauses(context: typer.Context, stack: StackName = None, as_json: AsJson = False) -> None:
    """List what is paused, since when, by whom and why.

    Nothing is changed.
    """
    program = Program.of(context)
    _print_pauses(program.output(as_json), program.stack(stack).pauses())


def redrive(
    context: typer.Context,
    *,
    copy_id: CopyId,
    job: Annotated[str | None, typer.Option(metavar="JOB", help="Only this job.", show_default=False)] = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Retry what failed, as a new copy; print its id.

    What was cancelled counts as failed. The old copy and its result stay as they are.
    """
    program = Program.of(context)
    out = program.output(as_json)
    redriven = program.stack(stack).redrive(copy_id, job_id=job and values.job_id(job))
    if as_json:
        out.json(redriven)
        return
    out.line(redriven.copy_id)
    are = "is" if redriven.jobs == 1 else "are"
    out.say(f"{number(redriven.jobs, 'job')} of {copy_id} {are} copied again by {redriven.copy_id}.")


def adopt(
    context: typer.Context,
    *,
    copy_id: CopyId,
    job: JobId,
    ica_job: Annotated[str, typer.Argument(metavar="ICA_JOB", help="The ICA job's id.", show_default=False)],
    yes: Yes = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Say which ICA job an undecided launch has started."""
    job_id = values.job_id(job)
    program = Program.of(context)
    out = program.output(as_json)
    _ask(out, f"Has the undecided launch of job {job_id} of {copy_id} started ICA job {ica_job}?", yes)
    _print_job(out, program.stack(stack).adopt(copy_id, job_id, ica_job))


def release(
    context: typer.Context,
    *,
    copy_id: CopyId,
    job: JobId,
    yes: Yes = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Say that an undecided launch has started nothing.

    The job is then launched again.
    """
    job_id = values.job_id(job)
    danger = "If ICA runs a copy batch for it after all, two would write the same files."
    program = Program.of(context)
    out = program.output(as_json)
    _ask(out, f"Has the undecided launch of job {job_id} of {copy_id} surely started nothing? {danger}", yes)
    _print_job(out, program.stack(stack).release(copy_id, job_id))


def _check_subject(copy_id: str | None, project: str | None, everything: bool) -> None:
    """Exactly one of the three has to be given."""
    if sum((copy_id is not None, project is not None, everything)) != 1:
        raise typer.BadParameter("give exactly one of: ID, --project PROJECT, --all")


def _ask(out: Output, question: str, yes: bool) -> None:
    """Ask on stderr; anything but a yes ends the program."""
    if yes:
        return
    out.say(f"{question} [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def _print_pauses(out: Output, pauses: list[Pause]) -> None:
    if out.as_json:
        out.json(pauses)
        return
    for each in pauses:
        out.line(*view.pause_cells(each))
    out.say(f"Paused now: {number(len(pauses), 'subject')}." if pauses else "Nothing is paused now.")


def _print_job(out: Output, job: JobSummary) -> None:
    if out.as_json:
        out.json(job)
    else:
        view.job_line(out, job)
