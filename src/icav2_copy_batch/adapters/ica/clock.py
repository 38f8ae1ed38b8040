"""The difference between ICA's clock and ours, measured from the ``Date`` header of ICA's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from icav2_copy_batch.domain.job import Clock, timestamp

GOOD_FOR = timedelta(minutes=10)
"""A measurement is replaced by a less exact one only after this: clocks drift slowly."""
MOST_ERROR = timedelta(seconds=10)
"""The measurement of an answer that took longer is ignored. Searches allow for ``CLOCKS_APART``, which is more."""
DATE_RESOLUTION = timedelta(seconds=1)
"""HTTP's ``Date`` has whole seconds, cut off (RFC 9110, section 5.6.7)."""


@dataclass
class IcaClock:
    """How far ICA's clock is ahead of ours, from the answer that shows it best."""

    clock: Clock
    _ahead: timedelta | None = None
    _error: timedelta = timedelta.max
    _measured_at: datetime | None = None

    def measure(self, headers: Mapping[str, str], sent_at: datetime) -> None:
        """Note the ``Date`` of an answer that has just arrived; ``sent_at`` is when its request was sent."""
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
        """A moment of ICA's (ISO 8601) by our clock; None where it cannot be read, or nothing was measured yet."""
        if self._ahead is None or not isinstance(ica_time, str):
            return None
        try:
            moment = datetime.fromisoformat(ica_time)
        except ValueError:
            return None
        return timestamp((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - self._ahead)
