"""What a test sends to AWS, seen on its way to moto, and answered otherwise where the test says so."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.models import botocore_stubber
from moto.dynamodb import models as dynamodb_models
from moto.dynamodb.models.table import Table

Answer = Callable[[AWSPreparedRequest], AWSResponse | None]
"""An answer to one request; None leaves it to moto."""
ONE_AT_A_TIME = Lock()
"""Moto copies all tables to take a transaction back, also what another thread writes meanwhile."""


@dataclass
class AwsCalls:
    """The calls of one test by their operation, such as ``PutEvents``, whichever client makes them."""

    sent: list[tuple[str, AWSPreparedRequest]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def requests(self, operation: str) -> list[AWSPreparedRequest]:
        return [request for called, request in self.sent if called == operation]

    def count(self, operation: str) -> int:
        return len(self.requests(operation))

    def table_actions(self, began: int) -> set[tuple[str, str | None]]:
        """The IAM actions on the table since that call, each with the index that it was on."""
        return {
            ("dynamodb:UpdateItem" if called == "TransactWriteItems" else f"dynamodb:{called}", _index_of(request))
            for called, request in self.sent[began:]
            if "TableName" in (body := text_of(request)) or "RequestItems" in body
        }

    def answer(self, operation: str, answer: Answer) -> None:
        """Ask ``answer`` first whenever that operation is called."""
        self.answers[operation] = answer

    def refuse(self, operation: str, code: str, only: str = "") -> None:
        """Refuse an operation with an error that no client repeats; ``only`` where the request contains that text."""

        def refusal(request: AWSPreparedRequest) -> AWSResponse | None:
            return error(request, code) if only in f"{request.url} {text_of(request)}" else None

        self.answer(operation, refusal)

    def moto_only(self) -> None:
        """Leave everything to moto again."""
        self.answers.clear()


@contextmanager
def seen() -> Iterator[AwsCalls]:
    """See every request that would go to moto."""
    calls, to_moto = AwsCalls(), BotocoreStubber.__call__

    def look(stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **more: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        calls.sent.append((operation, request))
        answer = calls.answers.get(operation)
        if answer and (answered := answer(request)):
            return answered
        with ONE_AT_A_TIME:
            return to_moto(stubber, event_name, request, **more)

    backups = SimpleNamespace(deepcopy=backup)
    with patch.object(BotocoreStubber, "__call__", look), patch.object(dynamodb_models, "copy", backups):
        yield calls


def backup(value: Any) -> Any:
    """What moto keeps of a table for each transaction, to go back to where it is refused: with the very same stream.

    Who reads the stream would else go on reading that of a table which is not there any more.
    """
    if not isinstance(value, Table) or not value.stream_shard:
        return copy.deepcopy(value)
    shard, value.stream_shard = value.stream_shard, None
    table = copy.deepcopy(value)
    value.stream_shard = table.stream_shard = shard
    return table


def moto(request: AWSPreparedRequest) -> AWSResponse:
    """Moto's answer, for an answer of the test's own that does something before or after it."""
    with ONE_AT_A_TIME:
        answered = botocore_stubber.process_request(request)
    assert answered
    return _response(request, *answered)


def _index_of(request: AWSPreparedRequest) -> str | None:
    index: str | None = json.loads(text_of(request)).get("IndexName")
    return index


def text_of(request: AWSPreparedRequest) -> str:
    body = request.body or b""
    return body.decode() if isinstance(body, bytes) else str(body)


def json_answer(
    request: AWSPreparedRequest, body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> AWSResponse:
    return _response(request, status, headers or {}, json.dumps(body))


def error(request: AWSPreparedRequest, code: str) -> AWSResponse:
    """An error as S3 spells it, or as the services that speak JSON do."""
    if request.url.partition("?")[0].find("s3.") >= 0:
        return s3_error(request, 403, code)
    return json_answer(request, {"__type": code, "message": "made by the test"}, 400, {"x-amzn-ErrorType": code})


def xml_answer(request: AWSPreparedRequest, status: int, body: str) -> AWSResponse:
    return _response(request, status, {}, body)


def s3_error(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    return _response(request, status, {}, f"<Error><Code>{code}</Code><Message>made by the test</Message></Error>")


def _response(request: AWSPreparedRequest, status: int, headers: Mapping[str, str], body: str | bytes) -> AWSResponse:
    return AWSResponse(request.url, status, HTTPHeaders.from_dict(headers), MockRawResponse(body))
