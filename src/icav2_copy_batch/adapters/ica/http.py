"""Calls to ICA over HTTP: the token, the turn, the tries, the pages, and what each failure means.

libica builds and sends each request; this module reads the answers. An answer that cannot be read, such as an HTML
page of a proxy's, counts as ICA being unavailable.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import urllib3
from pydantic import ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from icav2_copy_batch.adapters.ica.bodies import message_of, problem_in, rows_in
from icav2_copy_batch.adapters.ica.clock import IcaClock
from icav2_copy_batch.adapters.ica.libica_light import ApiClient, ApiException, Configuration
from icav2_copy_batch.domain.ica import (
    ERRORS_OF_FAILURES,
    SECONDS_TO_START,
    CallFailure,
    IcaError,
    IcaUnavailable,
    failure_of,
)
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.spread import Spread, in_threads
from icav2_copy_batch.domain.token import bare_token
from icav2_copy_batch.ports import Pacing, TokenSource

MEDIA_TYPE = "application/vnd.illumina.v3+json"
"""The media type is the version of ICA's API."""
PAGE_SIZE = 1000
"""The largest that any public client is known to send; ICA documents no limit."""
CONNECT_SECONDS, READ_SECONDS = 3.0, 20.0
BYTES_AT_ONCE = 64 * 1024
MAX_TRIES, FEW_TRIES = 6, 2
MAX_PACED_TRIES = 12
"""Tries of a call that ICA refuses with 429 while each try waits for its turn."""
MAX_WAIT_SECONDS = 10.0
BACKOFF = wait_exponential(multiplier=0.5, max=MAX_WAIT_SECONDS)

TOKEN_REFUSED = "ICA does not take the token"  # noqa: S105 # a message about the token
"""Logged when ICA refuses a fresh token, or no token can be read. The template counts this text, for an alarm."""
NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)

logger = logging.getLogger(__name__)

