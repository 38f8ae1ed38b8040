"""What the program prints: data to stdout (tables on a terminal, else plain lines, or JSON), words to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live


@dataclass(frozen=True)
class Output:
    """Where a command prints to."""

    as_json: bool = False
    terminal: bool | None = None
    """Whether both streams are terminals; None to find out."""

    @property
    def data_console(self) -> Console:
        return self._console(stderr=False)

    @property
    def is_pretty(self) -> bool:
        """Whether a person looks at the data."""
        return not self.as_json and self.data_console.is_terminal

    def say(self, text: str, style: str = "") -> None:
        """Words for a person."""
        self._console(stderr=True).print(text, style=style, soft_wrap=True)

    def line(self, *cells: object) -> None:
        """A line of data, its cells separated by tabs. What is None or nothing is a dash."""
        typer.echo("\t".join(_cell(each) for each in cells))

    def paragraph(self, text: str) -> None:
        """A text; on a terminal broken into lines."""
        self.data_console.print(text, soft_wrap=not self.is_pretty)

    def json(self, value: object) -> None:
        """A JSON document on a line of its own."""
        typer.echo(json.dumps(plain(value), ensure_ascii=False))

    def show(self, *parts: RenderableType) -> None:
        """Tables and the like, for a person."""
        for part in parts:
            self.data_console.print(part)

    def live(self) -> Live:
        """A place on the terminal that is drawn anew."""
        return Live(console=self.data_console, auto_refresh=False, vertical_overflow="ellipsis")

    def _console(self, *, stderr: bool) -> Console:
        return Console(stderr=stderr, force_terminal=self.terminal, highlight=False, markup=False, emoji=False)


def plain(value: object) -> Any:
    """Dataclasses as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def tags_of(tags: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(tags))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text.replace("\t", " ").replace("\n", " ") or "-"
