"""The exit codes. Scripts rely on them: a code never changes its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from icav2_copy_batch.client import answers, errors


class Exit(IntEnum):
    DONE = 0
    """What was asked for is done; a copy that was waited for has completed."""
    COPY_FAILED = 1
    """A copy that was waited for has failed."""
    PROBLEM = 1
    """``doctor`` has found one, or ``verify`` that something has changed."""
    USAGE = 2
    """The command line cannot be understood, or names a stack or a file that does not exist."""
    REFUSED = 3
    """A manifest has problems, or a command cannot be carried out as things stand."""
    NO_SUCH_COPY = 4
    """There is no such copy, or no such job in it."""
    TIMED_OUT = 5
    """The time of ``--timeout`` is over. The copy goes on."""
    CANCELLED = 6
    """A copy that was waited for was cancelled."""
    UNAVAILABLE = 7
    """AWS or ICA did not answer as it should, or may not be asked by this caller."""
    STOPPED = 130
    """A person has stopped the program with Ctrl-C, as shells have it. Typer ends it so."""


OF_ERRORS: Mapping[type[errors.CopyBatchError], Exit] = {
    errors.StackNotFound: Exit.USAGE,
    errors.Invalid: Exit.USAGE,
    errors.Refused: Exit.REFUSED,
    errors.NoSuchCopy: Exit.NO_SUCH_COPY,
    errors.NoSuchJob: Exit.NO_SUCH_COPY,
    errors.WaitTimedOut: Exit.TIMED_OUT,
    errors.Unavailable: Exit.UNAVAILABLE,
}
OF_STATUSES: Mapping[str, Exit] = {
    answers.COMPLETED: Exit.DONE,
    answers.FAILED: Exit.COPY_FAILED,
    answers.CANCELLED: Exit.CANCELLED,
}
"""The exit code of a command that has waited for a copy, by how that has settled."""
