"""The way from our client of ICA to the simulated ICA: in memory and in virtual time, with all that can happen on it.

It stands where libica has its connection pool, and steps the simulator's own request handlers by hand: no socket, no
thread, no event loop. What ICA has begun to carry out it ends, whether or not anybody waits for the answer.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Message
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from icav2_copy_batch.adapters.ica.http import READ_SECONDS
from icav2_copy_batch.stages.search import LOST_ANSWER_AGE
from local.simulator.app import ENDPOINTS, no_such_endpoint
from local.simulator.gate import BASE, Handler, Simulator
from local.simulator.model import IcaError

if TYPE_CHECKING:
    from tests.simulation.world import World

HOST = f"https://ica{BASE}"
LATEST = LOST_ANSWER_AGE - timedelta(seconds=20)
"""Within this time ICA carries out what it carries out late: less than ``LOST_ANSWER_AGE``."""

POOL, CONNECTION = HTTPConnectionPool("ica"), HTTPConnection("ica")
ROUTES = [(method, compile_path(BASE + path)[0], path, handler) for method, path, handler in ENDPOINTS]


@types.coroutine
def pause(seconds: float) -> Generator[float, None, None]:
    """The simulator's handlers sleep by this: whoever steps them gets the seconds."""
    yield seconds


@dataclass
class Received:
    """An answer, with what libica and our client ask of urllib3's response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def response(self) -> Received:
        return self

    def getheaders(self) -> Mapping[str, str]:
        return self.headers

    def read1(self, amount: int) -> bytes:
        """Some more of the body."""
        part, self.body = self.body[:amount], self.body[amount:]
        return part

    def close(self) -> None:
        """Nothing is left open."""


@dataclass(eq=False)
class Exchange:
    """A request that has reached ICA."""

    goes_on_at: datetime
    steps: Coroutine[float, None, Response] | None = None
    response: Response | None = None
    aborted: bool = False
    """ICA has cut the connection."""

    def abort(self) -> None:
        self.aborted = True


class Wire:
    """Carries requests as libica's ``RESTClientObject`` does, and raises what urllib3 raises."""

    def __init__(self, world: World, simulator: Simulator) -> None:
        self._world, self._simulator = world, simulator

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Received:
        def ask() -> Exchange:
            return self._ask(method, url, headers or {}, body)

        starts = method == "POST" and url.endswith("/dataCopyBatch")
        answered = False
        try:
            received = self._carry(ask, url, starts)
            answered = received.status < 500 and not received.body.startswith(b"<html>")
            return received
        finally:
            if starts and not answered:
                self._world.count("answer to a start lost")

    def _carry(self, ask: Callable[[], Exchange], url: str, starts: bool) -> Received:
        world = self._world
        world.before("ICA", may_fail=False)
        if turned_away := self._turned_away(ask, starts):
            return turned_away
        if world.happens("ICA unreachable"):
            raise MaxRetryError(POOL, url, NewConnectionError(CONNECTION, "connection refused"))
        if starts and world.happens("ICA late"):
            world.engine.later(world.engine.rng.uniform(READ_SECONDS, LATEST.total_seconds()), ask)
            world.engine.sleep(READ_SECONDS)
            raise ReadTimeoutError(POOL, url, "timed out; carried out later")
        if world.happens("ICA slow"):
            world.engine.sleep(world.engine.rng.uniform(2, READ_SECONDS - 1))
        if world.happens("ICA HTML"):
            if world.engine.rng.random() < 0.5:
                ask()
            return Received(world.engine.rng.choice([200, 403, 502]), {}, b"<html><body>of a proxy</body></html>")
        response = self._wait(ask(), url)
        if world.happens("ICA answer lost") or (starts and world.happens("ICA start lost")):
            raise ProtocolError("connection dropped")
        world.after("ICA", may_fail=False)
        return Received(response.status_code, response.headers, bytes(response.body))

    def _turned_away(self, ask: Callable[[], Exchange], starts: bool) -> Received | None:
        """A 503 or a 429, if ICA answers so now. In an outage it may carry out the request nevertheless."""
        world = self._world
        if world.engine.now < world.outage_until:
            world.count("ICA 503")
            if starts and world.engine.rng.random() < 0.3:
                ask()
            return self._refused(503)
        for status in (429, 503):
            if world.happens(f"ICA {status}"):
                return self._refused(status)
        return None

    def _refused(self, status: int) -> Received:
        refusal = Request({"type": "http", "method": "", "path": "", "headers": [], "server": ("ica", 443)})
        response = self._simulator.refuse(IcaError(status, "a fault of the simulated world"), refusal)
        return Received(status, response.headers, bytes(response.body))

    def _wait(self, exchange: Exchange, url: str) -> Response:
        """What ICA answers within the time that our client waits for it."""
        engine = self._world.engine
        deadline = engine.now + timedelta(seconds=READ_SECONDS)
        while exchange.response is None:
            engine.sleep((min(exchange.goes_on_at, deadline) - engine.now).total_seconds())
            if exchange.response is None and engine.now >= deadline:
                self._world.count("ICA hangs")
                raise ReadTimeoutError(POOL, url, "timed out")
        if exchange.aborted:
            raise ProtocolError("connection dropped")
        return exchange.response

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Exchange:
        """Let ICA begin to carry out a request."""
        exchange = Exchange(self._world.engine.now)
        template, handler, request = self._routed(method, url, headers, body, exchange)
        exchange.steps = self._simulator.answer(handler, template, request)
        self._go_on(exchange)
        return exchange

    def _go_on(self, exchange: Exchange) -> None:
        engine = self._world.engine
        assert exchange.steps
        try:
            seconds = exchange.steps.send(None)
        except StopIteration as end:
            exchange.response = end.value
        else:
            exchange.goes_on_at = engine.now + timedelta(seconds=seconds)
            engine.later(seconds, partial(self._go_on, exchange))

    def _routed(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, exchange: Exchange
    ) -> tuple[str, Handler, Request]:
        parts = urlsplit(url)
        path = unquote(parts.path)
        scope = {
            "type": "http",
            "method": method,
            "scheme": "https",
            "server": ("ica", 443),
            "path": path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "state": {"transport": exchange},
        }
        content = b"" if body is None else json.dumps(body).encode()

        async def receive() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        for of_route, pattern, template, handler in ROUTES:
            if of_route == method and (match := pattern.match(path)):
                return template, handler, Request({**scope, "path_params": match.groupdict()}, receive)
        return "unknown", no_such_endpoint, Request(scope, receive)
