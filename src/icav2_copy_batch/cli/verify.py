"""``verify``: whether what a settled copy has copied is still as it was."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from icav2_copy_batch.cli import view
from icav2_copy_batch.cli.exits import Exit
from icav2_copy_batch.cli.program import AsJson, CopyId, Program, StackName
from icav2_copy_batch.client import ChangedFile, Verified
from icav2_copy_batch.client.errors import number

MOST_SHOWN = 100
"""So many files are shown to a person."""


def verify(context: typer.Context, *, copy_id: CopyId, stack: StackName = None, as_json: AsJson = False) -> None:
    """Check that the files of a settled copy are still in ICA, unchanged.

    Compares the sizes and ETags that they had when their jobs ended.
    """
    program = Program.of(context)
    out = program.output(as_json)
    found = program.stack(stack).verify(copy_id)
    if as_json:
        out.json(found)
    elif out.is_pretty:
        if found.changed:
            out.show(_table(found.changed[:MOST_SHOWN]))
        if len(found.changed) > MOST_SHOWN:
            out.say(f"and {len(found.changed) - MOST_SHOWN:,} more: --json lists all")
    else:
        for each in found.changed:
            out.line(each.change, each.job_id, each.copy, each.what, each.source)
    out.say(_in_words(found), style="red" if found.changed else "")
    if found.changed:
        raise typer.Exit(Exit.PROBLEM)


def _in_words(found: Verified) -> str:
    gone = sum(each.change == "GONE" for each in found.changed)
    parts = [
        f"{found.same:,} of {number(found.copied, 'copied source')} {'is' if found.same == 1 else 'are'} unchanged",
        *([f"{gone:,} gone"] if gone else []),
        *([f"{len(found.changed) - gone:,} changed"] if len(found.changed) > gone else []),
        *([f"{found.unknown:,} cannot be compared"] if found.unknown else []),
    ]
    return f"{', '.join(parts)}."


def _table(changed: Sequence[ChangedFile]) -> Table:
    table = Table("change", "job", "what", box=None, header_style="bold", pad_edge=False)
    table.add_column("file", overflow="fold")
    above = view.common_folder([each.copy for each in changed])
    table.caption = f"below {above}" if above else None
    for each in changed:
        table.add_row(Text(each.change, style="red"), each.job_id, Text(each.what), Text(each.copy.removeprefix(above)))
    return table
