"""The errors of the client. Each message says what went wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from icav2_copy_batch.domain import problems
from icav2_copy_batch.domain.problems import Problem


class CopyBatchError(Exception):
    """Any of the errors below: what went wrong and, where that is known, a fix for it. Its text is both."""

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(f"{what}; {fix}" if fix else what)
        self.what = what
        self.fix = fix


class StackNotFound(CopyBatchError):
    """There is no such stack, or it is of a version without what is asked for."""


class NoSuchCopy(CopyBatchError):
    """No copy has this id, and no submission of this id was rejected."""


class NoSuchJob(CopyBatchError):
    """The copy has no job of this id."""


class Invalid(CopyBatchError):
    """The request is malformed: it would fail in any state of the stack."""


class Refused(CopyBatchError):
    """A submission with problems, or a command that cannot be carried out as things stand."""

    def __init__(self, message: str, found: Iterable[Problem] = (), total: int | None = None) -> None:
        super().__init__(message)
        self.problems: Sequence[Problem] = tuple(found)
        """The first problems of a submission, as many as the product lists."""
        self.total = len(self.problems) if total is None else total
        """How many problems there are in all."""

    @classmethod
    def by_check(cls, refused: problems.Refused, what: str) -> Refused:
        """What the checks of the domain have refused."""
        return cls(f"{what} has {number(refused.total, 'problem')}", refused.problems, refused.total)


class Unavailable(CopyBatchError):
    """AWS or ICA did not answer as it should, or this caller may not ask it. The message says which."""

    def __init__(self, what: str, fix: str | None = None, code: str | None = None) -> None:
        super().__init__(what, fix)
        self.code = code
        """AWS's code of its error, where it is one of AWS's."""


class WaitTimedOut(CopyBatchError):
    """The caller's timeout is over. The copy goes on."""


def number(count: int, noun: str) -> str:
    """``1 job``, ``1,200 jobs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
