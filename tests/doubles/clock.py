"""Time that a test moves, and work done in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Clock:
    now: datetime = datetime(2024, 5, 28, 3, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float = 0, **by: float) -> None:
        self.now += timedelta(seconds=seconds, **by)


def in_turn(do: Callable[[T], R], each: Sequence[T]) -> list[R]:
    """One after the other, where the product does things side by side."""
    return [do(one) for one in each]
