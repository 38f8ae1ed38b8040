"""ICA as operators set it up: projects by name, and notifications. One client, as ``client`` is for the stages."""

from __future__ import annotations

from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.notifications import Notifications
from icav2_copy_batch.adapters.ica.projects import Projects


class IcaSetup:
    """The port ``IcaNotifications``. No other function needs it, nor what it imports."""

    def __init__(self, *, http: Http) -> None:
        projects = Projects(http=http, memory=Memory(monotonic=http.monotonic))
        notifications = Notifications(http=http)

        self.project_id = projects.project_id
        self.wait = http.pause

        self.channels = notifications.channels
        self.create_channel = notifications.create_channel
        self.enable_channel = notifications.enable_channel
        self.subscriptions = notifications.subscriptions
        self.create_subscription = notifications.create_subscription
        self.enable_subscription = notifications.enable_subscription
