"""ICA as operators set it up: projects, their members, and notifications. What ``client`` is for the other stages."""

from __future__ import annotations

from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.members import Members
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.notifications import Notifications
from icav2_copy_batch.adapters.ica.projects import Projects


class IcaSetup:
    """The port ``IcaSetup``. Only the control function needs it, and what it imports."""

    def __init__(self, *, http: Http) -> None:
        projects = Projects(http=http, memory=Memory(monotonic=http.monotonic))
        members = Members(http=http)
        notifications = Notifications(http=http)

        self.project_id = projects.project_id
        self.wait = http.pause

        self.check_token = members.check_token
        self.project_name = members.project_name
        self.permissions = members.permissions

        self.channels = notifications.channels
        self.create_channel = notifications.create_channel
        self.enable_channel = notifications.enable_channel
        self.subscriptions = notifications.subscriptions
        self.create_subscription = notifications.create_subscription
        self.enable_subscription = notifications.enable_subscription
