"""What a doctor finds: a finding for each thing that was looked at, with what to do where it is not as it should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Health(StrEnum):
    """How it stands with what was looked at."""

    OK = "ok"
    WARNING = "warning"
    """Copies go on, but somebody should see to it."""
    PROBLEM = "problem"
    """Something does not work."""
    UNKNOWN = "unknown"
    """It could not be looked at, or what was seen does not tell."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen when one thing was looked at, and what to do. Whatever is not ok has a ``fix``."""

    status: Health
    what: str
    fix: str | None = None


class Look(NamedTuple):
    """One thing to look at."""

    check: str
    """What kind of thing: a word that stays the same."""
    about: str | None
    """Which project, or which queue, where there are several."""
    see: Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One thing that was looked at: see ``Look`` and ``Seen``."""

    check: str
    status: Health
    what: str
    about: str | None = None
    fix: str | None = None


def ok(what: str) -> Seen:
    return Seen(Health.OK, what)


def warning(what: str, fix: str) -> Seen:
    return Seen(Health.WARNING, what, fix)


def problem(what: str, fix: str) -> Seen:
    return Seen(Health.PROBLEM, what, fix)


def unknown(what: str, fix: str) -> Seen:
    return Seen(Health.UNKNOWN, what, fix)
