"""The part of libica's v3 client that only operators need: see ``libica_light``, which has to be imported first."""

from __future__ import annotations

from icav2_copy_batch.adapters.ica.libica_light import validators_built_with_their_first_use

with validators_built_with_their_first_use():
    from libica.openapi.v3.api.notification_channel_api import NotificationChannelApi
    from libica.openapi.v3.api.project_notification_subscriptions_api import ProjectNotificationSubscriptionsApi
    from libica.openapi.v3.api.project_permission_api import ProjectPermissionApi

__all__ = ["NotificationChannelApi", "ProjectNotificationSubscriptionsApi", "ProjectPermissionApi"]
