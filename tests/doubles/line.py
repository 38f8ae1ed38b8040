"""The line to the outside world, which a test cuts to kill whoever uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class LineCut(Exception):
    """The caller dies here: its request was carried out, and the answer is lost."""


@dataclass
class Line:
    """Counts the requests to the outside, and is cut after the n-th."""

    requests: int = 0
    cut_after: int | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        if self.cut_after is not None and self.requests >= self.cut_after:
            raise LineCut  # dead is dead: also what runs in an ``except`` reaches nobody
        yield
        self.requests += 1
        if self.requests == self.cut_after:
            raise LineCut
