"""A meter between the deployed functions and the local AWS: what they ask of it, counted as AWS bills it.

It is a proxy: while it is at work the functions' endpoint is its address. Write units are those that the local AWS
reports: transactions twice, and each entry of an index that a write changes once. A refused write is taken for a small
one, since AWS bills it too. Read units are reckoned here from the sizes of the items.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from local.stack import LocalStack

CHUNK = 64 * 1024
"""SQS and EventBridge bill each 64 KB of a request as one."""
SCOPE = re.compile(r"/([a-z0-9-]+)/aws4_request")
HOP_BY_HOP = {"connection", "transfer-encoding", "expect", "content-length", "keep-alive"}


@dataclass
class Meter:
    """Requests by service and operation, and the billed units of those that have others."""

    requests: Counter[str] = field(default_factory=Counter)
    units: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        with self._lock:
            self.requests.clear()
            self.units.clear()

    def count(self, method: str, headers: Message, body: bytes, status: int, answer: bytes) -> None:
        target = headers.get("X-Amz-Target", "")
        found = SCOPE.search(headers.get("Authorization", ""))
        service = found[1] if found else "unsigned"
        operation = target.rpartition(".")[2] or method
        units = _units(service, operation, body, status, answer)
        with self._lock:
            self.requests[f"{service} {operation}"] += 1
            for name, number in units.items():
                self.units[name] += number


def _units(service: str, operation: str, body: bytes, status: int, answer: bytes) -> dict[str, float]:
    if service == "dynamodb":
        return _table_units(operation, json.loads(body), status, answer)
    if service == "sqs":
        return {"sqs": math.ceil(len(body) / CHUNK)}
    if service == "events":
        return {"events": sum(math.ceil(len(entry["Detail"]) / CHUNK) for entry in json.loads(body)["Entries"])}
    return {service: 1, f"{service} {operation}": 1}


def _table_units(operation: str, asked: dict[str, Any], status: int, answer: bytes) -> dict[str, float]:
    if operation == "BatchGetItem":  # each item is read by itself, also one that is not there
        (asked_for,) = asked["RequestItems"].values()
        answered = json.loads(answer) if status == 200 else {"Responses": {}}
        found = [each for items in answered["Responses"].values() for each in items]
        units = sum(map(_read_units, map(_item_size, found))) + len(asked_for["Keys"]) - len(found)
        return {"rru": units * (1.0 if asked_for.get("ConsistentRead") else 0.5)}
    if operation in ("GetItem", "Query"):
        answered = json.loads(answer) if status == 200 else {}
        items = answered.get("Items", [answered.get("Item", {})])
        size = sum(map(_item_size, items))
        if answered.get("Count"):  # what a filter leaves out is read all the same
            size *= answered["ScannedCount"] / answered["Count"]
        return {"rru": _read_units(size) * (1.0 if asked.get("ConsistentRead") else 0.5)}
    if status != 200:
        return {"wru": 2 * len(asked["TransactItems"]) if "TransactItems" in asked else 1, "refused writes": 1}
    consumed = json.loads(answer).get("ConsumedCapacity", [])
    each = consumed if isinstance(consumed, list) else [consumed]
    return {"wru": sum(it["CapacityUnits"] for it in each)}


def _read_units(size: float) -> int:
    return max(1, math.ceil(size / 4096))


def _item_size(item: Mapping[str, Any]) -> int:
    """An item's size as DynamoDB reckons it: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(typed: Mapping[str, Any]) -> int:
    ((kind, value),) = typed.items()
    sizes = {
        "S": lambda: len(value.encode()),
        "N": lambda: len(value) // 2 + 1,
        "B": lambda: len(base64.b64decode(value)),
        "SS": lambda: sum(len(each.encode()) for each in value),
        "L": lambda: 3 + sum(1 + _value_size(each) for each in value),
        "M": lambda: 3 + len(value) + _item_size(value),
    }
    return sizes.get(kind, lambda: 1)()


@contextmanager
def metered(stack: LocalStack) -> Iterator[Meter]:
    """A meter that sees every request of the stack's functions; they start anew for it."""
    meter = Meter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _proxy(stack.endpoint, meter))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = stack.client("lambda")
    before = {
        each["FunctionName"]: each["Environment"]["Variables"]
        for page in client.get_paginator("list_functions").paginate()
        for each in page["Functions"]
    }
    endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}
    try:
        for name, variables in before.items():
            client.update_function_configuration(FunctionName=name, Environment={"Variables": variables | endpoint})
        yield meter
    finally:
        for name, variables in before.items():
            client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        server.shutdown()
        server.server_close()


def _proxy(endpoint: str, meter: Meter) -> type[BaseHTTPRequestHandler]:
    upstream = urlsplit(endpoint).netloc

    class Proxy(BaseHTTPRequestHandler):
        """Passes each request of a function on, over a connection of its own: one kept open may be stale."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            with closing(http.client.HTTPConnection(upstream, timeout=120)) as connection:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            meter.count(self.command, self.headers, body, answer.status, content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 # the names that http.server calls

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 # the name that http.server gives it
            pass

    return Proxy
