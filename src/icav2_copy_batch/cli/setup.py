"""``subscribe``: how a stack and ICA are set up for each other."""

from __future__ import annotations

from typing import Annotated

import typer

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.program import AsJson, Program, StackName

Projects = Annotated[list[str], typer.Argument(metavar="PROJECT…", help="By name or id.", show_default=False)]

EXITS = {"refused": Exit.REFUSED, "unavailable": Exit.UNAVAILABLE}
"""The exit code where a project was not subscribed; the first that applies to one of them."""


def subscribe(context: typer.Context, projects: Projects, stack: StackName = None, as_json: AsJson = False) -> None:
    """Have ICA tell the stack when jobs of projects have ended.

    What is subscribed already stays as it is.
    """
    program = Program.of(context)
    out = program.output(as_json)
    subscribed = program.stack(stack).subscribe(projects)
    if as_json:
        out.json(subscribed)
    else:
        for each in subscribed:
            out.line(each.project, each.status, each.project_id, each.detail)
    for status, code in EXITS.items():
        if any(each.status == status for each in subscribed):
            raise typer.Exit(code)
