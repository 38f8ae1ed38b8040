"""Doing the same thing with many values in parallel. It is passed in, so that a test can do it one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

PARALLEL = 8

V = TypeVar("V")
R = TypeVar("R")


class Spread(Protocol):
    """Calls a function with each value, and returns the results in the order of the values."""

    def __call__(self, do: Callable[[V], R], each: Sequence[V]) -> Sequence[R]: ...


def in_threads(do: Callable[[V], R], each: Sequence[V]) -> list[R]:
    """Call ``do`` with up to eight values at a time, each in a thread. Raises the first error, once all have ended."""
    if len(each) < 2:
        return [do(one) for one in each]
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(do, each))
