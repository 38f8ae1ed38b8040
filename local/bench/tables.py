"""What the parts of the bench hand back, and the progress that they show meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress

Row = dict[str, Any]
Tick = Callable[[float], object]
"""Told how much of a step is done."""


@dataclass(frozen=True)
class Table:
    """One group of rows, all with the same keys, and what has to be known to read them."""

    title: str
    about: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Steps:
    """A bar for the step at work, under the one for all parts."""

    progress: Progress

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Tick]:
        """A step of the bench; what is handed back moves its bar."""
        bar, began = self.progress.add_task(name, total=total), time.monotonic()
        try:
            yield lambda completed: self.progress.update(bar, completed=completed)
        finally:
            self.progress.remove_task(bar)
            self.progress.console.print(f"{time.monotonic() - began:6.1f} s  {name}")