Operation = Callable[..., Any]
"""A method of one of libica's APIs that returns the response as it came (``…_without_preload_content``)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call to ICA: which operation of libica's, with which parameters."""

    operation: Operation
    parameters: Mapping[str, Any]
    headers: Mapping[str, str]
    is_repeatable: bool

    def error(self, failure: CallFailure, message: str, **details: Any) -> IcaError:
        """The error that a failure of this call amounts to, as ``ERRORS_OF_FAILURES`` says."""
        return ERRORS_OF_FAILURES[failure][0 if self.is_repeatable else 1](message, **details)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """ICA's API over HTTP, one call at a time or page by page.

    Each call raises ``IcaUnavailable`` where ICA did not carry it out and may do so later, and ``IcaRefused`` where ICA
    would refuse it again. A call that must not be repeated raises ``IcaAnswerLost`` where nobody knows.
    """

    def __init__(
        self,
        *,
        base_url: str,
        tokens: TokenSource,
        seconds_left: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Clock = lambda: datetime.now(UTC),
        jitter: Callable[[float, float], float] = random.uniform,
        spread: Spread = in_threads,
        pacing: Pacing | None = None,
        count: Callable[[], None] = lambda: None,
        wire: Any = None,
        max_tries: int = MAX_TRIES,
        page_size: int = PAGE_SIZE,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """``base_url`` ends in ``/ica/rest``; ``seconds_left`` says how long this invocation may still take.

        ``spread`` makes the calls that need not wait for each other. ``pacing`` says when each call may be made, where
        ICA limits calls. ``count`` is told of each request. ``wire`` sends the requests in place of libica's
        ``RESTClientObject``.
        """
        configuration = Configuration(host=base_url.rstrip("/"))
        # We retry, and only what may be repeated. libica declares a number and passes on what it is given.
        configuration.retries = urllib3.Retry(0, redirect=0)  # type: ignore[assignment]
        self.client = ApiClient(configuration)
        """For libica's APIs."""
        self.client.rest_client = wire or self.client.rest_client
        self.client.user_agent = "icav2-copy-batch"
        self.spread = spread
        self.monotonic = monotonic
        self.page_size = page_size
        self.ica_clock = IcaClock(clock)
        self._tokens = tokens
        self._seconds_left = seconds_left
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._pacing = pacing
        self._count = count
        self._max_tries = max_tries
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds

    def impatient(self) -> Http:
        """The same, but for callers who ask again later anyway: a call that fails is made once more at most."""
        impatient = copy(self)
        impatient._max_tries = min(FEW_TRIES, self._max_tries)
        return impatient

    # --- pages -------------------------------------------------------------------------------------------------------

    def rows(self, operation: Operation, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list; parameters and errors as for ``pages``."""
        return (row for page in self.pages(operation, **parameters) for row in page)

    def pages(
        self, operation: Operation, *, page_size: int | None = None, **parameters: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list. Each is one call, made when it is asked for. A page may be empty, and others follow.

        Raises what ``call`` raises, and ``IcaUnavailable`` where the list leads back to an earlier page, or too little
        time is left for its next page.
        """
        page_token = ""
        seen = {page_token}
        while True:
            page = self.call(operation, page_size=str(page_size or self.page_size), page_token=page_token, **parameters)
            yield rows_in(page)
            page_token = page.get("nextPageToken") or ""
            if not page_token:
                return
            if page_token in seen:
                raise IcaUnavailable("ICA's list repeats a page that was read already")
            seen.add(page_token)
            if not self.has_time_after(MAX_WAIT_SECONDS):
                raise IcaUnavailable("too little time was left to read a list to its end")

    # --- one call, with its tries ------------------------------------------------------------------------------------

    def call(
        self,
        operation: Operation,
        *,
        repeatable: bool = True,
        conflict_is_answer: bool = False,
        max_tries: int = MAX_TRIES,
        headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """The JSON object that ICA answers with. What may be repeated is tried again, inside the time that is left.

        Between tries are pauses with jitter, which grow. With ``conflict_is_answer`` a 409 is not tried again. Raises
        ``IcaUnavailable``, ``IcaRefused`` or, where not ``repeatable``, ``IcaAnswerLost``: see ``ERRORS_OF_FAILURES``.
        """
        request = Request(operation, parameters, headers or {}, repeatable)

        def is_worth_another_try(error: BaseException) -> bool:
            is_answer = conflict_is_answer and isinstance(error, IcaError) and error.http_status == 409
            return isinstance(error, IcaUnavailable) and not is_answer

        def has_to_stop(state: RetryCallState) -> bool:
            most = MAX_PACED_TRIES if self._is_paced(state) else min(max_tries, self._max_tries)
            return state.attempt_number >= most or self._seconds_left() < MAX_WAIT_SECONDS + self._time_for(request)

        retrying = Retrying(
            retry=retry_if_exception(is_worth_another_try),
            wait=lambda state: 0.0 if self._is_paced(state) else self._pause(state),
            stop=has_to_stop,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._call_in_turn, request)

    def _is_paced(self, state: RetryCallState) -> bool:
        """Whether a call that ICA refused with 429 waits for its turn before it is made again."""
        error = state.outcome.exception() if state.outcome else None
        return bool(self._pacing) and isinstance(error, IcaError) and error.is_throttling

    def _pause(self, state: RetryCallState) -> float:
        """Full jitter between 0 and an exponentially growing limit; longer where ICA says how long."""
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, IcaUnavailable) else None
        return max(self._jitter(0, BACKOFF(state)), min(retry_after or 0.0, MAX_WAIT_SECONDS))

    def _call_in_turn(self, request: Request) -> dict[str, Any]:
        with self._pacing.turn(self._time_for(request)) if self._pacing else nullcontext():
            return self._call_once(request)

    def _call_once(self, request: Request) -> dict[str, Any]:
        answer = self._send(request, self._token())
        if answer.status == 401:  # the token may have been rotated since it was cached
            answer = self._send(request, self._token(fresh=True))
        if 200 <= answer.status < 300:
            return _object(request, answer.body)
        problem = problem_in(answer.body)
        message = message_of(answer.status, problem)
        if answer.status == 401:
            logger.error(TOKEN_REFUSED, extra={"reason": message})
        failure = failure_of(answer.status, is_problem=problem is not None)
        raise request.error(failure, message, http_status=answer.status, retry_after=_retry_after(answer.headers))

    def _token(self, *, fresh: bool = False) -> str:
        try:
            return bare_token(self._tokens.token(fresh=fresh))  # http.client quotes a header that it does not take
        except Exception as error:
            logger.exception(TOKEN_REFUSED)
            raise IcaUnavailable(f"the token for ICA cannot be read: {error}") from error

    def _send(self, request: Request, token: str) -> Answer:
        """The answer, whatever its status. Raises ``request.error`` where none arrives."""
        try:
            sent_at = self._clock()
            until = self.monotonic() + self._connect_seconds + self._read_seconds
            self._count()
            response = request.operation(
                **request.parameters,
                _headers={"Accept": MEDIA_TYPE, "Accept-Encoding": "gzip", **request.headers},
                _request_auth={"type": "bearer", "in": "header", "key": "Authorization", "value": f"Bearer {token}"},
                _request_timeout=(self._connect_seconds, self._read_seconds),
            )
            self.ica_clock.measure(response.getheaders(), sent_at)
            # Errors quote ICA's answer. Should that, or a proxy's, quote what was sent, the token does not get further.
            body = self._body(response, until).replace(token.encode(), b"(the token)")
            return Answer(response.status, response.getheaders(), body)
        except NOT_CONNECTED as error:
            raise request.error(CallFailure.NOT_REACHED, f"ICA cannot be reached: {error}") from None
        except urllib3.exceptions.MaxRetryError as error:
            failure = CallFailure.NOT_REACHED if isinstance(error.reason, NOT_CONNECTED) else CallFailure.NO_ANSWER
            raise request.error(failure, f"ICA did not answer: {error.reason}") from None
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:  # libica has its own for TLS
            raise request.error(CallFailure.NO_ANSWER, f"ICA's answer did not arrive: {error}") from None
        except ValidationError as error:  # libica's, before anything is sent: an id that is none, say
            raise request.error(CallFailure.REFUSED, f"not a request to ICA: {error.errors()[0]['msg']}") from None
        except ValueError as error:  # http.client's, whose message can quote a whole header, and so the token
            raise request.error(CallFailure.NO_ANSWER, f"ICA's answer did not arrive: {type(error).__name__}") from None

    def _body(self, response: urllib3.HTTPResponse, until: float) -> bytes:
        """The body of an answer. urllib3's time-out is for each wait for some bytes; ``until`` is for all of them."""
        parts = []
        is_late = False
        while part := response.read1(BYTES_AT_ONCE):
            parts.append(part)
            if is_late:
                response.close()
                raise urllib3.exceptions.ProtocolError("it came too slowly")
            is_late = self.monotonic() > until  # if this was the last part, it has come nevertheless
        return b"".join(parts)

    # --- time --------------------------------------------------------------------------------------------------------

    def _time_for(self, request: Request) -> float:
        """The seconds that must be left for a call to be made."""
        return self._read_seconds if request.is_repeatable else SECONDS_TO_START

    def has_time_after(self, seconds: float) -> bool:
        """Whether after so many seconds there is still time for a call."""
        return self._seconds_left() >= seconds + self._read_seconds

    def pause(self, seconds: float) -> bool:
        """Let ICA finish something that it is doing. False, without a pause, where no time is left for that."""
        if not self.has_time_after(seconds):
            return False
        self._sleep(seconds)
        return True


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers.get("Retry-After", ""))
    except ValueError:
        return None


def _object(request: Request, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise request.error(CallFailure.UNREADABLE, f"ICA answered with something that is not JSON: {body[:80]!r}")
    return answer
