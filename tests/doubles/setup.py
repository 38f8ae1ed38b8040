"""ICA as operators set it up, in memory: projects, channels and subscriptions, and trouble with the next calls."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from icav2_copy_batch.domain.ica import IcaAnswerLost, IcaError, IcaRefused
from icav2_copy_batch.domain.notifications import Channel, Subscription
from icav2_copy_batch.domain.rights import Permission


@dataclass
class SmallSetup:
    """It does at once what it is asked for. Channels and subscriptions are numbered."""

    projects: dict[str, str] = field(default_factory=lambda: {"archive": "project-1", "clinic": "project-2"})
    """Name → id."""
    known_channels: list[Channel] = field(default_factory=list)
    subscribed: defaultdict[str, list[Subscription]] = field(default_factory=lambda: defaultdict(list))
    """Project id → its subscriptions."""
    members: dict[str, list[Permission]] = field(default_factory=dict)
    """Project id → who may do what in it."""
    calls: list[tuple[str, ...]] = field(default_factory=list)
    """Method and arguments of each call."""
    waited: list[float] = field(default_factory=list)
    has_time: bool = True
    _troubles: defaultdict[str, list[IcaError]] = field(default_factory=lambda: defaultdict(list))

    def trouble(self, method: str, *errors: IcaError) -> None:
        """Fail the next calls of this method. Where the answer is lost, all is done and only the answer is not there.

        But for an ``IcaAnswerLost`` with an HTTP status: that call was not carried out.
        """
        self._troubles[method] += errors

    def called(self, method: str) -> int:
        return sum(name == method for name, *_ in self.calls)

    def _call(self, method: str, *arguments: str) -> IcaError | None:
        """Note a call, and raise its trouble; one that is to be raised once all is done is returned."""
        self.calls.append((method, *arguments))
        if not self._troubles[method]:
            return None
        error = self._troubles[method].pop(0)
        if isinstance(error, IcaAnswerLost) and error.http_status is None:
            return error
        raise error

    # --- the methods of our client ---

    def project_id(self, project: str) -> str:
        self._call("project_id", project)
        known = {**self.projects, **{project_id: project_id for project_id in self.projects.values()}}
        if project in known:
            return known[project]
        raise IcaRefused(f"no project named {project!r} can be seen with this token")

    def check_token(self) -> None:
        self._call("check_token")

    def project_name(self, project_id: str) -> str:
        self._call("project_name", project_id)
        names = {project_id: name for name, project_id in self.projects.items()}
        if project_id in names:
            return names[project_id]
        raise IcaRefused(f"no project {project_id}", http_status=404)

    def permissions(self, project_id: str) -> list[Permission]:
        self._call("permissions", project_id)
        return self.members.get(project_id, [])

    def channels(self) -> list[Channel]:
        self._call("channels")
        return list(self.known_channels)

    def create_channel(self, address: str) -> str:
        lost = self._call("create_channel", address)
        channel = Channel(f"channel-{len(self.known_channels) + 1}", address)
        self.known_channels.append(channel)
        if lost:
            raise lost
        return channel.channel_id

    def enable_channel(self, channel_id: str) -> None:
        self._call("enable_channel", channel_id)

        def enabled(channel: Channel) -> Channel:
            return replace(channel, is_enabled=True) if channel.channel_id == channel_id else channel

        self.known_channels = [enabled(channel) for channel in self.known_channels]
        for project_id, known in self.subscribed.items():
            self.subscribed[project_id] = [replace(each, channel=enabled(each.channel)) for each in known]

    def subscriptions(self, project_id: str) -> list[Subscription]:
        self._call("subscriptions", project_id)
        return list(self.subscribed[project_id])

    def create_subscription(self, project_id: str, channel_id: str) -> str:
        lost = self._call("create_subscription", project_id, channel_id)
        (channel,) = [each for each in self.known_channels if each.channel_id == channel_id]
        subscription = Subscription(f"subscription-{len(self.subscribed[project_id]) + 1}", channel)
        self.subscribed[project_id].append(subscription)
        if lost:
            raise lost
        return subscription.subscription_id

    def enable_subscription(self, project_id: str, subscription_id: str) -> None:
        self._call("enable_subscription", project_id, subscription_id)
        self.subscribed[project_id] = [
            replace(each, is_enabled=True) if each.subscription_id == subscription_id else each
            for each in self.subscribed[project_id]
        ]

    def wait(self, seconds: float) -> bool:
        if self.has_time:
            self.waited.append(seconds)
        return self.has_time
