"""ICA's notifications: the channels to which it sends them, and each project's subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icav2_copy_batch.adapters.ica.bodies import rows_in, text_in
from icav2_copy_batch.adapters.ica.http import Http, Operation
from icav2_copy_batch.adapters.ica.libica_setup import NotificationChannelApi, ProjectNotificationSubscriptionsApi
from icav2_copy_batch.domain.ica import JOB_STATUS_CHANGED, IcaAnswerLost, IcaUnavailable
from icav2_copy_batch.domain.notifications import Channel, Subscription

QUEUE = "SQS"
"""The type of a channel that is a queue."""


class Notifications:
    """``/api/notificationChannels`` and ``/api/projects/{projectId}/notificationSubscriptions``; neither has pages.

    Each method raises ``IcaRefused`` and ``IcaUnavailable``. Those that create raise ``IcaAnswerLost`` where nobody
    knows whether it was done: ICA has no idempotency key for them, so that the list is to be read before a repetition.
    """

    def __init__(self, *, http: Http) -> None:
        self._http = http
        self._channels = NotificationChannelApi(http.client)
        self._subscriptions = ProjectNotificationSubscriptionsApi(http.client)

    def channels(self) -> list[Channel]:
        """The channels to queues that ICA shows to the token's user."""
        listed = rows_in(self._http.call(self._channels.get_notification_channels_without_preload_content))
        return [_channel(row) for row in listed if row.get("type") == QUEUE]

    def create_channel(self, address: str) -> str:
        """Make a channel to a queue, and return its id."""
        wanted = {"enabled": True, "type": QUEUE, "address": address}
        operation = self._channels.create_notification_channel_without_preload_content
        return self._create(operation, create_notification_channel=wanted)

    def enable_channel(self, channel_id: str) -> None:
        """Enable a channel, for all who use it."""
        body = self._http.call(self._channels.get_notification_channel_without_preload_content, channel_id=channel_id)
        operation = self._channels.update_notification_channel_without_preload_content
        self._http.call(operation, channel_id=channel_id, notification_channel={**body, "enabled": True})

    def subscriptions(self, project_id: str) -> list[Subscription]:
        """A project's subscriptions to changes of jobs' statuses that go to queues."""
        operation = self._subscriptions.get_notification_subscriptions_without_preload_content
        listed = [_subscription(row) for row in rows_in(self._http.call(operation, project_id=project_id))]
        return [each for each in listed if each]

    def create_subscription(self, project_id: str, channel_id: str) -> str:
        """Subscribe a channel to the changes of the statuses of a project's jobs, and return the subscription's id."""
        wanted = {"enabled": True, "eventCode": JOB_STATUS_CHANGED, "notificationChannelId": channel_id}
        operation = self._subscriptions.create_notification_subscription_without_preload_content
        return self._create(operation, project_id=project_id, create_notification_subscription=wanted)

    def enable_subscription(self, project_id: str, subscription_id: str) -> None:
        """Enable a subscription of a project."""
        which: dict[str, Any] = {"project_id": project_id, "subscription_id": subscription_id}
        body = self._http.call(self._subscriptions.get_notification_subscription_without_preload_content, **which)
        operation = self._subscriptions.update_notification_subscription_without_preload_content
        self._http.call(operation, **which, notification_subscription={**body, "enabled": True})

    def _create(self, operation: Operation, **parameters: Any) -> str:
        """Make something, once. A conflict may mean that it is there: that is for the list to say."""
        answer = self._http.call(operation, repeatable=False, conflict_is_answer=True, **parameters)
        try:
            return text_in(answer, "id")
        except IcaUnavailable as error:
            raise IcaAnswerLost(f"it was made, but the answer cannot be read: {error}") from None


def _channel(body: Mapping[str, Any]) -> Channel:
    channel_id, address = text_in(body, "id"), text_in(body, "address")
    return Channel(channel_id, address, is_enabled=body.get("enabled") is True)


def _subscription(body: Mapping[str, Any]) -> Subscription | None:
    """A subscription; None if it is of other events, or goes elsewhere than to a queue."""
    channel = body.get("notificationChannel") or {}
    if body.get("eventCode") != JOB_STATUS_CHANGED or channel.get("type") != QUEUE:
        return None
    return Subscription(
        text_in(body, "id"),
        _channel(channel),
        is_enabled=body.get("enabled") is True,
        filter=body.get("filterExpression"),
    )
