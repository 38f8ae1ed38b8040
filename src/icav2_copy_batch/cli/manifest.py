"""``manifest build``: a manifest from a folder in ICA, or from a table."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TextIO

import typer

from icav2_copy_batch.cli.output import Output
from icav2_copy_batch.cli.program import AsJson, Program, StackName
from icav2_copy_batch.cli.view import in_bytes
from icav2_copy_batch.client import FileSummary, Manifest
from icav2_copy_batch.client.errors import number
from icav2_copy_batch.domain.uri import folder_fault

MOST_NAMED = 20
"""So many files that cannot be copied now are named."""
FOLDER = "icav2://PROJECT/FOLDER/"

manifest = typer.Typer(help="Make manifests.", no_args_is_help=True, rich_markup_mode=None)

Patterns = list[str] | None


@manifest.callback()
def _manifest() -> None:
    pass  # with a callback, the one command is called by its name


@manifest.command()
def build(
    context: typer.Context,
    *,
    folder: Annotated[
        str | None, typer.Option("--from", metavar=FOLDER, help="Files below this folder.", show_default=False)
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar=FOLDER, help="The folder to copy them into.", show_default=False)
    ] = None,
    include: Annotated[
        Patterns, typer.Option(metavar="GLOB", help="Only files that match: '*.bam', 'Reports/'.", show_default=False)
    ] = None,
    exclude: Annotated[
        Patterns, typer.Option(metavar="GLOB", help="No files that match; wins over --include.", show_default=False)
    ] = None,
    keep_tree: Annotated[
        bool, typer.Option("--keep-tree", help="Keep the folders below --from; else all files go into one.")
    ] = False,
    csv: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="A table of source,destination; - for stdin.", show_default=False),
    ] = None,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Print a manifest of a folder's files, or of a table.

    Pass the output to validate or submit.
    """
    program = Program.of(context)
    out = program.output(as_json)
    if csv is not None:
        if folder or to or include or exclude or keep_tree:
            raise typer.BadParameter("--csv takes no other options: the table says what goes where")
        built = _from_table(csv)
        jobs = built.check(allow_same_project=True)
        said = number(len(built), "source")
    else:
        source, destination = _folder("--from", folder), _folder("--to", to)
        files = program.stack(stack).files(source)
        built = Manifest.from_files(
            files, destination, keep_tree=keep_tree, include=include or (), exclude=exclude or ()
        )
        jobs = built.check(allow_same_project=True)
        chosen = [each for each in files if each.uri in built]
        said = f"{len(chosen):,} of {number(len(files), 'file')}, {in_bytes(sum(each.size or 0 for each in chosen))}"
        _warn(out, chosen)
    if as_json:
        out.json(built.to_dict())
    else:
        typer.echo(json.dumps(built.to_dict(), indent=2, ensure_ascii=False))
    out.say(f"{said}, into {number(len({job.destination for job in jobs}), 'folder')}.")


def _from_table(path: str) -> Manifest:
    with _opened(path) as lines:
        return Manifest.from_csv(lines, "stdin" if path == "-" else path)


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """A table's text; its line ends are left to the reader of CSV."""
    if path == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="")
        return
    try:
        file = open(path, encoding="utf-8", newline="")  # noqa: SIM115 # closed below
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}; give a table's path") from None
    with file:
        yield file


def _folder(option: str, uri: str | None) -> str:
    if uri is None:
        raise typer.BadParameter(f"give --from and --to, or --csv; {option} is missing")
    if fault := folder_fault(uri):
        raise typer.BadParameter(f"{option} {uri} {fault}")
    return uri


def _warn(out: Output, files: Sequence[FileSummary]) -> None:
    """Name the files that ICA would not copy as they are now. They stay in the manifest: they may be there by then."""
    others = [each for each in files if each.status != "AVAILABLE"]
    if not others:
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in Counter(each.status for each in others).most_common())
    are = "it is" if len(others) == 1 else "they are"
    out.say(f"Warning: {number(len(others), 'file')} cannot be copied as {are} now ({counts}):", style="yellow")
    for each in others[:MOST_NAMED]:
        out.say(f"  {each.uri}: {each.status}")
    if len(others) > MOST_NAMED:
        out.say(f"  … and {number(len(others) - MOST_NAMED, 'more file')}")
