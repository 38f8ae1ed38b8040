"""``validate`` and ``submit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from icav2_copy_batch.cli import values
from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.look import wait_for_all
from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, Program, StackName, Timeout, complain
from icav2_copy_batch.client import Refused
from icav2_copy_batch.client.errors import number
from icav2_copy_batch.client.manifest import check_message, read_message

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A manifest, or a message with its options; - for stdin.", show_default=False),
]


def validate(
    context: typer.Context,
    *,
    file: File,
    allow_same_project: Annotated[
        bool, typer.Option("--allow-same-project", help="Allow copies within one project.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a manifest as ingest does; print its problems.

    No network is needed. Whether ICA knows a project by its name is not checked.
    """
    out = Program.of(context).output(as_json)
    try:
        checked = check_message(read_file(file), file, allow_same_project=allow_same_project)
    except Refused as refused:
        print_problems(out, refused)
        raise typer.Exit(Exit.REFUSED) from None
    if as_json:
        counts = {"jobs": checked.jobs, "sources": checked.sources} if checked else {}
        out.json({**counts, "problem_count": 0, "problems": []})
    if checked is None:
        out.say("The message is valid. Its manifest is in S3, and was not checked.")
        return
    out.say(f"Valid: {number(checked.sources, 'source')} in {number(checked.jobs, 'job')}.")
    if checked.names_projects:
        out.say("Project names are looked up in ICA only when the manifest is submitted.")


def submit(
    context: typer.Context,
    *,
    file: File,
    copy_id: Annotated[
        str | None, typer.Option("--id", help="Your own id; by default date and random suffix.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag for its events; up to ten.", show_default=False)
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Launch nothing before `resume`.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has settled.")] = False,
    timeout: Timeout = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Submit a manifest, and print the copy's id at once."""
    program = Program.of(context)
    out, limit = program.output(as_json), values.seconds(timeout)
    if limit is not None and not wait:
        raise typer.BadParameter("--timeout needs --wait")
    message = read_file(file)
    if copy_id:
        message["copy_id"] = copy_id
    if tag:
        message["tags"] = {**(message.get("tags") or {}), **values.tags(tag)}
    if hold:
        message["hold"] = True
    client = program.stack(stack)
    submitted = client.submit_message(message, file)
    if as_json:
        out.json({"copy_id": submitted})
    else:
        out.line(submitted)
    if hold:
        out.say(f"It is on hold: icav2-copy resume {submitted}")
    if wait:
        wait_for_all(program, client, out, [submitted], limit)


def read_file(file: str) -> dict[str, Any]:
    """The message that a file holds, or its manifest as one."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}; give a manifest's path") from None
    return read_message(data, file)


def print_problems(out: Output, refused: Refused) -> None:
    """The problems are what was asked for: they go to stdout."""
    if out.as_json:
        problems = [{"about": each.about, "problem": each.problem} for each in refused.problems]
        out.json({"problem_count": refused.total, "problems": problems})
        return
    if out.is_pretty:
        complain(out, refused)
        return
    for each in refused.problems:
        out.line(each.about, each.problem)
    out.say(f"Error: {refused}", style="red")
