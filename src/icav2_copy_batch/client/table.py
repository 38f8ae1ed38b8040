"""Tables of sources and destinations, as a person or a spreadsheet writes them: CSV with a comma."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from icav2_copy_batch.domain.problems import Problem, refuse_if_any
from icav2_copy_batch.domain.uri import folder_fault, uri_fault

SOURCE, DESTINATION = "source", "destination"


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row the source and the destination stand, and how many cells a row has."""

    source: int = 0
    destination: int = 1
    width: int = 2


def read_table(lines: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of a source and a destination. Raises ``Refused`` with every problem.

    The first line may name the columns; others beside these two are passed over. Empty lines are too.
    """
    pairs: dict[tuple[str, str], int] = {}
    found: list[Problem] = []
    columns: Columns | None = None
    for number, row in _rows(lines, found):
        if columns is None and (columns := _named_columns(row)):
            continue
        columns = columns or Columns()
        if fault := _fault(row, columns):
            found.append(Problem(f"line {number}", fault))
            continue
        pair = row[columns.source], row[columns.destination]
        if (before := pairs.setdefault(pair, number)) != number:
            found.append(Problem(f"line {number}", f"is the same as line {before}"))
    if not pairs and not found:
        found.append(Problem("table", f"is empty: it names no {SOURCE}"))
    refuse_if_any(found)
    return list(pairs)


def _rows(lines: Iterable[str], found: list[Problem]) -> Iterator[tuple[int, Sequence[str]]]:
    """The rows that are not empty, each with the number of its last line."""
    rows = csv.reader(_without_mark(lines), skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if any(row):
                yield rows.line_num, row
    except csv.Error as error:
        found.append(Problem(f"line {rows.line_num}", f"is not CSV: {error}"))
    except UnicodeDecodeError as error:
        found.append(Problem(f"line {rows.line_num + 1} or later", f"is not UTF-8 text: {error.reason}"))


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    """Without the mark that some spreadsheets put before everything."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def _named_columns(row: Sequence[str]) -> Columns | None:
    names = [cell.strip().lower() for cell in row]
    if SOURCE not in names or DESTINATION not in names:
        return None
    return Columns(names.index(SOURCE), names.index(DESTINATION), len(names))


def _fault(row: Sequence[str], columns: Columns) -> str | None:
    """What is wrong with a row."""
    if len(row) != columns.width:
        what = f"has {len(row)} {'cell' if len(row) == 1 else 'cells'} and not {columns.width}"
        return f"{what}; put a comma between {SOURCE} and {DESTINATION}, and quotes around a cell that has one in it"
    source, destination = row[columns.source], row[columns.destination]
    if fault := uri_fault(source):
        return f"has the {SOURCE} {source!r}, which {fault}"
    if fault := folder_fault(destination):
        return f"has the {DESTINATION} {destination!r}, which {fault}"
    return None
