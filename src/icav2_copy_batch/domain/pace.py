"""How fast ICA may be called, once it has answered 429: what is learned from its answers, and who calls when.

ICA publishes no rate and is not known to say how long to wait, so that the rate is found by trying. Until the first 429
nobody knows of a limit, and nothing is held back. From then on the functions share one ``Pace``: each takes the next
moments at which it may call, so that all of them together call evenly. A 429 lowers the rate at once. Calls that are
answered raise it again: quickly up to where the 429 came, slowly around there, and ever more quickly beyond, since the
limit may be gone. That is the curve of TCP's CUBIC (RFC 9438) and of the AWS SDKs' adaptive retries, counted in calls
instead of seconds: the share of calls that are refused is then the same at every rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FIRST_RATE = 2.0
"""Calls a second after the first 429, unless more were answered just before it."""
LEAST_RATE, FREE_RATE = 0.5, 200.0
"""Calls a second: it gets no lower than the one, and from the other on nothing is held back any more."""
SEARCHED_BY = 0.5
"""By so many calls a second each answered call raises the rate, as long as the limit has not been found: by half in a
second, or so."""
LOWERED_TO, HALVED_TO = 0.8, 0.5
"""To these shares of the rate at which a 429 came it is lowered; to the second where it must have been far too high."""
OVERSHOT = 0.75
"""About this share of a rate that was far too high may be the limit."""
REGAINED_AFTER, REGAINED_AFTER_SECONDS = 30, 4.0
"""Answered calls after which the rate is again where the last 429 came, and no sooner than after these seconds."""
BEYOND = 0.2
"""By this share the rate is beyond that after as many calls again."""
AHEAD = timedelta(seconds=0.5)
"""How far ahead moments are taken: a rate that was lowered is kept by everybody after so long."""
PORTION_SECONDS = 0.25
"""Nobody takes more moments at once than there are in this time, or one."""
FORGOTTEN_AFTER = timedelta(minutes=15)
"""So long after the last 429 nothing is held back any more."""
LONGEST_PAUSE = timedelta(minutes=10)
"""ICA is not believed (``Retry-After``) that nobody may call for longer than this."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate that is kept by all, and when the next call may be made."""

    low: float
    """Calls a second right after the rate was last lowered."""
    ceiling: float | None
    """Calls a second at which the last 429 came; None while the limit is searched for."""
    answered: int
    """Calls that were answered since then."""
    lowered_at: datetime
    next_at: datetime
    """When the next call may be made that nobody has taken the moment of."""
    serial: int = 1
    """Grows with each change: what is written has to follow upon what was read."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        if self.ceiling is None:
            return min(self.low + self.answered * SEARCHED_BY, FREE_RATE)
        way = self.answered / max(REGAINED_AFTER, self.ceiling * REGAINED_AFTER_SECONDS)
        if way < 1:
            return self.ceiling - (self.ceiling - self.low) * (1 - way) ** 3
        return min(self.ceiling * (1 + BEYOND * (way - 1) ** 3), FREE_RATE)

    def is_over(self, now: datetime) -> bool:
        """Whether calls need not be held back any more."""
        return self.rate >= FREE_RATE or now - self.lowered_at > FORGOTTEN_AFTER

    def take(self, most: int, now: datetime) -> tuple[Pace, list[datetime]]:
        """Take the next moments to call at, at most so many; none where others have taken those of the next second."""
        first = max(self.next_at, now)
        if first > now + AHEAD:
            return self, []
        count = min(most, max(1, int(self.rate * PORTION_SECONDS)))
        apart = timedelta(seconds=1 / self.rate)
        taken = replace(self, next_at=first + count * apart, serial=self.serial + 1)
        return taken, [first + number * apart for number in range(count)]

    def is_told_by(self, called_at: datetime) -> bool:
        """Whether the answer to a call that was made at this moment says something about the rate."""
        return called_at >= self.lowered_at + self._settling

    @property
    def _settling(self) -> timedelta:
        """For so long after the rate was lowered calls are made at moments that were taken before, or are counted by
        ICA together with those of the second before."""
        return AHEAD + timedelta(seconds=1 + 1 / self.low)

    def with_answered(self, calls: int) -> Pace:
        return replace(self, answered=self.answered + calls)

    def lowered(self, called_at: datetime, now: datetime, retry_after: float | None) -> Pace:
        """A call that was made at a moment was refused (429); the same serial where that says nothing new.

        ``retry_after``: for so many seconds nobody may call, where ICA says so.
        """
        if not self.is_told_by(called_at):
            return self
        is_far_too_high = self.ceiling is None or now < self.lowered_at + self._settling + AHEAD
        ceiling, low = self.rate, self.rate * LOWERED_TO
        if is_far_too_high:
            ceiling, low = self.rate * OVERSHOT, self.rate * HALVED_TO
        if self.ceiling and not self.answered:
            # Nothing is answered any more, which says nothing about what will be taken once something is.
            ceiling, low = self.ceiling, self.rate * HALVED_TO
        next_at = max(self.next_at, _after_pause(now, retry_after))
        return Pace(max(low, LEAST_RATE), max(ceiling, LEAST_RATE), 0, now, next_at, self.serial + 1)


def first_pace(answered_lately: int, now: datetime, retry_after: float | None, over: Pace | None = None) -> Pace:
    """After the first 429: as fast as calls were answered in the second before it, and from there on a search.

    Several functions may have called at once, each of which knows of its own calls alone: what they knew is less than
    the limit. ``over`` is a former pace that nobody keeps any more.
    """
    serial = over.serial + 1 if over else 1
    return Pace(max(FIRST_RATE, answered_lately), None, 0, now, _after_pause(now, retry_after), serial)


def _after_pause(now: datetime, retry_after: float | None) -> datetime:
    return now + min(timedelta(seconds=max(retry_after or 0.0, 0.0)), LONGEST_PAUSE)
