"""Asks the stack's control function: one request, one answer, or an error with its kind.

A query may be retried. A command is sent once: a launch that was adopted by the first call would be refused by the
second, although it is done. So botocore retries neither. Here both are retried where nothing can have
begun (AWS could not be reached, or throttled the call), and a query where its answer was lost, unless it had been
waited for as long as the function may take.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

from icav2_copy_batch.client.answers import read
from icav2_copy_batch.client.aws import NOT_REACHED, TOO_MANY_CALLS, TRY_AGAIN, Aws, asked, code_of
from icav2_copy_batch.client.errors import CopyBatchError, Invalid, NoSuchCopy, NoSuchJob, Refused, Unavailable
from icav2_copy_batch.domain.problems import Problem
from icav2_copy_batch.domain.requests import ANSWER_URI, MAX_BYTES
from icav2_copy_batch.domain.s3 import parse_s3_uri

ERRORS: Mapping[str, type[CopyBatchError]] = {
    "invalid": Invalid,
    "no_such_copy": NoSuchCopy,
    "no_such_job": NoSuchJob,
    "unavailable": Unavailable,
}
"""The error of each kind. ``refused`` has problems besides, and so is any kind that a newer stack may have."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further try of a call."""
SEE_LOG = "see its log, then try again"
MAY_BE_DONE = "it may have been carried out nevertheless: check before you try again"


@dataclass(frozen=True, slots=True)
class Control:
    """The control function of a stack."""

    aws: Aws
    function: str
    sleep: Callable[[float], None]

    def query(self, name: str, **request: Any) -> Mapping[str, Any]:
        """The answer to a query; what is None in the request is left out. Raises the error of its kind."""
        return self._answer(name, request, _may_repeat_query, TRY_AGAIN)

    def command(self, name: str, **request: Any) -> Mapping[str, Any]:
        """The answer to a command, as of ``query``. Where the answer is lost, the error says so."""
        return self._answer(name, request, _has_not_begun, MAY_BE_DONE)

    def _answer(
        self, name: str, request: Mapping[str, Any], may_repeat: Callable[[Exception], bool], otherwise: str
    ) -> Mapping[str, Any]:
        given = {key: value for key, value in request.items() if value is not None}
        payload = json.dumps({"command": name, **given}).encode()
        if len(payload) > MAX_BYTES:
            what = f"the request {name} has {len(payload):,} bytes, and the control function takes {MAX_BYTES:,}"
            raise Refused(f"{what}; split the manifest")
        with asked(f"call the control function {self.function} in {self.aws.region}", otherwise):
            answer = self._invoke(payload, may_repeat)
            text = answer["Payload"].read()
        if "FunctionError" in answer:
            said = text.decode(errors="replace")[:500]
            raise Unavailable(f"the control function {self.function} has failed: {said}", SEE_LOG)
        return self._read(text)

    def _invoke(self, payload: bytes, may_repeat: Callable[[Exception], bool]) -> Any:
        for pause in PAUSES:
            try:
                return self.aws.functions.invoke(FunctionName=self.function, Payload=payload)
            except (BotoCoreError, ClientError) as error:
                if not may_repeat(error):
                    raise
            self.sleep(pause)
        return self.aws.functions.invoke(FunctionName=self.function, Payload=payload)

    def _long_answer(self, uri: str) -> bytes:
        """An answer that was too long for Lambda, from the place where the function has put it."""
        place = parse_s3_uri(uri)
        if place is None:
            raise Unavailable(f"the control function {self.function} has answered with an invalid S3 URI: {uri}")
        with asked(f"read {uri}"):
            zipped = self.aws.s3.get_object(Bucket=place[0], Key=place[1])["Body"].read()
        try:
            return gzip.decompress(zipped)
        except (OSError, EOFError, zlib.error) as error:
            raise Unavailable(f"{uri} does not hold a valid answer: {error}", TRY_AGAIN) from None

    def _read(self, text: bytes) -> Mapping[str, Any]:
        answer = _object(text)
        if isinstance(uri := answer.get(ANSWER_URI), str):
            text = self._long_answer(uri)
            answer = _object(text)
        if isinstance(answer.get("ok"), dict):
            found: Mapping[str, Any] = answer["ok"]
            return found
        if isinstance(answer.get("error"), dict):
            raise _error(answer["error"])
        said = text.decode(errors="replace")[:200]
        raise Unavailable(f"the control function {self.function} has sent an invalid answer: {said}")


def _object(text: bytes) -> Mapping[str, Any]:
    """The object that a JSON text holds; an empty one where it holds none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(error: Mapping[str, Any]) -> CopyBatchError:
    message = str(error.get("message") or error.get("kind"))
    if kind := ERRORS.get(str(error.get("kind"))):
        return kind(message)
    return Refused(message, [read(Problem, each) for each in error.get("problems") or ()], error.get("problem_count"))


def _has_not_begun(error: Exception) -> bool:
    """Whether a call that has failed was surely not passed on to the function."""
    return isinstance(error, NOT_REACHED) or (isinstance(error, ClientError) and code_of(error) in TOO_MANY_CALLS)


def _may_repeat_query(error: Exception) -> bool:
    """Whether a query may be repeated: not after its whole time was waited for in vain."""
    if isinstance(error, ClientError):
        return _has_not_begun(error) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    return _has_not_begun(error) or isinstance(error, ConnectionClosedError)
