"""``logs``: what the functions have logged about a copy or a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Annotated, Any

import typer
from rich.text import Text

from icav2_copy_batch.cli import values
from icav2_copy_batch.cli.look import job_of
from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, CopyId, Program, StackName
from icav2_copy_batch.cli.view import short_time
from icav2_copy_batch.client import LogLine
from icav2_copy_batch.client.errors import number
from icav2_copy_batch.client.logs import MOST_LINES

STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}
SAID_ELSEWHERE = ("level", "message", "timestamp", "copy_id", "job_id")
"""What a line has in cells of its own, or is the same in all of them."""
FOR_DEVELOPERS = ("location", "service", "xray_trace_id", "exception_name", "stack_trace")
"""What --json has and a line does not."""


def logs(
    context: typer.Context,
    *,
    copy_id: CopyId,
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One of its jobs.", show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="A date, or how long ago: 2h.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LINES, help="How many lines at most: the newest.")] = 1000,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Print the functions' log lines about a copy or a job.

    Oldest first. CloudWatch Logs Insights reads them, with your own AWS rights.
    """
    program = Program.of(context)
    out, begin = program.output(as_json), values.moment(since, program.time.now())
    client = program.stack(stack)
    job_id = job_of(client, copy_id, values.job_id(job)).job_id if job else None
    found = client.logs(copy_id, job_id, since=begin, limit=limit)
    for line in found.lines:
        _print(out, line)
    if not found.lines:
        out.say("No log lines. New lines take some seconds to appear.")
    if found.is_cut:
        out.say(
            f"There is more: these are the newest {number(len(found.lines), 'line')}; see --limit, JOB and --since."
        )


def _print(out: Output, line: LogLine) -> None:
    if out.as_json:
        out.json({"at": line.at, "function": line.function, **line.document})
        return
    level, message = str(line.document.get("level", "")), str(line.document.get("message", ""))
    rest = dict(_rest(line.document))
    if not out.is_pretty:
        words = " ".join(f"{key}={_value(value)}" for key, value in rest.items())
        out.line(line.at, line.function, level, message, line.job_id, words)
        return
    trace = str(rest.pop("exception", ""))
    shown = Text.assemble((f"{short_time(line.at)} {line.function:<7} ", "dim"), (f"{level:<8}", STYLES.get(level, "")))
    shown.append(f"{message}  ")
    for key, value in {"job": line.job_id, **rest}.items():
        if value is not None:
            shown.append(f"{key}=", style="dim").append(f"{_value(value)} ")
    out.show(shown, *([Text(indent(trace, "    "), style="dim")] if trace else []))


def _rest(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if key not in SAID_ELSEWHERE and key not in FOR_DEVELOPERS and value is not None:
            yield key, value


def _value(value: object) -> str:
    """Text as it is, quoted where it has a space in it; and anything else as JSON."""
    if isinstance(value, str) and value and not any(character.isspace() or character == '"' for character in value):
        return value
    return json.dumps(value, ensure_ascii=False)
