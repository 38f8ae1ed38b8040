"""The stack's own resources, as AWS tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Messages:
    """About how many messages a queue has."""

    waiting: int
    in_flight: int = 0
    """Handed to a function, and not yet dealt with."""

    @property
    def total(self) -> int:
        return self.waiting + self.in_flight


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of CloudWatch's."""

    name: str
    rings: bool
    since: str | None = None
    """When it came into its state."""
    means: str = ""
    tells: tuple[str, ...] = ()
    """The ARNs of whom it tells when it rings; nobody where its actions are disabled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the stack's resources are called."""

    queues: Mapping[str, str]
    """The URLs of the queues *ingest*, *launch* and *notification*."""
    dead_letter_queues: Mapping[str, str]
    """Those of the dead-letter queues of *ingest*, *launch* and *publish*."""
    alarms: tuple[str, ...] = field(default=())
    poll_rule: str
    """The rule that calls the poll function each minute."""
    poll_function: str
    event_bus: str
