"""``subscribe`` and ``doctor``: how a stack and ICA are set up for each other."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.program import AsJson, Program, StackName
from icav2_copy_batch.client import HealthFinding
from icav2_copy_batch.client.errors import number

Projects = Annotated[list[str], typer.Argument(metavar="PROJECT…", help="By name or id.", show_default=False)]
SomeProjects = Annotated[
    list[str] | None,
    typer.Option("--project", metavar="PROJECT", help="By name or id; several times.", show_default=False),
]

EXITS = {"refused": Exit.REFUSED, "unavailable": Exit.UNAVAILABLE}
"""The exit code where a project was not subscribed; the first that applies to one of them."""

STYLES = {"problem": "red", "warning": "yellow", "unknown": "magenta", "ok": "green"}
"""The colour of each status of a finding."""


def subscribe(context: typer.Context, projects: Projects, stack: StackName = None, as_json: AsJson = False) -> None:
    """Make ICA notify the stack when jobs of these projects end.

    Existing subscriptions are kept.
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


def doctor(
    context: typer.Context,
    project: SomeProjects = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Check everything that the stack needs, and say what to fix."""
    program = Program.of(context)
    out = program.output(as_json)
    findings = program.stack(stack).doctor(project or ())
    if as_json:
        out.json(findings)
    elif out.is_pretty:
        out.show(*map(_shown, findings))
    else:
        for each in findings:
            out.line(each.status, each.check, each.about, each.what, each.fix)
    counts = Counter(each.status for each in findings)
    out.say(", ".join(_counted(counts[status], status) for status in STYLES if counts[status]) + ".")
    if counts["problem"]:
        raise typer.Exit(Exit.PROBLEM)


def _counted(count: int, status: str) -> str:
    return number(count, status) if status in ("problem", "warning") else f"{count:,} {status}"


def _shown(finding: HealthFinding) -> RenderableType:
    """What was looked at and seen, and below it what to do."""
    style = STYLES.get(finding.status, "")
    about = f" {finding.about}" if finding.about else ""
    seen = Text.assemble((f"{finding.status:8}", style), (f"{finding.check}{about}: ", "bold"), finding.what)
    if not finding.fix:
        return seen
    return Group(seen, Padding(Text(finding.fix), (0, 0, 0, 8)))
