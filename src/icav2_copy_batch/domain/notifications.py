"""ICA's notifications: channels, subscriptions, and which of them tell this stack that a job has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_ADDRESS = 100
"""Characters of the address with which a channel may be made: Illumina's document, CreateNotificationChannel."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A queue to which ICA sends notifications."""

    channel_id: str
    address: str
    """The queue's URL."""
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Subscription:
    """That ICA sends a notification to a channel whenever the status of a project's job has changed."""

    subscription_id: str
    channel: Channel
    is_enabled: bool = True
    filter: str | None = None
    """A condition that a notification has to meet, if there is one."""

    @property
    def works(self) -> bool:
        return self.is_enabled and self.channel.is_enabled


def to_address(subscriptions: Iterable[Subscription], address: str) -> Subscription | None:
    """The best of the subscriptions to an address: one that works and has no filter, if there is one."""
    ours = [each for each in subscriptions if each.channel.address == address]
    return min(ours, key=lambda each: (not each.works, each.filter is not None), default=None)


def shorten_by(address: str) -> int:
    """By how many characters an address is longer than ICA allows; 0 if it is not."""
    return max(len(address) - LONGEST_ADDRESS, 0)
