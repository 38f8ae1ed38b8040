"""ICA's clock, measured from the ``Date`` of its answers and never assumed to be ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from icav2_copy_batch.domain.job import Clock, timestamp

GOOD_FOR = timedelta(minutes=10)
"""A measurement is replaced by a less exact one only after this: clocks drift slowly."""
MOST_ERROR = timedelta(seconds=10)
"""An answer that took longer tells too little: searches allow for ``CLOCKS_APART``, which is more than this."""
DATE_RESOLUTION = timedelta(seconds=1)
"""HTTP's ``Date`` has whole seconds, cut off (RFC 9110, section 5.6.7)."""


@dataclass
class IcaClock:
    """By how much ICA's clock is ahead of ours, from the answer that told it best."""

    clock: Clock
    _ahead: timedelta | None = None
    _error: timedelta = timedelta.max
    _measured_at: datetime | None = None

    def measure(self, headers: Mapping[str, str], sent_at: datetime) -> None:
        """Take note of an answer that has just arrived; ``sent_at`` is when its request was sent."""
        try:
            date = parsedate_to_datetime(headers.get("Date", ""))
        except ValueError:
            return
        now = self.clock()
        error = (now - sent_at + DATE_RESOLUTION) / 2
        if error > MOST_ERROR:
            return
        if self._measured_at is None or error <= self._error or now - self._measured_at > GOOD_FOR:
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            self._ahead = date + DATE_RESOLUTION / 2 - (sent_at + (now - sent_at) / 2)
            self._error, self._measured_at = error, now

    def ours(self, ica_time: object) -> str | None:
        """A moment that ICA names (ISO 8601), by our clock; None where it cannot be read, or ICA's clock is unknown."""
        if self._ahead is None or not isinstance(ica_time, str):
            return None
        try:
            moment = datetime.fromisoformat(ica_time)
        except ValueError:
            return None
        return timestamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - self._ahead)
