"""``report`` and ``env``."""

from __future__ import annotations

import codecs
import csv
import io
import json
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, CopyId, Program, StackName
from icav2_copy_batch.client.stack import variable_name
from icav2_copy_batch.domain.report.files import COPIED


class Format(StrEnum):
    """What a report may be."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


def report(
    context: typer.Context,
    *,
    copy_id: CopyId,
    format: Annotated[Format, typer.Option(help="json is the whole result.")] = Format.JSON,  # noqa: A002 # its option
    failed: Annotated[bool, typer.Option("--failed", help="Only what was not copied (json, csv).")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Save it in a new folder, and open it.")] = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Print the report of a settled copy."""
    program = Program.of(context)
    out = program.output(as_json)
    _check(out, format, failed=failed, open_it=open_it)
    pieces = program.stack(stack).report(copy_id, format.value)
    if failed:
        pieces = _failed_jobs(pieces) if format is Format.JSON else _failed_rows(pieces)
    if not open_it:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        if out.data_console.is_terminal:
            typer.echo()
        return
    path = Path(tempfile.mkdtemp(prefix="icav2-copy-")) / f"{copy_id}.{format.value}"
    with path.open("wb") as file:
        file.writelines(pieces)
    out.say(f"Opening {path}")
    typer.launch(str(path))


def env(context: typer.Context, stack: StackName = None, as_json: AsJson = False) -> None:
    """Print shell commands that set a variable for each stack output.

    eval "$(icav2-copy env)" sets them, as the commands of the documentation use them.
    """
    program = Program.of(context)
    out = program.output(as_json)
    outputs = program.stack(stack).stack.outputs
    variables = {variable_name(name): value for name, value in sorted(outputs.items())}
    if as_json:
        out.json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _check(out: Output, format: Format, *, failed: bool, open_it: bool) -> None:  # noqa: A002 # as the option
    if format is Format.HTML and failed:
        raise typer.BadParameter("--failed is for json and csv: the page can be searched")
    if out.as_json and format is not Format.JSON:
        raise typer.BadParameter(f"--json and --format {format.value} contradict each other")
    if format is Format.HTML and not open_it and out.data_console.is_terminal:
        raise typer.BadParameter("add --open, or send the page into a file: icav2-copy report … --format html > FILE")


def _failed_jobs(pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield json.dumps(json.loads(b"".join(pieces)).get("failed_jobs", []), ensure_ascii=False).encode()


def _failed_rows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The header, and the rows of what was not copied."""
    rows = csv.reader(_lines(pieces))
    header = next(rows, [])
    yield _row(header)
    outcome = header.index("outcome")
    yield from (_row(row) for row in rows if row[outcome] != COPIED)


def _row(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Text in pieces as lines, each with its end."""
    rest = ""
    for text in codecs.iterdecode(pieces, "utf-8"):
        *lines, rest = (rest + text).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest
