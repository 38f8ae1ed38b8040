"""Subscribe: has ICA tell the notification queue of the jobs of projects. What is there already stays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import uuid4

from icav2_copy_batch.domain.ica import IcaAnswerLost, IcaRefused, IcaUnavailable
from icav2_copy_batch.domain.job import Clock
from icav2_copy_batch.domain.notifications import LONGEST_ADDRESS, Channel, Subscription, shorten_by, to_address
from icav2_copy_batch.domain.requests import CannotDo, Failure, SubscribeProjects
from icav2_copy_batch.ports import IcaNotifications, Leases

LEASE_NAME = "subscribe"
LEASE = timedelta(minutes=3)
"""Renewed with each project. Two runs at once could make two channels, so that each notification came twice."""
TRIES = 3
LOOKS_APART_SECONDS = 5.0
"""ICA's list is read so long after an answer was lost, before the call is repeated."""

RIGHTS = (
    "the token's user has to have the right to manage this project's notifications; give it that, or have somebody who "
    "has it subscribe in ICA's web interface (docs/deploy.md, Notifications)"
)

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of the subscription of one project."""

    SUBSCRIBED = "subscribed"
    THERE = "there"
    """It was subscribed already."""
    ENABLED = "enabled"
    """It was subscribed, but the subscription or its channel was disabled."""
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    """ICA did not do it this time: it may be asked again."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A project, by what it was called and by its id, with what became of its subscription."""

    project: str
    project_id: str | None
    status: Outcome
    detail: str


@dataclass(frozen=True, kw_only=True)
class Subscribe:
    """Makes one channel to the notification queue, and one subscription to it in each project."""

    ica: IcaNotifications
    leases: Leases
    address: str
    """The notification queue's URL."""
    clock: Clock

    def subscribe(self, request: SubscribeProjects) -> dict[str, Any]:
        """Each project with what became of it. Raises ``CannotDo`` while another does the same."""
        owner = str(uuid4())
        try:
            self._hold_lease(owner)
            run = _Run(self.ica, self.address)
            projects = []
            for project in dict.fromkeys(request.projects):
                projects.append(run.subscribe(project))
                self._hold_lease(owner)
        finally:
            self.leases.drop_lease(LEASE_NAME, owner)
        logger.warning("projects subscribed", extra={"projects": [asdict(each) for each in projects], "by": request.by})
        return {"address": self.address, "projects": [asdict(each) for each in projects]}

    def _hold_lease(self, owner: str) -> None:
        now = self.clock()
        if not self.leases.hold_lease(LEASE_NAME, owner, now, now + LEASE):
            raise CannotDo(Failure.UNAVAILABLE, "another subscribe is under way; try again in some minutes")


@dataclass
class _Run:
    """One run over some projects, which share the channel."""

    ica: IcaNotifications
    address: str
    _enabled: set[str] = field(default_factory=set)
    """The channels that this run has enabled."""

    def subscribe(self, project: str) -> Subscribed:
        """Subscribe one project. Nothing is raised for it: the others may be better off."""
        project_id = None
        try:
            project_id = self.ica.project_id(project)
            outcome, detail = self._subscribe(project_id)
        except IcaRefused as error:
            rights = f"; {RIGHTS}" if error.http_status == 403 else ""
            return Subscribed(project, project_id, Outcome.REFUSED, f"{error}{rights}")
        except (IcaUnavailable, IcaAnswerLost) as error:
            return Subscribed(project, project_id, Outcome.UNAVAILABLE, f"{error}; try again: what is done stays")
        return Subscribed(project, project_id, outcome, detail)

    def _subscribe(self, project_id: str) -> tuple[Outcome, str]:
        if known := self._known(project_id):
            return self._enable(project_id, known)
        channel_id = self._channel_id

        def look() -> str | None:
            known = self._known(project_id)
            return known.subscription_id if known else None

        self._make(lambda: self.ica.create_subscription(project_id, channel_id), look)
        return Outcome.SUBSCRIBED, "ICA notifies this stack of its jobs from now on"

    def _known(self, project_id: str) -> Subscription | None:
        return to_address(self.ica.subscriptions(project_id), self.address)

    def _enable(self, project_id: str, known: Subscription) -> tuple[Outcome, str]:
        """Enable a subscription that is there, with its channel, as far as they are not."""
        filtered = f"; it has a filter, so that not all jobs may be told: {known.filter}" if known.filter else ""
        was_disabled = []
        if self._enable_channel(known.channel):
            was_disabled.append("channel")
        if not known.is_enabled:
            self.ica.enable_subscription(project_id, known.subscription_id)
            was_disabled.append("subscription")
        if was_disabled:
            return Outcome.ENABLED, f"its {' and its '.join(was_disabled)} had been disabled{filtered}"
        return Outcome.THERE, f"it was subscribed already{filtered}"

    def _enable_channel(self, channel: Channel) -> bool:
        """Whether the channel was disabled when this run began; it is not any more."""
        if channel.is_enabled:
            return channel.channel_id in self._enabled
        self.ica.enable_channel(channel.channel_id)
        self._enabled.add(channel.channel_id)
        return True

    @cached_property
    def _channel_id(self) -> str:
        """The id of the channel to our queue, which is made if there is none."""
        if channel := self._known_channel():
            self._enable_channel(channel)
            return channel.channel_id
        if excess := shorten_by(self.address):
            raise IcaRefused(
                f"ICA takes addresses of up to {LONGEST_ADDRESS} characters, and the notification queue's URL has "
                f"{len(self.address)}: {self.address}; deploy the stack under a name that is shorter by {excess}"
            )

        def look() -> str | None:
            known = self._known_channel()
            return known.channel_id if known else None

        return self._make(lambda: self.ica.create_channel(self.address), look)

    def _known_channel(self) -> Channel | None:
        ours = [each for each in self.ica.channels() if each.address == self.address]
        return min(ours, key=lambda each: not each.is_enabled, default=None)

    def _make(self, create: Callable[[], str], look: Callable[[], str | None]) -> str:
        """Make something of which there is to be one, and return its id.

        Where ICA's answer was lost, its list says whether it was made.
        """
        for left in reversed(range(TRIES)):
            try:
                return create()
            except (IcaAnswerLost, IcaUnavailable) as error:
                may_be_there = isinstance(error, IcaAnswerLost) or error.http_status == 409
                if not may_be_there or not left or not self.ica.wait(LOOKS_APART_SECONDS):
                    raise
                if found := look():
                    return found
        raise AssertionError("the last try returns or raises")
