"""Values on the command line: durations, moments, tags, and jobs by their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import typer

from icav2_copy_batch.domain.job import job_id_of

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def seconds(text: str | None) -> float | None:
    """``90``, ``90s``, ``15m``, ``2h`` or ``1d`` in seconds."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; give seconds, or 15m, 2h, 1d")
    return float(match[1]) * SECONDS[match[2]]


def moment(text: str | None, now: datetime) -> datetime | None:
    """A date, a date with its time (UTC if it names no zone), or how long ago: ``2026-11-01``, ``24h``, ``7d``."""
    if text is None:
        return None
    if match := _DURATION.fullmatch(text):
        return now - timedelta(seconds=float(match[1]) * SECONDS[match[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a moment; give 2026-11-01, 2026-11-01T08:00, or 24h, 7d") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def tags(given: Sequence[str] | None) -> dict[str, str]:
    """``key=value``, several times."""
    found = {}
    for each in given or ():
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{each!r} is not a tag; give key=value")
        found[key] = value
    return found


def job_id(text: str) -> str:
    """A job's id; its number will do."""
    return job_id_of(int(text)) if text.isdecimal() else text
