"""What is wrong with a submission, and the error that refuses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from icav2_copy_batch.domain.projects import text_as_spelled

PROBLEMS_LISTED = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a submission."""

    about: str
    """The source, destination or key that is wrong."""
    problem: str

    def __str__(self) -> str:
        return f"{self.about}: {self.problem}"


class Refused(Exception):
    """The client has to correct the submission. Holds its first ``PROBLEMS_LISTED`` problems and their number."""

    def __init__(self, problems: Iterable[Problem], total: int | None = None, parsed: object = None) -> None:
        self.parsed = parsed
        """As much of the submission as could be read, so that a task which waits for it can be answered."""
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__("; ".join(map(str, self.problems[:3])))


def refuse_if_any(problems: Iterable[Problem], names: Mapping[str, str] | None = None, parsed: object = None) -> None:
    """Raise ``Refused`` if there are problems: the first ``PROBLEMS_LISTED`` are kept, and all are counted.

    ``names`` are the client's names of projects (see ``Projects``); the listed problems use them instead of ids.
    """
    remaining = iter(problems)
    listed = [
        Problem(text_as_spelled(each.about, names or {}), text_as_spelled(each.problem, names or {}))
        for each in islice(remaining, PROBLEMS_LISTED)
    ]
    if listed:
        raise Refused(listed, len(listed) + sum(1 for _ in remaining), parsed)


def type_name(value: object) -> str:
    """What JSON calls the type of a value, as a client would say it."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
