"""Doing one thing with each of many, side by side. Passed in wherever it is done, so that a test can take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

PARALLEL = 8

V = TypeVar("V")
R = TypeVar("R")


class Spread(Protocol):
    """Does one thing with each of many, and gives the answers in their order."""

    def __call__(self, do: Callable[[V], R], each: Sequence[V]) -> Sequence[R]: ...


def in_threads(do: Callable[[V], R], each: Sequence[V]) -> list[R]:
    """Do it with up to eight at a time, each in a thread. Raises the first error, once all have ended."""
    if len(each) < 2:
        return [do(one) for one in each]
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(do, each))
