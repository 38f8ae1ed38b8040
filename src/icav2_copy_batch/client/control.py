"""Asks the stack's control function: one request, one answer, or an error with its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icav2_copy_batch.client.answers import read
from icav2_copy_batch.client.aws import Aws, asked
from icav2_copy_batch.client.errors import CopyBatchError, Invalid, NoSuchCopy, NoSuchJob, Refused, Unavailable
from icav2_copy_batch.domain.problems import Problem

ERRORS: Mapping[str, type[CopyBatchError]] = {
    "invalid": Invalid,
    "no_such_copy": NoSuchCopy,
    "no_such_job": NoSuchJob,
    "unavailable": Unavailable,
}
"""The error of each kind. ``refused`` has problems besides, and so is any kind that a newer stack may have."""


@dataclass(frozen=True, slots=True)
class Control:
    """The control function of a stack."""

    aws: Aws
    function: str

    def ask(self, command: str, **request: Any) -> Mapping[str, Any]:
        """The answer to a command; what is None in the request is left out. Raises the error of its kind."""
        given = {key: value for key, value in request.items() if value is not None}
        payload = json.dumps({"command": command, **given}).encode()
        with asked(f"call the control function {self.function} in {self.aws.region}"):
            answer = self.aws.functions.invoke(FunctionName=self.function, Payload=payload)
            text = answer["Payload"].read()
        if "FunctionError" in answer:
            said = text.decode(errors="replace")[:500]
            raise Unavailable(f"the control function {self.function} has failed: {said}; see its log, then try again")
        return self._read(text)

    def _read(self, text: bytes) -> Mapping[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and isinstance(answer.get("ok"), dict):
            found: Mapping[str, Any] = answer["ok"]
            return found
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise _error(answer["error"])
        said = text.decode(errors="replace")[:200]
        raise Unavailable(f"the control function {self.function} has answered something else than an answer: {said}")


def _error(error: Mapping[str, Any]) -> CopyBatchError:
    message = str(error.get("message") or error.get("kind"))
    if kind := ERRORS.get(str(error.get("kind"))):
        return kind(message)
    return Refused(message, [read(Problem, each) for each in error.get("problems") or ()])
