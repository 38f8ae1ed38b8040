"""Pace: how fast ICA may be called once it has answered 429, and which function calls when.

ICA publishes no rate limit and may not say how long to wait, so that the rate is found by trying. Until the first 429
no limit is known and no call is throttled. After it the functions share one ``Pace``: each takes the next moments at
which it may call, so that all of them together call evenly.

A 429 lowers the rate at once. Answered calls raise it again: quickly up to the rate at which the 429 came, slowly
around it, and ever more quickly beyond it, since the limit may be gone. That is the curve of TCP's CUBIC (RFC 9438)
and of the AWS SDKs' adaptive retries. It is counted in calls instead of seconds, so that the share of refused calls is
the same at every rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FIRST_RATE = 2.0
"""Calls per second after the first 429, unless more were answered in the second before it."""
LEAST_RATE, FREE_RATE = 0.5, 200.0
"""Calls per second: the rate never falls below the first, and from the second on no call is throttled."""
SEARCHED_BY = 0.5
"""While the limit is not found, each answered call raises the rate by this many calls per second. That is about half
of the rate in each second."""
LOWERED_TO, HALVED_TO = 0.8, 0.5
"""Shares of the rate at which a 429 came, to which it is lowered. The second is for a rate that was far too high."""
OVERSHOT = 0.75
"""The limit is taken to be at this share of a rate that was far too high."""
REGAINED_AFTER, REGAINED_AFTER_SECONDS = 30, 4.0
"""How many answered calls bring the rate back to where the last 429 came, and how many seconds it takes at least."""
BEYOND = 0.2
"""After as many calls again, the rate is higher than that by this share."""
AHEAD = timedelta(seconds=0.5)
"""How far ahead moments are taken. So after this time every function keeps a rate that was lowered."""
PORTION_SECONDS = 0.25
"""A function takes at most the moments within this time at once, and at least one."""
FORGOTTEN_AFTER = timedelta(minutes=15)
"""How long after the last 429 calls are throttled at most."""
HELD_AFTER = timedelta(seconds=15)
"""No launch is begun where nobody may call for longer than this."""
LONGEST_PAUSE = timedelta(minutes=10)
"""A longer ``Retry-After`` from ICA is cut to this."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate that all functions keep together, and when the next call may be made."""

    low: float
    """Calls per second right after the rate was last lowered."""
    ceiling: float | None
    """Calls per second at which the last 429 came. None while the limit is searched for."""
    answered: int
    """How many calls have been answered since the rate was last lowered."""
    lowered_at: datetime
    next_at: datetime
    """The next moment for a call that no function has taken."""
    serial: int = 1
    """Grows by one with each change, so that a write can demand that nothing has changed since its read."""

    @property
    def rate(self) -> float:
        """Calls per second that are allowed now."""
        if self.ceiling is None:
            return min(self.low + self.answered * SEARCHED_BY, FREE_RATE)
        way = self.answered / max(REGAINED_AFTER, self.ceiling * REGAINED_AFTER_SECONDS)
        if way < 1:
            return self.ceiling - (self.ceiling - self.low) * (1 - way) ** 3
        return min(self.ceiling * (1 + BEYOND * (way - 1) ** 3), FREE_RATE)

    def held_until(self, now: datetime) -> datetime | None:
        """The moment before which no launch should begin; None where one may begin now."""
        return self.next_at if self.next_at > now + HELD_AFTER else None

    def is_over(self, now: datetime) -> bool:
        """Whether calls need not be throttled any more."""
        return self.rate >= FREE_RATE or now - self.lowered_at > FORGOTTEN_AFTER

    def take(self, most: int, now: datetime) -> tuple[Pace, list[datetime]]:
        """Take the next moments to call at: at most ``most``, and none if others have taken those just ahead."""
        first = max(self.next_at, now)
        if first > now + AHEAD:
            return self, []
        count = min(most, max(1, int(self.rate * PORTION_SECONDS)))
        apart = timedelta(seconds=1 / self.rate)
        taken = replace(self, next_at=first + count * apart, serial=self.serial + 1)
        return taken, [first + number * apart for number in range(count)]

    def is_news(self, called_at: datetime) -> bool:
        """Whether the answer to a call that was made at this moment says anything new about the rate."""
        return called_at >= self.lowered_at + self._settling

    @property
    def _settling(self) -> timedelta:
        """How long after the rate was lowered its effect cannot be seen yet.

        Calls are still made at moments that were taken before, or ICA counts them together with those of the second
        before.
        """
        return AHEAD + timedelta(seconds=1 + 1 / self.low)

    def with_answered(self, calls: int) -> Pace:
        return replace(self, answered=self.answered + calls)

    def lowered(self, called_at: datetime, now: datetime, retry_after: float | None) -> Pace:
        """The pace after a 429 for a call that was made at ``called_at``; the same pace if that says nothing new.

        ``retry_after`` is for how many seconds nobody may call, if ICA has said so.
        """
        if not self.is_news(called_at):
            return self
        is_far_too_high = self.ceiling is None or now < self.lowered_at + self._settling + AHEAD
        ceiling, low = self.rate, self.rate * LOWERED_TO
        if is_far_too_high:
            ceiling, low = self.rate * OVERSHOT, self.rate * HALVED_TO
        if self.ceiling and not self.answered:
            # No call is answered at all, which says nothing about the rate that will be possible afterwards.
            ceiling, low = self.ceiling, self.rate * HALVED_TO
        next_at = max(self.next_at, _after_pause(now, retry_after))
        return Pace(max(low, LEAST_RATE), max(ceiling, LEAST_RATE), 0, now, next_at, self.serial + 1)


def first_pace(answered_lately: int, now: datetime, retry_after: float | None, over: Pace | None = None) -> Pace:
    """The pace after the first 429: as many calls as were answered in the second before it, and then a search upwards.

    Several functions may have called at once, and each knows only its own calls, so that this is less than the limit.
    ``over`` is a former pace that is over.
    """
    serial = over.serial + 1 if over else 1
    return Pace(max(FIRST_RATE, answered_lately), None, 0, now, _after_pause(now, retry_after), serial)


def _after_pause(now: datetime, retry_after: float | None) -> datetime:
    return now + min(timedelta(seconds=max(retry_after or 0.0, 0.0)), LONGEST_PAUSE)
