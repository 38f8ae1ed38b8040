"""``plan``: what a submission would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from icav2_copy_batch.cli import view
from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, Program, StackName
from icav2_copy_batch.cli.submit import File, print_problems, read_file
from icav2_copy_batch.client import Plan, PlanFinding, Refused
from icav2_copy_batch.client.errors import number

MOST_SHOWN = 100
"""So many findings are shown to a person."""


def plan(context: typer.Context, *, file: File, stack: StackName = None, as_json: AsJson = False) -> None:
    """Say what a submission would do; nothing is written.

    Shows what would block it, what it costs, and how long it takes.
    """
    program = Program.of(context)
    out = program.output(as_json)
    message = read_file(file)
    try:
        found = program.stack(stack).plan_message(message, file)
    except Refused as refused:
        print_problems(out, refused)
        raise typer.Exit(Exit.REFUSED) from None
    if as_json:
        out.json(found)
    elif out.is_pretty:
        out.show(_summary(found), *_findings(found.findings))
    else:
        _print_lines(out, found)
    if found.stopped:
        out.say(f"The plan is incomplete, because {found.stopped}: {_how_far(found)}.", style="yellow")
    if found.would_fail:
        out.say("It would fail as it stands.", style="red")
        raise typer.Exit(Exit.REFUSED)
    out.say(_verdict(found))


def _verdict(found: Plan) -> str:
    """What is said of a copy that would not fail."""
    if found.findings:
        return "Nothing that was found would make it fail."
    return "Nothing blocks it, as far as was checked." if found.stopped else "Nothing blocks it."


# --- plain lines -----------------------------------------------------------------------------------------------------


def _print_lines(out: Output, found: Plan) -> None:
    for key, value in _facts(found):
        out.line(key, value)
    for each in found.projects:
        out.line("project", each.project, each.project_id, each.jobs, each.files, each.folders, each.bytes)
    for finding in found.findings:
        out.line("finding", finding.kind, finding.uri, finding.what, finding.follows)


def _facts(found: Plan) -> Iterator[tuple[str, object]]:
    for name in ("jobs", "files", "folders", "bytes"):
        yield name, getattr(found, name)
    yield "would_fail", "yes" if found.would_fail else "no"
    yield "refused_jobs", found.refused_jobs
    for name in ("p50_seconds", "p95_seconds", "chance_all_pass"):
        yield name, getattr(found.forecast, name)
    for name in ("ica_calls", "write_units", "read_units"):
        yield name, getattr(found.cost, name)
    yield "dollars", f"{found.cost.dollars:.4f}"


# --- for a terminal --------------------------------------------------------------------------------------------------


def _summary(found: Plan) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    for key, value in (
        ("copies", _contents(found)),
        ("finish", _finish(found)),
        ("chance", f"{found.forecast.chance_all_pass:.1%} that all jobs pass within their attempts"),
        ("from", _basis(found)),
        ("costs", _cost(found)),
    ):
        facts.add_row(Text(key, style="dim"), Text(value))
    verdict = (
        Text("would fail as it stands", "bold red") if found.would_fail else Text("can be submitted", "bold green")
    )
    return Group(verdict, facts, _projects(found)) if len(found.projects) > 1 else Group(verdict, facts)


def _contents(found: Plan) -> str:
    folders = f", {number(found.folders, 'folder')} (what is in them is not counted)" if found.folders else ""
    refused = f"; {found.refused_jobs:,} of them would fail at once" if found.refused_jobs else ""
    files = f"{number(found.files, 'file')} of {view.in_bytes(found.bytes)}{folders}"
    return f"{files}, in {number(found.jobs, 'job')}{refused}"


def _finish(found: Plan) -> str:
    half, nearly_all = found.forecast.p50_seconds, found.forecast.p95_seconds
    paused = ", once it is resumed" if found.finding_counts.get("PAUSED") else ""
    return f"after {view.duration(half)} (p50), {view.duration(nearly_all)} (p95){paused}"


def _basis(found: Plan) -> str:
    known, rate = found.forecast, f"{found.forecast.failure_rate:.0%} of the attempts failing"
    others = f"; others have {known.jobs_in_flight:,} in flight, {known.jobs_waiting:,} waiting"
    busy = others if known.jobs_in_flight or known.jobs_waiting else ""
    attempts = number(known.history_attempts, "attempt")
    if not known.is_of_history:
        return f"defaults, since this stack's history has only {attempts}; {rate}{busy}"
    return f"{attempts} of {known.history_copies} copies of this stack, {rate}{busy}"


def _cost(found: Plan) -> str:
    cost = found.cost
    calls, units = f"{cost.ica_calls:,} calls to ICA", f"{cost.write_units:,} write and {cost.read_units:,} read units"
    return f"about ${cost.dollars:.4f}: {calls}, {units}"


def _projects(found: Plan) -> RenderableType:
    table = Table("into project", box=None, header_style="bold", pad_edge=False)
    for word in ("jobs", "files", "folders", "size"):
        table.add_column(word, justify="right")
    for each in found.projects:
        counts = (f"{count:,}" for count in (each.jobs, each.files, each.folders))
        table.add_row(Text(each.project), *counts, view.in_bytes(each.bytes))
    return table


def _findings(findings: Sequence[PlanFinding]) -> Iterator[RenderableType]:
    """The first of them, by kind; how many there are of each kind, and how many are not shown."""
    shown = 0
    for (kind, _), of_kind in groupby(findings, key=lambda each: (each.kind, each.follows)):
        each = list(of_kind)
        yield Text("")
        style = "red" if each[0].fails else "yellow"
        yield Text.assemble((kind, f"bold {style}"), f"  {len(each):,}: {each[0].follows}")
        for finding in each[: max(MOST_SHOWN - shown, 0)]:
            yield Text.assemble("  ", finding.uri, "  ", (finding.what, "dim"))
        shown += len(each)
    if shown > MOST_SHOWN:
        yield Text(f"… and {shown - MOST_SHOWN:,} more: --json", style="dim")


def _how_far(found: Plan) -> str:
    looked = found.looked_at
    sources, copies = (f"{each.done:,} of {each.of:,}" for each in (looked.sources, looked.copies))
    return f"{sources} sources, {copies} destinations"
