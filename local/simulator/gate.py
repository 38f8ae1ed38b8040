"""The door to a World: who may come in, how often, what goes wrong on the way, and a count of it all."""

import asyncio
import json
import re
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from local.simulator import bodies
from local.simulator.bodies import Json
from local.simulator.model import IcaError, JobStatus
from local.simulator.world import World

BASE = "/ica/rest"
V3 = "application/vnd.illumina.v3+json"
TICK_SECONDS = 0.2
HANG_SECONDS = 300.0
"""A call that hangs is cut off after this; no client waits so long."""
HANGS_BEFORE = 0.5
"""Share of the calls that hang which are not carried out."""
STATUS_NEVER_SEEN = '"status":"FROBNICATED"'
ANY_JOB_STATUS = re.compile('"status":"(' + "|".join(JobStatus) + ')"')

Notify = Callable[[str, str], None]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with calls: which calls, how many of them or for how long, and what.

    `path` is a regular expression looked for in the path.  `after` matching calls pass first.  With
    `processed` the call does its work before the error is answered, as `drop_after` does before hanging up.
    """

    kind: Literal["status", "html", "delay", "drop_before", "drop_after", "unknown_status"]
    method: str = ""
    path: str = ""
    count: int | None = None
    seconds: float | None = None
    after: int = 0
    probability: float = 1.0
    status: int = 503
    title: str = ""
    retry_after: int | None = None
    delay: float = 1.0
    processed: bool = False


@dataclass
class Trouble:
    """A fault at work: until when, and how many calls it has seen and hit."""

    fault: Fault
    until: datetime | None
    seen: int = 0
    hits: int = 0

    def strikes(self, method: str, path: str, now: datetime, chance: Callable[[], float]) -> bool:
        fault = self.fault
        if fault.method not in ("", method) or not re.search(fault.path, path):
            return False
        self.seen += 1
        over = (self.until and now >= self.until) or (fault.count is not None and self.hits >= fault.count)
        if over or self.seen <= fault.after or chance() >= fault.probability:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True)
class Answer:
    body: Json | None
    status: int = 200


@dataclass
class Reply:
    """What an Idempotency-Key stands for; no answer while the first call is still at work."""

    content: bytes
    at: datetime
    answer: Answer | None = None


@dataclass
class Token:
    since: datetime
    until: datetime | None = None


class Simulator:
    """What stands between the network and a World."""

    def __init__(
        self,
        world: World,
        token: str,
        notify: Notify = lambda _queue_url, _body: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`sleep` lets a call take its time; the handlers wait for nothing else."""
        self.world, self.notify, self.sleep = world, notify, sleep
        self.tokens = {token: Token(world.now)}
        self.troubles: list[Trouble] = []
        self.replies: dict[tuple[str, str], Reply] = {}
        self.calls: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.notices_sent = self.notices_failed = 0
        self._answered: deque[datetime] = deque()

    async def answer(self, handler: "Handler", template: str, request: Request) -> Response:
        """Everything that happens to one call."""
        self.world.settle()
        self.calls[f"{request.method} {template}"] += 1
        path = request.scope["path"].removeprefix(BASE)
        faults = [
            trouble.fault
            for trouble in self.troubles
            if trouble.strikes(request.method, path, self.world.now, self.world.rng.random)
        ]
        response = await self._despite(faults, handler, request)
        self.answers[str(response.status_code) if response else "dropped"] += 1
        if response is None:
            request.state.transport.abort()
            return Response()
        response.headers["Date"] = format_datetime(self.world.stamp.astimezone(UTC), usegmt=True)
        return response

    async def _despite(self, faults: list[Fault], handler: "Handler", request: Request) -> Response | None:
        """The response, or None if the client is not to get one."""
        for fault in faults:
            if fault.kind == "delay":
                await self.sleep(fault.delay)
        kinds = {fault.kind for fault in faults}
        hangs = self._happens(self.world.switches.hang_rate)
        if hangs and self._happens(HANGS_BEFORE):
            await self.sleep(HANG_SECONDS)
            return None
        if "drop_before" in kinds:
            return None
        error = self._error_of(faults, request)
        if error and not error.processed:
            return self._error(error, request)
        response = await self._carried_out(handler, request, "unknown_status" in kinds)
        if hangs:
            await self.sleep(HANG_SECONDS)
            return None
        if error:
            return self._error(error, request)
        return None if "drop_after" in kinds else response

    def _happens(self, rate: float) -> bool:
        return bool(rate) and self.world.rng.random() < rate

    def _error_of(self, faults: list[Fault], request: Request) -> Fault | None:
        """The fault that is answered instead of what the handler says."""
        switches = self.world.switches
        if switches.url_limit_answer == "html" and self._is_too_long(request):
            return Fault("html", status=switches.url_limit_status)
        return next((fault for fault in faults if fault.kind in ("status", "html")), None)

    async def _carried_out(self, handler: "Handler", request: Request, has_unknown_status: bool) -> Response:
        try:
            self.admit(request)
            self.world.settle()
            answer = await handler(self, request)
        except IcaError as refusal:
            return self.refuse(refusal, request)
        text = "" if answer.body is None else json.dumps(answer.body, separators=(",", ":"))
        if has_unknown_status:
            text = ANY_JOB_STATUS.sub(STATUS_NEVER_SEEN, text)
        return Response(text, answer.status, media_type=V3 if text else None)

    def _error(self, fault: Fault, request: Request) -> Response:
        if fault.kind == "html":
            page = f"<html><body><h1>{fault.status}</h1></body></html>"
            return Response(page, fault.status, media_type="text/html")
        refusal = IcaError(fault.status, "a fault made by the simulator", fault.title)
        return self.refuse(refusal, request, fault.retry_after)

    def refuse(self, refusal: IcaError, request: Request, retry_after: int | None = None) -> Response:
        wait = retry_after or (self.world.switches.retry_after if refusal.status == 429 else 0)
        body = bodies.problem(refusal, self.world.new_id(), request.method, request.url.path, self.world.stamp)
        headers = {"Retry-After": str(wait)} if wait else None
        return Response(json.dumps(body), refusal.status, headers, "application/problem+json")

    def admit(self, request: Request) -> None:
        """The checks which ICA makes before it looks at what is asked."""
        switches, now = self.world.switches, self.world.now
        if self._is_too_long(request):
            raise IcaError(switches.url_limit_status, f"a request target of more than {switches.url_limit} bytes")
        if switches.rate_limit:
            while self._answered and now - self._answered[0] >= timedelta(seconds=1):
                self._answered.popleft()
            if len(self._answered) >= switches.rate_limit:
                raise IcaError(429, "too many requests")
            self._answered.append(now)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._good(token.strip()):
            raise IcaError(401, "the token is missing, wrong or expired", "ICA_SEC_002")
        accepted = [kind.partition(";")[0].strip() for kind in request.headers.get("accept", "").split(",")]
        if V3 not in accepted:
            raise IcaError(400, f"the Accept header is invalid, it must name {V3}", "ICA_API_004")

    def _is_too_long(self, request: Request) -> bool:
        target = len(request.scope["raw_path"]) + 1 + len(request.scope["query_string"])
        return 0 < self.world.switches.url_limit < target

    def _good(self, token: str) -> bool:
        if (known := self.tokens.get(token)) is None:
            return False
        age = (self.world.now - known.since).total_seconds()
        expired = 0 < self.world.switches.token_seconds <= age
        return not expired and (known.until is None or self.world.now < known.until)

    def replace_token(self, token: str, also_accept_old_for: float = 0) -> None:
        until = self.world.now + timedelta(seconds=also_accept_old_for)
        for old in self.tokens.values():
            old.until = min(until, old.until or until)
        self.tokens[token] = Token(self.world.now)

    def add_fault(self, fault: Fault) -> None:
        try:
            re.compile(fault.path)
        except re.error as error:
            raise ValueError(f"path is not a regular expression: {error}") from error
        until = self.world.now + timedelta(seconds=fault.seconds) if fault.seconds is not None else None
        self.troubles.append(Trouble(fault, until))

    async def deliver_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self.world.subscriptions:
                self.world.settle()
                await self.deliver_due()

    async def deliver_due(self) -> None:
        """Send the job changes whose time has come; one that cannot be sent is lost, as anywhere."""
        for notice in self.world.due_notices():
            body = json.dumps(bodies.notification(notice, self.world.switches))
            try:
                await asyncio.to_thread(self.notify, notice.queue_url, body)
                self.notices_sent += 1
            except Exception as error:  # noqa: BLE001 # whatever the queue's client raises
                self.notices_failed += 1
                print(f"no notification to {notice.queue_url}: {error}", file=sys.stderr)


Handler = Callable[[Simulator, Request], Awaitable[Answer]]
