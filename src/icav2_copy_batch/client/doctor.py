"""Looks at a stack from outside: whether its control function answers, what that finds, and of which version it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icav2_copy_batch.client.answers import HealthFinding, read
from icav2_copy_batch.client.errors import CopyBatchError, Invalid
from icav2_copy_batch.domain.version import VERSION

DEPLOY = "deploy the stack's newest version (README, Deploy it on AWS)"
READ_LOG = "read the control function's log, then try again"


def examine(ask: Callable[[], Mapping[str, Any]]) -> list[HealthFinding]:
    """The findings of a stack's doctor, which ``ask`` asks; what keeps it from answering is a finding too."""
    try:
        answer = ask()
    except Invalid as error:
        return [
            HealthFinding("version", "problem", f"the stack is older than this program, {VERSION}: {error}", fix=DEPLOY)
        ]
    except CopyBatchError as error:
        return [HealthFinding("control", "problem", error.what, fix=error.fix or READ_LOG)]
    control = HealthFinding("control", "ok", "the control function answers")
    found = [read(HealthFinding, each) for each in answer.get("findings") or ()]
    return [control, _version(str(answer.get("version"))), *found]


def _version(of_stack: str) -> HealthFinding:
    if of_stack == VERSION:
        return HealthFinding("version", "ok", f"the program and the stack are {VERSION}")
    return HealthFinding(
        "version",
        "warning",
        f"the program is {VERSION}, and the stack {of_stack}",
        fix=f"{DEPLOY}, and install the program of the same version",
    )
