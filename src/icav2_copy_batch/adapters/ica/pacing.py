"""Pacing: where ICA limits calls, all functions together call as evenly and as often as ICA accepts.

As long as ICA has not answered 429, pacing costs nothing: no write and no waiting. From then on the functions share a
``Pace`` in the table (see ``domain/pace.py``). Each function reserves moments to call at, by one conditional write for
all of its threads that wait. A function that dies leaves the moments of a second unused at most.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock

from icav2_copy_batch.domain.ica import IcaError, IcaUnavailable
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.pace import AHEAD, FREE_RATE, Pace, first_pace
from icav2_copy_batch.ports import SharedPace

LATELY = timedelta(seconds=1)
"""Calls that ICA answered within this time before its first 429 show the rate that it accepts."""
LONGEST_TURN = timedelta(seconds=60)
"""The longest wait for one call. A launch whose call would have to wait longer is deferred."""
CALLERS_AT_ONCE = 6
"""Functions that may call at the same time, each of which gets its share: the launches, and the poller."""
MOST_CONFLICTS = 20
"""Tries to write the shared pace while others write it."""

logger = logging.getLogger(__name__)


class Pacing:
    """When this container may call ICA; its threads share it."""

    def __init__(
        self,
        *,
        table: SharedPace,
        clock: Clock,
        sleep: Callable[[float], None],
        seconds_left: Callable[[], float],
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._table, self._clock, self._sleep, self._seconds_left = table, clock, sleep, seconds_left
        self._jitter = jitter
        self._pace: Pace | None = None
        """The shared pace as this container knows it; None while calls are not limited."""
        self._taken: deque[datetime] = deque()
        """Reserved moments that no thread has taken yet."""
        self._waiting = 0
        """Threads that wait for a moment."""
        self._unreported = 0
        """Answered calls that the shared pace does not count yet."""
        self._lately: deque[datetime] = deque(maxlen=int(FREE_RATE))
        """When calls were answered while calls were not limited."""
        self._counting, self._asking = Lock(), Lock()

    def held_until(self) -> datetime | None:
        """The moment before which no launch should begin; None where one may begin now. Reads the shared pace."""
        now = self._clock()
        pace = self._learn()
        return pace.held_until(now) if pace else None

    def calls_possible(self, seconds: float) -> float:
        """The number of calls that this container can make in a time beside the others; infinite without a limit.

        The pace may be an old one: ``held_until`` brings it up to date.
        """
        pace = self._pace
        if pace is None or pace.is_over(self._clock()):
            return float("inf")
        return max(seconds, 0.0) * pace.rate / CALLERS_AT_ONCE

    @contextmanager
    def turn(self, seconds_needed: float) -> Iterator[None]:
        """Wait for the turn of one call, which is made in this context, and note how ICA answers it.

        Raises ``IcaUnavailable``, before the call, where waiting would leave less than ``seconds_needed`` for it.
        """
        has_waited = bool(self._pace) and self._await_turn(seconds_needed)
        called_at = self._clock()
        try:
            yield
        except IcaError as error:
            if error.is_throttling:
                self._note_refusal(called_at, error.retry_after)
            elif error.http_status:
                self._note_answer(called_at, has_waited)
            raise
        self._note_answer(called_at, has_waited)

    # --- waiting for a turn ------------------------------------------------------------------------------------------

    def _await_turn(self, seconds_needed: float) -> bool:
        """Wait for a moment to call at; whether there was any wait."""
        with self._counting:
            self._waiting += 1
        try:
            with self._asking:  # one thread takes moments for all
                moment = self._next_moment(seconds_needed)
        finally:
            with self._counting:
                self._waiting -= 1
        return moment is not None and self._wait_until(moment, seconds_needed)

    def _next_moment(self, seconds_needed: float) -> datetime | None:
        """The next moment that is reserved for us; None where calls need not wait any more."""
        while not self._taken:
            pace, now = self._pace, self._clock()
            if pace is None or pace.is_over(now):
                self._pace = None
                return None
            with self._counting:
                most, answered = self._waiting, self._unreported
            after, moments = pace.with_answered(answered).take(most, now)
            if not moments:
                # Not all containers at once, and some time before the reserved second is over.
                free_at = pace.next_at - AHEAD * self._jitter(0.0, 1.0)
                self._wait_until(free_at, seconds_needed)
            elif self._write(after, pace):
                with self._counting:
                    self._unreported -= answered
                self._pace = after
                self._taken += moments
            else:
                self._learn()
        return self._taken.popleft()

    def _wait_until(self, moment: datetime, seconds_needed: float) -> bool:
        """Sleep until a moment; False where it has come already. Raises ``IcaUnavailable`` where no time is left."""
        seconds = (moment - self._clock()).total_seconds()
        if seconds <= 0:
            return False
        if seconds > min(LONGEST_TURN.total_seconds(), self._seconds_left() - seconds_needed):
            raise IcaUnavailable("ICA limits calls (429): this one would have to wait for too long")
        self._sleep(seconds)
        if self._seconds_left() < seconds_needed:
            raise IcaUnavailable("ICA limits calls (429): after the wait too little time is left for the call")
        return True

    # --- learning from answers ---------------------------------------------------------------------------------------

    def _note_answer(self, called_at: datetime, has_waited: bool) -> None:
        """Count an answered call, but for one that did not wait: it does not show that a higher rate is accepted."""
        with self._counting:
            if self._pace is None:
                self._lately.append(self._clock())
            elif has_waited and self._pace.is_news(called_at):
                self._unreported += 1

    def _note_refusal(self, called_at: datetime, retry_after: float | None) -> None:
        """Lower the shared pace for a call that was refused with 429, unless somebody has done so already."""
        for _ in range(MOST_CONFLICTS):
            seen, now = self._pace or self._read(), self._clock()
            with self._counting:
                answered = self._unreported
                lately = sum(at > called_at - LATELY for at in self._lately)
            if seen is None or seen.is_over(now):
                pace = first_pace(lately, now, retry_after, seen)
            else:
                pace = seen.with_answered(answered).lowered(called_at, now, retry_after)
                if pace.serial == seen.serial:
                    self._pace = seen
                    return
            if self._write(pace, seen):
                with self._counting:
                    self._unreported -= answered
                self._pace = pace
                logger.warning("ICA limits calls", extra={"calls_a_second": round(pace.rate, 2)})
                return
            self._learn()

    # --- the shared pace ---------------------------------------------------------------------------------------------

    def _learn(self) -> Pace | None:
        """Read the shared pace, and keep to it from now on; None where calls are not limited."""
        pace = self._read()
        self._pace = None if pace is None or pace.is_over(self._clock()) else pace
        return self._pace

    def _read(self) -> Pace | None:
        try:
            return self._table.pace()
        except Exception:
            logger.exception("the pace of calls to ICA cannot be read")
            return self._pace

    def _write(self, pace: Pace, seen: Pace | None) -> bool:
        """Share a pace; False where somebody else has written meanwhile. Without the table it is this container's."""
        try:
            return self._table.write_pace(pace, seen)
        except Exception:
            logger.exception("the pace of calls to ICA cannot be shared")
            return True
